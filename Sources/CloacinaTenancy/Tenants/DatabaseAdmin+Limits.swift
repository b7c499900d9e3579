import CloacinaPostgres
import FoundationEssentials

extension DatabaseAdmin {
    /// Gives both logins of a tenant other limits, and keeps them in the registry.
    ///
    /// Sessions that are open keep the timeouts they began with. What the administrator may not set is kept and named by
    /// ``Tenant/limitsNotInForce``. A session of the tenant's own that holds its login, by an open `ALTER ROLE` for one, is
    /// ended, and so is one of another tenant's that holds the change up; report and audit tell of both. Locks of others are waited
    /// for within the administrator's patience.
    ///
    /// - Throws: ``AdminError`` with ``AdminError/Code/invalidConfiguration``, ``AdminError/Code/tenantNotFound``,
    ///   ``AdminError/Code/tenantNotReady``, ``AdminError/Code/busy``, which names who is in the way, or
    ///   ``AdminError/Code/usedElsewhere`` in a copy of a database whose tenant has these very logins; nothing was changed then.
    @discardableResult
    public func setLimits(_ limits: TenantLimits, forTenantNamed name: String) async throws -> LimitsReport {
        let stored = try StoredLimits(limits)
        let ended = try await self.withConnection(tenant: name) { connection in
            try await CopiedDatabase(connection: connection, connect: self.connector).check(name)
            return try await LimitChange(
                name: name, limits: stored, connection: connection, patience: RemovalPatience(self.patience),
                connect: self.connector
            ).run()
        }
        return LimitsReport(tenant: try await self.tenant(named: name), endedSessions: ended.map(\.description))
    }

    /// The statements that ``setLimits(_:forTenantNamed:)`` would run on the tenant's logins. Nothing is changed.
    ///
    /// - Throws: ``AdminError``, as setting them would.
    public func plannedSQL(limitingTenantNamed name: String, to limits: TenantLimits) async throws -> [String] {
        let stored = try StoredLimits(limits)
        return try await self.withConnection(tenant: name) { connection in
            let target = try LimitTarget(try await connection.query(LimitQueries.target(name)), name: name)
            return ["BEGIN"] + target.statements(stored, serverVersion: connection.serverVersion) + ["COMMIT"]
        }
    }
}

/// The outcome of limiting a tenant's logins.
public struct LimitsReport: Sendable, Hashable {
    /// The tenant as it is now.
    public let tenant: Tenant
    /// The sessions that held up the change and were ended, by process id and role: the tenant's own, and other tenants'.
    public let endedSessions: [String]
}

/// The logins of a tenant that can be limited.
struct LimitTarget {
    let id: UUID
    let logins: [String]

    init(_ rows: PostgresRows, name: String) throws {
        guard let row = rows.first else { throw AdminError.noTenant(name) }
        guard try Tenant.State(registry: row.value("state")) == .active else {
            throw AdminError(
                .tenantNotReady,
                "the tenant is half created or half removed; finish that by `tenant create` or `tenant drop`",
                tenant: name)
        }
        self.id = try row.value("id")
        self.logins = try row.value("logins")
        guard self.logins.count == 2 else {
            throw AdminError(
                .tenantNotReady,
                "a login of the tenant was dropped, renamed or replaced; nothing was changed. "
                    + TenantAdoption.advice(name), tenant: name)
        }
    }

    func statements(_ limits: StoredLimits, serverVersion: Int) -> [String] {
        self.logins.flatMap { LimitQueries.statements(login: $0, limits, serverVersion: serverVersion) }
    }
}
