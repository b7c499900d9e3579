import CloacinaPostgres
public import CloacinaSchema

extension DatabaseAdmin {
    /// Takes a file as it is now for what was applied to a tenant, after it was edited; audited.
    ///
    /// Another process that works on the tenant is waited for, for 30 seconds.
    /// - Parameters:
    ///   - version: The file's version.
    ///   - source: The source it belongs to, one of the sets'.
    ///   - tenant: The tenant's name; see ``reblessAll(_:of:sets:onResult:)``.
    ///   - sets: The application's own migrations beside this library's.
    /// - Returns: False when the file is what was applied, and nothing had to change.
    /// - Throws: ``AdminError``, also when there is no such file or the tenant doesn't have it applied.
    @discardableResult
    public func rebless(
        _ version: Int, of source: String, tenant: String, sets: [MigrationSet]
    ) async throws -> Bool {
        let set = try Self.set(of: source, in: sets, with: version, tenant: tenant)
        let migrator = self.makeMigrator()
        return try await self.withConnection(tenant: tenant, ending: migrator) { connection in
            try await self.rebless(version, of: set, tenant, over: migrator, on: connection)
        }
    }

    /// Settles a no-transaction migration that broke off in a tenant, after a look at its schema; audited.
    ///
    /// Another process that works on the tenant is waited for, for 30 seconds.
    /// - Throws: ``AdminError``, also when the history doesn't have it as broken off; ``AdminError/Code/busy`` while the server
    ///   still runs what a killed command began, which the message names.
    public func resolve(
        _ version: Int, of source: String, tenant: String, as resolution: MigrationRunner.Resolution
    ) async throws {
        let migrator = self.makeMigrator()
        try await self.withConnection(tenant: tenant, ending: migrator) { connection in
            let survey = try await FleetSurvey(tenant: tenant, sets: [], planner: MigrationPlanner(), on: connection)
            guard let entry = survey.entries.first else { throw AdminError.noTenant(tenant) }
            try await migrator.withSession(
                as: entry.tenant.owner, of: entry.tenant.name, on: connection
            ) { session in
                var runner = MigrationRunner(
                    files: session, administrator: connection, configuration: self.migration, logger: self.logger)
                runner.remnants = MigratorSQL.remnants(
                    actingAs: entry.tenant.owner, beside: session.endpoint.user)
                try await runner.resolve(version, of: source, in: entry.tenant.target, as: resolution)
            }
            let ledger = OperationLedger(kind: .migrate, tenant: tenant)
            let name = Migration.name(version: version, title: nil, source: source)
            let word = resolution == .applied ? "applied" : "rerun"
            try await connection.query(ledger.audit("tenant.migration_resolved", detail: "\(name) as \(word)"))
        }
    }
}

extension DatabaseAdmin {
    /// Accepts an edited file for one tenant, over a session that may act as its owner; false when it is what was applied.
    func rebless(
        _ version: Int, of set: MigrationSet, _ tenant: String, over migrator: Migrator,
        on connection: PostgresConnection
    ) async throws -> Bool {
        let survey = try await FleetSurvey(tenant: tenant, sets: [set], planner: MigrationPlanner(), on: connection)
        guard let entry = survey.entries.first else { throw AdminError.noTenant(tenant) }
        if entry.hasApplied(version, of: set.source), !entry.isEdited(version) { return false }
        try await migrator.withSession(as: entry.tenant.owner, of: tenant, on: connection) { session in
            try await MigrationRunner(
                files: session, administrator: connection, configuration: self.migration, logger: self.logger
            )
            .rebless(version, of: set, in: entry.tenant.target)
        }
        let ledger = OperationLedger(kind: .migrate, tenant: tenant)
        let name = Migration.name(version: version, title: nil, source: set.source)
        try await connection.query(ledger.audit("tenant.migration_reblessed", detail: name))
        return true
    }

    /// Lends the connection to an operation that writes tenants' histories, and drops its login at the end.
    private func withConnection<R>(
        tenant: String?, ending migrator: Migrator, _ body: (PostgresConnection) async throws -> R
    ) async throws -> R {
        try await self.withConnection(tenant: tenant) { connection in
            await migrator.sweep(on: connection)
            do {
                let result = try await body(connection)
                await migrator.end(on: connection)
                return result
            } catch {
                await migrator.end(on: connection)
                throw error
            }
        }
    }
}
