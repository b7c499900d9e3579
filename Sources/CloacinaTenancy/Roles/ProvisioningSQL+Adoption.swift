import CloacinaPostgres

extension ProvisioningSQL {
    /// The memberships of a tenant's roles, for roles that are there already; what is granted already stays as it is.
    ///
    /// A restore from a server before PostgreSQL 16 loses them: there the administrator granted them without ADMIN OPTION.
    var membershipStatements: [String] {
        let logins = [self.roles.loginA, self.roles.loginB].map(PostgresIdentifier.quote).joined(separator: ", ")
        let (runtime, group) = (
            PostgresIdentifier.quote(self.roles.runtime), PostgresIdentifier.quote(self.tenantsRole)
        )
        return [
            "GRANT \(runtime) TO \(logins)",
            "GRANT \(group) TO \(logins)" + (self.serverVersion >= 160_000 ? " WITH INHERIT TRUE, SET FALSE" : ""),
            MembershipSQL.grant(
                self.roles.runtime, to: PostgresIdentifier.quote(self.serviceRole), serverVersion: self.serverVersion),
            MembershipSQL.grant(self.roles.owner, to: "CURRENT_USER", serverVersion: self.serverVersion),
        ]
    }
}
