import CloacinaPostgres

/// Statements that put a tenant's login right again: a login may change its own settings, and lock itself out.
struct LoginSQL: Sendable {
    let login: String
    let schema: String
    let limits: StoredLimits

    /// Takes back every setting of the login's, in each database that has some, and sets its path and its limits again.
    func repair(databases: [String], serverVersion: Int) -> [String] {
        let role = PostgresIdentifier.quote(self.login)
        return ["ALTER ROLE \(role) RESET ALL"]
            + databases.map { "ALTER ROLE \(role) IN DATABASE \(PostgresIdentifier.quote($0)) RESET ALL" }
            + ["ALTER ROLE \(role) SET search_path TO \(PostgresIdentifier.quote(self.schema)), pg_temp"]
            + LimitQueries.statements(login: self.login, self.limits, serverVersion: serverVersion)
    }

    /// The databases in which the login has settings.
    var databases: PostgresStatement {
        """
        SELECT d.datname::text AS database FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
        WHERE s.setrole = to_regrole(quote_ident(\(self.login))) ORDER BY 1
        """
    }

    /// Ends the login's sessions and names them, last, waiting for each up to `wait` milliseconds. Leaves nothing behind when
    /// its transaction is rolled back: a role may end its own sessions only, so the administrator becomes a member.
    func ending(wait: Int64, serverVersion: Int) -> [PostgresStatement] {
        Self.acting(as: self.login, serverVersion: serverVersion)
            + [RemovalQueries.endSessions(of: self.login, wait: wait)]
    }

    /// Acts as a login until the transaction ends, which has to be rolled back: the administrator becomes a member.
    static func acting(as login: String, serverVersion: Int) -> [PostgresStatement] {
        [
            PostgresStatement(ddl: MembershipSQL.grant(login, to: "CURRENT_USER", serverVersion: serverVersion)),
            PostgresStatement(ddl: "SET LOCAL ROLE \(PostgresIdentifier.quote(login))"),
        ]
    }
}
