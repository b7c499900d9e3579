import CloacinaPostgres

/// What only a superuser can do for a database of tenants.
///
/// Every login may call what no tenant needs: advisory locks, whose table all sessions of the server share, and large objects,
/// which belong to no schema. And the administrator may not limit temporary files.
struct Hardening: Sendable, Hashable {
    /// The functions that PUBLIC may still execute, with the types of their arguments.
    let openFunctions: [String]
    /// The role that goes on calling them.
    let administrator: String

    /// Whether the administrator may limit the temporary files of logins, or no GRANT could let it, as before PostgreSQL 15.
    let limitsTemporaryFiles: Bool

    /// Looks around; the administrator is whoever owns the control schema, or is about to make it.
    static func survey(serverVersion: Int) -> PostgresStatement {
        let mayLimit =
            serverVersion >= 150_000 ? "has_parameter_privilege(a.administrator, 'temp_file_limit', 'SET')" : "true"
        return PostgresStatement(
            """
            SELECT ARRAY(
                       SELECT 'pg_catalog.' || p.oid::regprocedure::text
                       FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) e
                       WHERE p.pronamespace = 'pg_catalog'::regnamespace AND e.grantee = 0 AND e.privilege_type = 'EXECUTE'
                         AND (p.proname ~ '^pg_(try_)?advisory_' OR p.proname ~ '^lo_' OR p.proname IN ('loread', 'lowrite'))
                       ORDER BY 1) AS open_functions,
                   a.administrator::text AS administrator, \(mayLimit) AS may_limit,
                   current_setting('is_superuser') = 'on' AS is_superuser
            FROM (SELECT coalesce((SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'cloacina'),
                                  current_user) AS administrator) a
            """, [])
    }

    init(_ row: PostgresRow) throws {
        self.openFunctions = try row.value("open_functions")
        self.administrator = try row.value("administrator")
        self.limitsTemporaryFiles = try row.value("may_limit")
    }

    init(openFunctions: [String], administrator: String, limitsTemporaryFiles: Bool = true) {
        self.openFunctions = openFunctions
        self.administrator = administrator
        self.limitsTemporaryFiles = limitsTemporaryFiles
    }

    /// The statements that a superuser runs once in this database; none when nothing is left to do.
    ///
    /// The administrator keeps the functions: it unlinks what tenants left, and backs the database up.
    var statements: [String] {
        let administrator = PostgresIdentifier.quote(self.administrator)
        let limit =
            self.limitsTemporaryFiles ? [] : ["GRANT SET ON PARAMETER temp_file_limit TO \(administrator)"]
        guard !self.openFunctions.isEmpty else { return limit }
        let functions = self.openFunctions.joined(separator: ", ")
        return limit + [
            "GRANT EXECUTE ON FUNCTION \(functions) TO \(administrator)",
            "REVOKE EXECUTE ON FUNCTION \(functions) FROM PUBLIC",
        ]
    }
}
