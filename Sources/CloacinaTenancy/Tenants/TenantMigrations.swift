import CloacinaPostgres
import CloacinaSchema
import FoundationEssentials

/// The migrations of tenants' schemas: this library's first, then the application's.
enum TenantMigrations {
    /// The newest version of every source in one schema.
    struct Versions: Sendable, Hashable {
        var own: Int
        var others: [(source: String, version: Int)]

        init(_ versions: [String: Int]) {
            self.own = versions[MigrationSet.embeddedSource] ?? 0
            self.others =
                versions.filter { $0.key != MigrationSet.embeddedSource }.sorted { $0.key < $1.key }
                .map { (source: $0.key, version: $0.value) }
        }

        static func == (left: Self, right: Self) -> Bool {
            left.own == right.own && left.others.elementsEqual(right.others, by: ==)
        }

        func hash(into hasher: inout Hasher) {
            hasher.combine(self.own)
            for other in self.others { hasher.combine(other.source) }
        }
    }

    /// This library's set and then the given ones.
    ///
    /// - Parameter allowsRepeated: Whether two sets may have a file in common.
    /// - Throws: ``AdminError`` when one is of another lane or a source occurs twice, or ``MigrationError``.
    static func ownFirst(_ sets: [MigrationSet], allowsRepeated: Bool = false) throws -> [MigrationSet] {
        let all = [try MigrationSet.embedded(.tenant)] + sets.filter { $0.source != MigrationSet.embeddedSource }
        if let stray = all.first(where: { $0.lane != .tenant }) {
            throw AdminError(
                .invalidConfiguration,
                "the migrations of \(stray.source) are of the lane \(stray.lane.rawValue); tenants need the lane tenant"
            )
        }
        let sources = all.map(\.source)
        if let twice = sources.first(where: { source in sources.filter { $0 == source }.count > 1 }) {
            throw AdminError(.invalidConfiguration, "the migrations of \(twice) are given twice")
        }
        if !allowsRepeated, let (first, second) = self.firstRepeated(all) {
            throw AdminError(
                .invalidConfiguration,
                "\(first) and \(second) are the same file under two sources, and would run twice: give its directory once"
            )
        }
        return all
    }

    /// The first file that two sets have in common, under both names.
    private static func firstRepeated(_ sets: [MigrationSet]) -> (String, String)? {
        var known: [String: String] = [:]
        for set in sets {
            for migration in set.migrations {
                let key = "\(migration.version) \(migration.canonicalChecksum)"
                let name = "\(set.source)/\(migration.name)"
                if let earlier = known.updateValue(name, forKey: key) { return (earlier, name) }
            }
        }
        return nil
    }

    /// Follows the last file of a tenant, new or old, whether all went well or not: the registry learns the versions, and the
    /// tenant's roles have their rights again.
    ///
    /// The one place for whatever has to be put right after files ran. The registry comes last: while the rights could not be
    /// put right, it differs from the history, and the next `migrate` tries again.
    /// - Returns: The statements that put right what somebody had changed of the rights.
    @discardableResult
    static func conclude(
        _ id: UUID, _ privileges: PrivilegeSQL, _ versions: Versions, also statements: [PostgresStatement] = [],
        ledger: OperationLedger, on connection: PostgresConnection
    ) async throws -> [String] {
        let restored = try await privileges.restore(on: connection)
        let audit =
            restored.isEmpty
            ? [] : [ledger.audit("tenant.privileges_restored", detail: restored.joined(separator: "; "))]
        try await connection.pipeline(RegistryQueries.record(id: id, versions) + statements + audit)
        return restored
    }

    /// A tenant's schema: its owner makes what is made, its runtime role may read the history, and nobody else works on
    /// the tenant meanwhile.
    static func target(tenant: String, schema: String, owner: String, runtime: String) -> MigrationTarget {
        var target = MigrationTarget(schema: schema, owner: owner, readers: [runtime])
        target.leaseObject = Lease.tenant(tenant).object
        return target
    }

    /// Checks that the session is the administrator's own again, and closes one that is not: a migration can leave it as
    /// somebody else's.
    static func checkSession(of connection: PostgresConnection) async throws {
        let isOwn: PostgresStatement = """
            SELECT session_user = current_user AND pg_catalog.current_setting('search_path') = 'pg_catalog, pg_temp'
            """
        guard try await !connection.query(isOwn).single(as: Bool.self) else { return }
        await connection.close()
        throw AdminError(
            .migrationFailed,
            "a migration changed as whom the session acts or where it looks, which is the runner's to decide; take that out of "
                + "the files, then look at what it made")
    }

    /// Runs the migrations of a schema that was created in this transaction.
    static func apply(_ fresh: FreshSchema, in transaction: borrowing PostgresTransaction) async throws {
        let results: [PostgresRows]
        do {
            results = try await transaction.pipeline(fresh.statements)
        } catch {
            if AdminError.isConnectionLoss(error) || error.code == .cancelled { throw error }
            throw fresh.error(error, at: error.statementIndex)
        }
        try fresh.check(results)
    }
}
