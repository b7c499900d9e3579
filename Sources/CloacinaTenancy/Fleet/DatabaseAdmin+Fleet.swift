import CloacinaPostgres
public import CloacinaSchema

extension DatabaseAdmin {
    /// Where the control schema and the tenants stand, by the registry: one query, however many tenants there are.
    ///
    /// - Parameters:
    ///   - tenant: One tenant's name; all by default.
    ///   - sets: The application's own migrations beside this library's.
    /// - Throws: ``AdminError`` with ``AdminError/Code/tenantNotFound`` or ``AdminError/Code/notBootstrapped``.
    public func migrationStatus(tenant: String? = nil, sets: [MigrationSet] = []) async throws -> FleetStatus {
        try await self.withConnection(tenant: tenant) { connection in
            let sets = try TenantMigrations.ownFirst(sets)
            let control = try await MigrationRunner(connection: connection, logger: self.logger)
                .status(of: [.embedded(.control)], in: Self.control)
            let rows = try await self.registeredVersions(tenant, on: connection)
            return FleetStatus(
                controlVersion: control.first?.version ?? 0,
                controlPending: control.flatMap { status in status.pending.map { "\(status.source)/\($0.name)" } },
                tenants: rows.map { $0.status(sets) })
        }
    }

    /// Brings the control schema, then every active tenant that is behind by the registry, to the newest version.
    ///
    /// A tenant that fails is reported and the others go on. The control schema is migrated under the exclusive lock.
    /// - Parameters:
    ///   - tenant: One tenant's name; all by default.
    ///   - sets: The application's own migrations beside this library's.
    ///   - onResult: Called after each tenant that was behind.
    /// - Throws: ``AdminError`` when the control schema can't be migrated, the connection breaks, or the task is
    ///   cancelled; tenants finished before stay migrated.
    @discardableResult
    public func migrate(
        tenant: String? = nil, sets: [MigrationSet] = [],
        onResult: (TenantMigrationResult) async -> Void = { _ in }
    ) async throws -> FleetReport {
        try await self.withConnection(tenant: tenant) { connection in
            let sets = try TenantMigrations.ownFirst(sets)
            let control = try await MigrationRunner(
                connection: connection, configuration: self.migration, logger: self.logger
            ).apply([.embedded(.control)], to: Self.control)
            let active = try await self.registeredVersions(tenant, on: connection).filter { $0.state == .active }
            let behind = active.filter { !$0.status(sets).pending.isEmpty }
            var results: [TenantMigrationResult] = []
            var refusal: AdminError?
            for tenant in behind {
                try Task.checkCancellation()
                // The lease on what all share was waited for once; it is not waited for again for each tenant. The session is not
                // the last tenant's, if that was closed.
                let result =
                    if let refusal { tenant.failure(AdminError(refusal, tenant: tenant.name)) } else {
                        try await self.migrate(tenant, sets, try await self.openConnection()) { refusal = $0 }
                    }
                results.append(result)
                await onResult(result)
            }
            return FleetReport(
                controlApplied: control.applied.map(\.name), upToDate: active.count - behind.count, results: results)
        }
    }

    private static let control = MigrationTarget(schema: BootstrapQueries.controlSchema)

    private func registeredVersions(
        _ tenant: String?, on connection: PostgresConnection
    ) async throws -> [RegisteredVersions] {
        let rows = try await connection.query(FleetQueries.versions(tenant: tenant)).map(RegisteredVersions.init)
        if let tenant, rows.isEmpty { throw AdminError.noTenant(tenant) }
        return rows
    }

    private func migrate(
        _ tenant: RegisteredVersions, _ sets: [MigrationSet], _ connection: PostgresConnection,
        onFleetBusy: (AdminError) -> Void
    ) async throws -> TenantMigrationResult {
        do {
            let runner = MigrationRunner(
                connection: connection, configuration: self.migration, logger: self.logger)
            let report = try await runner.apply(sets, to: tenant.target)
            let restored = try await tenant.privileges.restore(on: connection)
            let versions = TenantMigrations.Versions(report.versions)
            let ledger = OperationLedger(kind: .migrate, tenant: tenant.name)
            let names = report.applied.map(\.name)
            var statements = RegistryQueries.record(id: tenant.id, versions)
            if !names.isEmpty {
                statements.append(ledger.audit("tenant.migrated", detail: names.joined(separator: " ")))
            }
            if !restored.isEmpty {
                statements.append(ledger.audit("tenant.privileges_restored", detail: restored.joined(separator: "; ")))
            }
            try await connection.pipeline(statements)
            return TenantMigrationResult(
                tenant: tenant.name, schema: tenant.target.schema, outcome: names.isEmpty ? .current : .migrated,
                version: versions.own, applied: names, error: nil, restoredPrivileges: restored)
        } catch {
            let failure = AdminError(error, tenant: tenant.name)
            if failure.code == .connection || failure.code == .cancelled { throw failure }
            if let lease = (error as? MigrationError)?.lease, lease == Lease.tenants.object { onFleetBusy(failure) }
            return tenant.failure(failure)
        }
    }
}

extension RegisteredVersions {
    /// What is said of a tenant that could not be migrated.
    fileprivate func failure(_ error: AdminError) -> TenantMigrationResult {
        TenantMigrationResult(
            tenant: self.name, schema: self.target.schema, outcome: error.code == .busy ? .busy : .failed,
            version: self.versions[MigrationSet.embeddedSource] ?? 0, applied: [], error: error.description)
    }
}

extension MigrationReport.Applied {
    /// As `source/NNNN_title`.
    var name: String {
        let digits = String(self.version)
        return "\(self.source)/" + String(repeating: "0", count: max(0, 4 - digits.count)) + "\(digits)_\(self.title)"
    }
}
