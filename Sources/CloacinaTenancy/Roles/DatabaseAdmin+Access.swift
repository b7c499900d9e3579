import CloacinaPostgres
import FoundationEssentials

extension DatabaseAdmin {
    /// Lets a tenant's own logins run its runners, or no longer: makes them members of the engine's role, or takes that
    /// away, for open sessions too.
    ///
    /// Such a login writes the engine's tables: it can forge and spoil its own pipelines, and nobody else's. Without it, it sees
    /// them through views, and enqueues and signals through functions. Saying it again changes nothing.
    ///
    /// - Returns: The tenant as it is now.
    /// - Throws: ``AdminError`` with ``AdminError/Code/tenantNotFound``, or ``AdminError/Code/tenantNotReady`` when it is half
    ///   created or half removed, or a role of its name is not the registered one, or
    ///   ``AdminError/Code/usedElsewhere`` in a copy of a database whose tenant has these very roles.
    @discardableResult
    public func setEngineAccess(_ isAllowed: Bool, ofTenant name: String) async throws -> Tenant {
        try await self.withConnection(tenant: name) { connection in
            try await CopiedDatabase(connection: connection, connect: self.connector).check(name)
            try await connection.withTransaction { transaction in
                let found = try await transaction.pipeline([
                    LimitQueries.boundedWait, RegistryQueries.lockTenant(named: name),
                ])
                guard let row = found[1].first else {
                    throw AdminError.noTenant(name)
                }
                let state = try Tenant.State(registry: row.value("state"))
                guard state == .active, try row.value("has_roles") else {
                    throw AdminError(
                        .tenantNotReady,
                        state == .active
                            ? "its roles are not the registered ones, so nothing was changed. \(TenantAdoption.advice(name))"
                            : "it is \(state.rawValue), so nothing was changed; `tenant show \(name)` tells where it stands",
                        tenant: name)
                }
                let id: UUID = try row.value("id")
                let ledger = OperationLedger(kind: .access, tenant: name)
                let grants = EngineAccessSQL.statements(
                    isAllowed, engine: try row.value("engine_role"),
                    logins: [try row.value("login_a"), try row.value("login_b")],
                    serverVersion: connection.serverVersion)
                let notes = [
                    RegistryQueries.setEngineAccess(id: id, isAllowed),
                    ledger.audit("tenant.engine_access", detail: isAllowed ? "granted" : "revoked"),
                ]
                _ = try await transaction.pipeline(grants.map(PostgresStatement.init(ddl:)) + notes)
            }
            guard let row = try await connection.query(RegistryQueries.tenant(named: name)).first else {
                throw AdminError.noTenant(name)
            }
            return try Tenant(row)
        }
    }
}
