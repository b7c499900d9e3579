import CloacinaPostgres
public import CloacinaSchema

extension DatabaseAdmin {
    /// Takes a file as it is now for what was applied to a tenant, after it was edited; audited.
    ///
    /// - Parameters:
    ///   - version: The file's version.
    ///   - source: The source it belongs to, one of the sets'.
    ///   - tenant: One tenant's name; all that have it applied with another text by default.
    ///   - sets: The application's own migrations beside this library's.
    /// - Returns: The tenants whose history was changed.
    /// - Throws: ``AdminError``, also when there is no such file or a tenant doesn't have it applied.
    @discardableResult
    public func rebless(
        _ version: Int, of source: String, tenant: String? = nil, sets: [MigrationSet]
    ) async throws -> [String] {
        let migrator = self.makeMigrator()
        return try await self.withConnection(tenant: tenant, ending: migrator) { connection in
            let sets = try TenantMigrations.ownFirst(sets, allowsRepeated: true)
            guard let set = sets.first(where: { $0.source == source }) else {
                throw AdminError(
                    .invalidConfiguration, "no files of the source \(source) are given; name their directory",
                    tenant: tenant)
            }
            let survey = try await FleetSurvey(
                tenant: tenant, sets: [set], planner: MigrationPlanner(), on: connection)
            let edited = tenant != nil ? survey.entries : survey.entries.filter { $0.isEdited(version) }
            for entry in edited {
                try await migrator.withSession(
                    as: entry.tenant.owner, of: entry.tenant.name, on: connection
                ) { session in
                    try await MigrationRunner(files: session, administrator: connection, logger: self.logger)
                        .rebless(version, of: set, in: entry.tenant.target)
                }
                let ledger = OperationLedger(kind: .migrate, tenant: entry.tenant.name)
                let name = Migration.name(version: version, title: nil, source: source)
                try await connection.query(ledger.audit("tenant.migration_reblessed", detail: name))
            }
            return edited.map(\.tenant.name)
        }
    }

    /// Settles a no-transaction migration that broke off in a tenant, after a look at its schema; audited.
    ///
    /// - Throws: ``AdminError``, also when the history doesn't have it as broken off.
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
                try await MigrationRunner(files: session, administrator: connection, logger: self.logger)
                    .resolve(version, of: source, in: entry.tenant.target, as: resolution)
            }
            let ledger = OperationLedger(kind: .migrate, tenant: tenant)
            let name = Migration.name(version: version, title: nil, source: source)
            let word = resolution == .applied ? "applied" : "rerun"
            try await connection.query(ledger.audit("tenant.migration_resolved", detail: "\(name) as \(word)"))
        }
    }
}

extension DatabaseAdmin {
    /// Lends the connection to an operation that writes tenants' histories, and drops its login at the end.
    private func withConnection<R>(
        tenant: String?, ending migrator: Migrator, _ body: (PostgresConnection) async throws -> R
    ) async throws -> R {
        try await self.withConnection(tenant: tenant) { connection in
            await Migrator.sweep(on: connection, logger: self.logger)
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

extension FleetSurvey.Entry {
    fileprivate func isEdited(_ version: Int) -> Bool {
        self.plans.contains { plan in
            plan.problems.contains { if case .checksumChanged(version, _, _) = $0 { true } else { false } }
        }
    }
}
