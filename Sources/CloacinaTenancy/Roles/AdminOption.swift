import CloacinaPostgres

/// The right to hand a role on, which whoever creates a role has, and which a restore or an upgrade can lose.
enum AdminOption {
    /// Checks that the administrator may grant and alter roles, which PostgreSQL 16 made a matter of each role.
    ///
    /// - Throws: ``AdminError`` with ``AdminError/Code/insufficientPrivilege``, which holds the statement that gives it.
    static func check(_ roles: [String], of tenant: String, on connection: PostgresConnection) async throws {
        guard connection.serverVersion >= 160_000 else { return }
        let missing: [String] = try await connection.query(OwnershipQueries.withoutAdminOption(roles)).column("name")
        guard !missing.isEmpty else { return }
        throw AdminError(
            .insufficientPrivilege,
            "the administrator lacks ADMIN OPTION on roles of the tenant, as after an upgrade or a restore from a server "
                + "before PostgreSQL 16; nothing was changed: as a superuser, GRANT "
                + missing.map(PostgresIdentifier.quote).joined(separator: ", ") + " TO "
                + PostgresIdentifier.quote(connection.endpoint.user) + " WITH ADMIN OPTION", tenant: tenant)
    }
}
