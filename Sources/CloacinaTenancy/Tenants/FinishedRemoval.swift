import CloacinaPostgres
package import FoundationEssentials

/// The removal that made an end of a tenant: what is left to say to whoever lost its last answer and calls again.
package struct FinishedRemoval: Sendable, Hashable {
    /// When the proof was committed.
    package let finishedAt: Date
    /// The database role that removed it.
    package let actor: String
}

extension DatabaseAdmin {
    /// The newest removal of a tenant that is gone; nil when the registry has the tenant, when none of that name was ever removed,
    /// or when a role goes by one of its names again.
    package func finishedRemoval(ofTenant name: String) async throws -> FinishedRemoval? {
        let name = try Self.registryName(name)
        return try await self.withConnection(tenant: name.rawValue) { connection in
            let statement = RegistryQueries.finishedRemoval(of: name.rawValue, roles: TenantRoles(name).all)
            guard let row = try await connection.query(statement).first else { return nil }
            return FinishedRemoval(finishedAt: try row.value("finished_at"), actor: try row.value("actor"))
        }
    }
}

extension RegistryQueries {
    /// The last step of the newest removal that was carried through.
    fileprivate static func finishedRemoval(of name: String, roles: [String]) -> PostgresStatement {
        """
        SELECT o.finished_at, o.actor FROM cloacina.operations o
        WHERE o.tenant_name = \(name) AND o.kind = 'remove' AND o.step = 'prove' AND o.state = 'done'
          AND o.finished_at IS NOT NULL
          AND NOT EXISTS (SELECT FROM cloacina.tenants t WHERE t.name = \(name))
          AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname::text = ANY (\(roles)::text[]))
        ORDER BY o.finished_at DESC LIMIT 1
        """
    }
}
