import CloacinaPostgres

/// Statements that let a tenant's logins reach the database, through the tenant's own runtime role.
///
/// No group of all tenants does it: before PostgreSQL 16 any member can become the group, and from then on one that only
/// inherits its rights can still set the group's default privileges, for every other member to see.
enum ConnectSQL {
    /// Grants CONNECT to the runtime role, whose rights both logins inherit, and temporary tables, which migrations may need, to
    /// the owner.
    static func grantStatements(to runtime: String, owner: String, database: String) -> [String] {
        let database = self.quote(database)
        return [
            self.turn, "GRANT CONNECT ON DATABASE \(database) TO \(self.quote(runtime))",
            "GRANT TEMPORARY ON DATABASE \(database) TO \(self.quote(owner))",
        ]
    }

    /// Grants CONNECT alone, to a login.
    static func grantStatements(to login: String, database: String) -> [String] {
        [self.turn, "GRANT CONNECT ON DATABASE \(self.quote(database)) TO \(self.quote(login))"]
    }

    /// Takes all that away again: of that `DROP OWNED`, run as the role itself, only warns.
    static func revokeStatements(from roles: [String], database: String) -> [String] {
        let members = roles.map(self.quote).joined(separator: ", ")
        return [self.turn, "REVOKE CONNECT, TEMPORARY ON DATABASE \(self.quote(database)) FROM \(members)"]
    }

    /// All tenants' rights to the database are in one row of the catalogs, which two transactions can't change at the same time:
    /// the second one waits here until the first has committed.
    private static let turn = "SELECT singleton FROM cloacina.installation FOR UPDATE"

    private static func quote(_ name: String) -> String { PostgresIdentifier.quote(name) }
}
