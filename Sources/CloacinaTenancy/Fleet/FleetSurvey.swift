import CloacinaPostgres
import CloacinaSchema

/// Tenants with their own histories, compared with the files: what `status`, `apply` and its dry run all decide by.
struct FleetSurvey: Sendable {
    /// One tenant as it was found.
    struct Entry: Sendable {
        let tenant: RegisteredTenant
        let history: History
        /// One per set; empty unless the history was read.
        let plans: [MigrationPlan]
    }

    /// A tenant's own history, as far as it can be read.
    enum History: Sendable, Hashable {
        case read([MigrationRecord])
        /// The tenant has none: its schema or its history table isn't there.
        case missing
        /// The server refused to show it; its words.
        case unreadable(String)
    }

    /// The number of histories that travel in one flush.
    private static let batch = 100
    /// The number of histories from which on two sessions read them: the server's part is by far the larger one.
    static let manyHistories = 400

    private static let untrusted = """
        its history was not read: cloacina_migrations may run somebody's code in this session, by row-level security, a rule, children, \
        or a user's function or type, or is larger than what is read, 4 MiB and no value elsewhere; look at it with `\\d+` in psql, as a \
        role with no rights of its own
        """

    let entries: [Entry]

    /// Reads the registry and then each tenant's own history, batch by batch.
    ///
    /// - Parameters:
    ///   - connect: Opens the second session for very many; without it there is one.
    ///   - manyHistories: The number from which on there are two.
    /// - Throws: ``AdminError`` with ``AdminError/Code/tenantNotFound``.
    init(
        tenant name: String?, sets: [MigrationSet], planner: MigrationPlanner, on connection: PostgresConnection,
        connect: RemovalSession.Connect? = nil, manyHistories: Int = Self.manyHistories
    ) async throws {
        let tenants = try await connection.query(FleetQueries.versions(tenant: name)).map(RegisteredTenant.init)
        if let name, tenants.isEmpty { throw AdminError.noTenant(name) }
        let readable = tenants.filter { $0.hasHistory && $0.isPlain }
        let texts = try await Self.allTexts(
            of: readable, on: connection, connect: readable.count >= manyHistories ? connect : nil)
        let sources = Set(sets.map(\.source))
        var known: [String: (records: [MigrationRecord], plans: [MigrationPlan])] = [:]
        self.entries = tenants.map { tenant in
            switch texts[tenant.name] {
            case nil:
                return Entry(
                    tenant: tenant, history: tenant.isPlain ? .missing : .unreadable(Self.untrusted), plans: [])
            case .failure(let error)?:
                return Entry(tenant: tenant, history: .unreadable(error.message), plans: [])
            case .success(let text)?:
                let found =
                    known[text]
                    ?? {
                        let records = FleetQueries.records(text)
                        return (records, sets.map { planner.plan($0, history: records, others: sources) })
                    }()
                known[text] = found
                return Entry(tenant: tenant, history: .read(found.records), plans: found.plans)
            }
        }
    }

    private static func allTexts(
        of tenants: [RegisteredTenant], on connection: PostgresConnection, connect: RemovalSession.Connect?
    ) async throws -> [String: Result<String, AdminError>] {
        guard let connect, let second = try? await connect(connection.endpoint.database)
        else { return try await self.batches(of: tenants, on: connection) }
        do {
            let half = tenants.count / 2
            async let others = self.batches(of: Array(tenants[half...]), on: second)
            var texts = try await self.batches(of: Array(tenants[..<half]), on: connection)
            texts.merge(try await others) { $1 }
            await second.close()
            return texts
        } catch {
            await second.close()
            throw error
        }
    }

    private static func batches(
        of tenants: [RegisteredTenant], on connection: PostgresConnection
    ) async throws -> [String: Result<String, AdminError>] {
        var texts: [String: Result<String, AdminError>] = [:]
        var rest = tenants[...]
        while !rest.isEmpty {
            let batch = Array(rest.prefix(Self.batch))
            rest = rest.dropFirst(Self.batch)
            texts.merge(try await Self.texts(of: batch, on: connection)) { $1 }
        }
        return texts
    }

    /// The histories of a batch; each by itself when the server refuses one of them, so that one doesn't hide the others.
    private static func texts(
        of batch: [RegisteredTenant], on connection: PostgresConnection
    ) async throws -> [String: Result<String, AdminError>] {
        do {
            // Looked at again under the locks: what was plain before may be a view by now, whose functions would run here. One flush,
            // so that two surveys hold each other up for a moment only.
            let targets = batch.map(\.target)
            let locks =
                [FleetQueries.settings] + targets.flatMap(FleetQueries.lock)
                + [FleetQueries.arePlain(targets.map(\.schema))]
            let rows = try await connection.transactionBlock(
                locks + targets.flatMap(FleetQueries.history), isolation: .readCommitted)
            var texts: [String: Result<String, AdminError>] = [:]
            for (index, tenant) in batch.enumerated() {
                texts[tenant.name] = .success(try rows[locks.count + index * 2 + 1].single(as: String?.self) ?? "")
            }
            return texts
        } catch {
            // Caught whole: the compiler (6.3.1) crashes on a `where` over a typed error.
            guard error.code == .rejectedByServer else { throw error }
            guard batch.count > 1 else {
                if error.sqlState == FleetQueries.assertionFailure {
                    return [batch[0].name: .failure(AdminError(.rejectedByServer, Self.untrusted))]
                }
                let words = error.primaryMessage.map { ": " + $0 } ?? ""
                return [
                    batch[0].name: .failure(
                        AdminError(.rejectedByServer, "its history can't be read" + words, underlying: error))
                ]
            }
            var texts: [String: Result<String, AdminError>] = [:]
            for tenant in batch { texts.merge(try await Self.texts(of: [tenant], on: connection)) { $1 } }
            return texts
        }
    }
}

extension FleetSurvey.Entry {
    /// The newest applied version of every source, by the tenant's own history.
    var versions: [String: Int] {
        guard case .read(let records) = self.history else { return self.tenant.versions }
        return Dictionary(
            records.filter { $0.state == .applied }.map { ($0.source, $0.version) }, uniquingKeysWith: max)
    }

    /// The versions of the planned sources, where the registry says otherwise; nil when it agrees.
    var correction: TenantMigrations.Versions? {
        guard !self.plans.isEmpty else { return nil }
        let found = Dictionary(self.plans.map { ($0.source, $0.newestApplied) }, uniquingKeysWith: max)
        let differs = found.contains { self.tenant.versions[$0.key] ?? 0 != $0.value }
        return differs ? TenantMigrations.Versions(found) : nil
    }

    var hasPending: Bool { self.plans.contains { !$0.steps.isEmpty } }

    /// The entry as the operator is told of it.
    func status(_ sets: [MigrationSet]) -> TenantMigrationStatus {
        TenantMigrationStatus(
            tenant: self.tenant.name, schema: self.tenant.target.schema, state: self.tenant.state,
            version: self.versions[MigrationSet.embeddedSource] ?? 0, versions: self.versions,
            pending: self.plans.flatMap { plan in
                plan.steps.map {
                    Migration.name(version: $0.migration.version, title: $0.migration.title, source: plan.source)
                }
            },
            problems: TenantMigrationProblem.all(in: self, sets))
    }
}
