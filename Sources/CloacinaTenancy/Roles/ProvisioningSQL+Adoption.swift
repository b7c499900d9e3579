import CloacinaPostgres

extension ProvisioningSQL {
    /// The memberships of a tenant's roles, for roles that are there already; what is granted already stays as it is.
    ///
    /// A restore from a server before PostgreSQL 16 loses them: there the administrator granted them without ADMIN OPTION.
    var membershipStatements: [String] {
        let logins = [self.roles.loginA, self.roles.loginB]
        let members = (logins + [self.roles.engine]).map(PostgresIdentifier.quote).joined(separator: ", ")
        let service = PostgresIdentifier.quote(self.serviceRole)
        let actors = [
            (self.roles.runtime, service), (self.roles.engine, service), (self.roles.owner, "CURRENT_USER"),
            (self.roles.engine, "CURRENT_USER"),
        ]
        return ["GRANT \(PostgresIdentifier.quote(self.roles.runtime)) TO \(members)"]
            + actors.map { MembershipSQL.grant($0, to: $1, serverVersion: self.serverVersion) }
            + EngineAccessSQL.statements(
                self.engineAccess, engine: self.roles.engine, logins: logins, serverVersion: self.serverVersion,
                isNew: true)
            + self.connectStatements
    }
}
