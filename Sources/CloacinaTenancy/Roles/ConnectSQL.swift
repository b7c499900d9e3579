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
    ///
    /// A `REVOKE` takes what one grantor granted, and a member of the database's owner grants as another one than the owner. So it
    /// is run as each of them.
    static func revokeStatements(from roles: [String], database: String) -> [String] {
        let members = roles.map(self.quote).joined(separator: ", ")
        let names = roles.map(PostgresIdentifier.literal).joined(separator: ", ")
        let revoke = "REVOKE CONNECT, TEMPORARY ON DATABASE \(self.quote(database)) FROM \(members)"
        return [
            self.turn,
            """
            DO $revoke$ DECLARE grantor pg_catalog.text; BEGIN
                FOR grantor IN SELECT DISTINCT g.rolname FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a
                               JOIN pg_catalog.pg_roles g ON g.oid = a.grantor JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
                               WHERE d.datname = pg_catalog.current_database() AND r.rolname IN (\(names))
                                 AND pg_catalog.pg_has_role(g.oid, \(self.settable)) LOOP
                    EXECUTE pg_catalog.format('SET LOCAL ROLE %I', grantor);
                    EXECUTE \(PostgresIdentifier.literal(revoke));
                    SET LOCAL ROLE NONE;
                END LOOP;
            END $revoke$
            """,
        ]
    }

    /// The privilege that lets a session act as a role.
    private static let settable =
        "CASE WHEN pg_catalog.current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END"

    /// All tenants' rights to the database are in one row of the catalogs, which two transactions can't change at the same time:
    /// the second one waits here until the first has committed.
    private static let turn = "SELECT singleton FROM cloacina.installation FOR UPDATE"

    private static func quote(_ name: String) -> String { PostgresIdentifier.quote(name) }
}
