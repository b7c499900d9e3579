import CloacinaPostgres

/// Statements that let a tenant's logins reach the database, through the tenant's own runtime role.
///
/// No group of all tenants does it: before PostgreSQL 16 any member can become the group, and from then on one that only
/// inherits its rights can still set the group's default privileges, for every other member to see.
enum ConnectSQL {
    /// Grants CONNECT to the runtime role, whose rights both logins inherit.
    static func grantStatements(to runtime: String, database: String) -> [String] {
        [self.turn, "GRANT CONNECT ON DATABASE \(self.quote(database)) TO \(self.quote(runtime))"]
    }

    /// Takes CONNECT away again: of that `DROP OWNED`, run as the role itself, only warns.
    static func revokeStatements(from runtime: String, database: String) -> [String] {
        [self.turn, "REVOKE CONNECT ON DATABASE \(self.quote(database)) FROM \(self.quote(runtime))"]
    }

    /// All tenants' CONNECT is in one row of the catalogs, which two transactions can't change at the same time: the second
    /// one waits here until the first has committed.
    private static let turn = "SELECT singleton FROM cloacina.installation FOR UPDATE"

    private static func quote(_ name: String) -> String { PostgresIdentifier.quote(name) }
}
