import CloacinaPostgres

/// What only a superuser can do for a database of tenants.
///
/// Every login may call what no tenant needs: advisory locks, whose table all sessions of the server share, and large objects,
/// which belong to no schema; and every login may wait for the strongest lock on any table, catalogs included, which the server
/// asks for before it looks at rights, and behind which all others wait. And the administrator may not limit temporary files.
struct Hardening: Sendable, Hashable {
    /// The functions that PUBLIC may still execute, with the types of their arguments.
    let openFunctions: [String]
    /// The role that goes on calling them.
    let administrator: String

    /// Whether the administrator may limit the temporary files of logins, or no GRANT could let it, as before PostgreSQL 15.
    let limitsTemporaryFiles: Bool

    /// True when a login that may make nothing in any schema is refused what would only wait for a lock on somebody else's table.
    let refusesForeignLocks: Bool

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
                   to_regnamespace('cloacina') IS NULL OR EXISTS (
                       \(Self.isInForce) AND p.prosrc = $is$\(Self.refusal)$is$ AND e.evttags @> ARRAY[\(Self.tags)]) AS refuses_locks,
                   current_setting('is_superuser') = 'on' AS is_superuser
            FROM (SELECT coalesce((SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'cloacina'),
                                  current_user) AS administrator) a
            """, [])
    }

    init(_ row: PostgresRow) throws {
        self.openFunctions = try row.value("open_functions")
        self.administrator = try row.value("administrator")
        self.limitsTemporaryFiles = try row.value("may_limit")
        self.refusesForeignLocks = try row.value("refuses_locks")
    }

    init(
        openFunctions: [String], administrator: String, limitsTemporaryFiles: Bool = true,
        refusesForeignLocks: Bool = true
    ) {
        self.openFunctions = openFunctions
        self.administrator = administrator
        self.limitsTemporaryFiles = limitsTemporaryFiles
        self.refusesForeignLocks = refusesForeignLocks
    }

    /// The statements that a superuser runs once in this database; none when nothing is left to do.
    ///
    /// The administrator keeps the functions: it unlinks what tenants left, and backs the database up.
    var statements: [String] {
        let administrator = PostgresIdentifier.quote(self.administrator)
        var statements: [String] = []
        if !self.limitsTemporaryFiles {
            statements.append("GRANT SET ON PARAMETER temp_file_limit TO \(administrator)")
        }
        if !self.openFunctions.isEmpty {
            let functions = self.openFunctions.joined(separator: ", ")
            statements.append("GRANT EXECUTE ON FUNCTION \(functions) TO \(administrator)")
            statements.append("REVOKE EXECUTE ON FUNCTION \(functions) FROM PUBLIC")
        }
        if !self.refusesForeignLocks { statements.append(Self.refuseForeignLocks) }
        return statements
    }

    /// The event trigger, with a function that nobody but a superuser can change.
    private static let isInForce = """
        SELECT FROM pg_catalog.pg_event_trigger e JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid \
        JOIN pg_catalog.pg_roles o ON o.oid = p.proowner AND o.rolsuper \
        WHERE e.evtname = 'cloacina_refuse_foreign_locks' AND e.evtenabled <> 'D'
        """

    /// The commands that wait for an exclusive lock on any relation before rights are looked at; the last two by `DEPENDS ON
    /// EXTENSION`.
    private static let tags = "'CREATE RULE', 'CREATE TRIGGER', 'ALTER INDEX', 'ALTER MATERIALIZED VIEW'"

    /// The body of the function; an earlier version's is replaced.
    private static let refusal = """
        BEGIN IF NOT EXISTS (SELECT FROM pg_namespace AS n \
        WHERE pg_has_role(session_user, n.nspowner, 'MEMBER') \
        OR n.nspname !~ '^pg_temp_' AND has_schema_privilege(session_user, n.oid, 'CREATE')) THEN \
        RAISE insufficient_privilege USING MESSAGE = format('%s may make nothing in any schema of this database', session_user); \
        END IF; END
        """

    /// An event trigger that is fired before ``tags`` ask for their lock. It reads the server's catalogs
    /// alone, since it runs in everybody's session, a superuser's too.
    ///
    /// The function must be a superuser's for the same reason, and the schema is the administrator's: one that is there already is
    /// not replaced, which would keep its owner, and the trigger is in force only if it came to have that function, whatever the
    /// schema's owner did to the schema's name meanwhile.
    private static let refuseForeignLocks = """
        DO $do$ BEGIN DROP FUNCTION IF EXISTS cloacina.refuse_foreign_locks() CASCADE; \
        DROP EVENT TRIGGER IF EXISTS cloacina_refuse_foreign_locks; \
        CREATE FUNCTION cloacina.refuse_foreign_locks() RETURNS event_trigger LANGUAGE plpgsql \
        SET search_path TO pg_catalog, pg_temp AS $$\(Self.refusal)$$; \
        CREATE EVENT TRIGGER cloacina_refuse_foreign_locks ON ddl_command_start \
        WHEN TAG IN (\(Self.tags)) EXECUTE FUNCTION cloacina.refuse_foreign_locks(); \
        IF NOT EXISTS (\(Self.isInForce)) THEN RAISE 'the function is not a superuser''s: call again'; END IF; END $do$
        """
}
