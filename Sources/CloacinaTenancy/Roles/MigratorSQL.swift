import CloacinaPostgres

/// Statements about the short-lived logins over which files run: `cloacina_migrator_` and twelve hexadecimal digits.
enum MigratorSQL {
    static let prefix = "cloacina_migrator_"

    /// A name that no other login has.
    static func name() throws -> String {
        self.prefix
            + (try SecureRandom.bytes(6)).map { byte in
                let digits = String(byte, radix: 16)
                return digits.utf8.count == 1 ? "0" + digits : digits
            }.joined()
    }

    /// The mark of a login, a comment by which it is known to be ours, whose and since when; and until when its password is good,
    /// by the server's clock: it is needed once, at once.
    static let survey: PostgresStatement = """
        SELECT format('cloacina: migrator of database %s, made by session %s of role %s at %s', d.oid, a.pid, a.usesysid,
                      extract(epoch FROM a.backend_start)) AS mark,
               to_char((clock_timestamp() + interval '15 minutes') AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"+00"') AS until
        FROM pg_stat_activity a JOIN pg_database d ON d.datname = current_database()
        WHERE a.pid = pg_backend_pid()
        """

    /// Makes a login that can't log in yet and may nothing but reach the database, in one transaction.
    ///
    /// Nothing of a login's life waits for the disk: a crash of the server ends its session, and what is left is swept.
    /// One session at a time: whoever makes a file give the login another password still finds no place.
    static func creation(
        _ role: String, mark: String, until: String, database: String, wait: PostgresStatement = Self.patience
    ) -> [PostgresStatement] {
        let name = PostgresIdentifier.quote(role)
        let sql =
            [
                "CREATE ROLE \(name) NOLOGIN NOINHERIT NOCREATEROLE NOCREATEDB NOSUPERUSER NOREPLICATION NOBYPASSRLS "
                    + "CONNECTION LIMIT 1 VALID UNTIL \(PostgresIdentifier.literal(until))",
                "COMMENT ON ROLE \(name) IS \(PostgresIdentifier.literal(mark))",
            ] + ConnectSQL.grantStatements(to: role, database: database)
        return [wait, RegistryQueries.commitWithoutWaiting] + sql.map(PostgresStatement.init(ddl:))
    }

    /// Lets a login act as a tenant's owner, and keeps the administrator's session from being ended while it waits for files.
    ///
    /// The commit need not wait for the disk: no login outlives a crash of the server for long.
    static func admit(_ role: String, to owner: String, serverVersion: Int) -> [PostgresStatement] {
        [
            """
            SELECT set_config('idle_session_timeout', '0', false), set_config('synchronous_commit', 'off', true),
                   set_config('lock_timeout', '5s', true)
            """,
            PostgresStatement(
                ddl: MembershipSQL.grant(
                    owner, to: PostgresIdentifier.quote(role), serverVersion: serverVersion)),
        ]
    }

    /// Takes that back.
    static func dismiss(_ role: String, from owner: String) -> [PostgresStatement] {
        [
            "SELECT set_config('synchronous_commit', 'off', true), set_config('lock_timeout', '5s', true)",
            PostgresStatement(
                ddl: "REVOKE \(PostgresIdentifier.quote(owner)) FROM \(PostgresIdentifier.quote(role))"),
        ]
    }

    /// Puts a session as the administrator's begin, and tells whether it is the login's and nobody else's.
    static func enter(_ role: String) -> PostgresStatement {
        """
        SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false) IS NOT NULL
               AND pg_catalog.set_config('idle_session_timeout', '0', false) IS NOT NULL
               AND pg_catalog.set_config('default_transaction_read_only', 'off', false) IS NOT NULL
               AND session_user OPERATOR(pg_catalog.=) \(role) AND current_user OPERATOR(pg_catalog.=) \(role)
        """
    }

    /// Bounds the wait for whoever locks a login, which code that a file made as the login can do: for what may be left to a later
    /// operation.
    static let briefWait: PostgresStatement = "SELECT set_config('lock_timeout', '200ms', true)"

    /// Drops a login that has nothing, in one transaction.
    static func drop(
        _ role: String, database: String, wait: PostgresStatement
    ) -> [PostgresStatement] {
        let sql =
            ConnectSQL.revokeStatements(from: [role], database: database)
            + ["DROP ROLE \(PostgresIdentifier.quote(role))"]
        return [wait, RegistryQueries.commitWithoutWaiting] + sql.map(PostgresStatement.init(ddl:))
    }

    /// Tells if there is no login of a name any more.
    static func isGone(_ role: String) -> PostgresStatement { "SELECT to_regrole(\(role)) IS NULL AS is_gone" }

    /// The roles that a login is a member of.
    static func memberships(of role: String) -> PostgresStatement {
        """
        SELECT o.rolname::text AS name FROM pg_auth_members m
        JOIN pg_roles r ON r.oid = m.member JOIN pg_roles o ON o.oid = m.roleid WHERE r.rolname = \(role)
        """
    }

    /// The roles that may have granted a login something, and whether the administrator may act as each.
    static func grantors(to role: String, serverVersion: Int) -> PostgresStatement {
        let mayAct = serverVersion >= 160_000 ? "SET" : "MEMBER"
        return """
            SELECT DISTINCT o.rolname::text AS name, pg_has_role(o.oid, \(mayAct)) AS may_act
            FROM pg_shdepend s
            JOIN pg_shdepend g ON g.dbid = s.dbid AND g.classid = s.classid AND g.objid = s.objid
                AND g.refclassid = s.refclassid
            JOIN pg_roles o ON o.oid = g.refobjid
            WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = to_regrole(\(role))
              AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND o.oid <> s.refobjid
              AND NOT o.rolsuper
            ORDER BY name LIMIT \(RemovalQueries.batch)
            """
    }

    /// Drops the functions of the login that the transaction acts as: they make, in others' sessions, what is to be removed.
    static let dropRoutines = PostgresStatement(
        ddl: """
            DO $drop$ DECLARE routine text; BEGIN
                FOR routine IN SELECT p.oid::regprocedure::text FROM pg_catalog.pg_proc p
                               JOIN pg_catalog.pg_roles r ON r.oid = p.proowner WHERE r.rolname = current_user LOOP
                    EXECUTE 'DROP ROUTINE IF EXISTS ' || routine || ' CASCADE';
                END LOOP;
            END $drop$
            """)

    /// The last large object that a login has in this database.
    static func lastLargeObject(of role: String) -> PostgresStatement {
        "SELECT coalesce(max(oid)::bigint, 0) AS last FROM pg_largeobject_metadata WHERE lomowner = to_regrole(\(role))"
    }

    /// The other databases in which something names a login.
    static func otherDatabases(with role: String, limit: Int64) -> PostgresStatement {
        """
        SELECT DISTINCT d.datname::text AS name FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
        WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = to_regrole(\(role)) AND d.datname <> current_database()
        ORDER BY name LIMIT \(limit)
        """
    }

    /// The roles of tenants, and of other logins of migrations, whose sessions hold a login: every login may grant one something of
    /// its own.
    static func holders(of role: String) -> PostgresStatement {
        """
        SELECT DISTINCT r.rolname::text AS name FROM pg_locks l
        JOIN pg_stat_activity a ON a.pid = l.pid JOIN pg_roles r ON r.oid = a.usesysid
        WHERE l.granted AND l.pid <> pg_backend_pid() AND l.locktype = 'object' AND l.classid = 'pg_authid'::regclass
          AND l.objid = to_regrole(\(role))
          AND (EXISTS (SELECT FROM cloacina.tenants t WHERE \(unescaped: RegistryQueries.hasRole("r.oid", named: "r.rolname")))
               OR \(unescaped: Self.isMarked("r.oid")))
        ORDER BY name LIMIT 100
        """
    }

    /// A condition that a role is a login of migrations, ours or another database's: a tenant can't comment on a role.
    static func isMarked(_ role: String) -> String {
        """
        coalesce((SELECT m.rolname FROM pg_roles m WHERE m.oid = \(role)) ~ '^\(Self.prefix)[0-9a-f]{12}$'
                 AND shobj_description(\(role), 'pg_authid') LIKE 'cloacina: migrator of database %', false)
        """
    }

    /// The same of one whose turn is over: the session that made it is gone.
    ///
    /// - Parameter isIdle: Whether the session that asks has no turn, so that what it made itself is left from an earlier one.
    static func isAbandoned(_ role: String, isIdle: Bool = false) -> String {
        """
        (\(self.isMarked(role)) AND NOT EXISTS (
            SELECT FROM pg_stat_activity maker
            WHERE \(isIdle ? "maker.pid <> pg_backend_pid() AND" : "") shobj_description(\(role), 'pg_authid')
                  LIKE format('%%, made by session %s of role %s at %%', maker.pid, maker.usesysid)))
        """
    }

    /// The parts of a login's mark, null where there is none: database, process id, role and start of the session that made it.
    private static func mark(_ role: String) -> String {
        """
        regexp_match(shobj_description(\(role), 'pg_authid'),
            '^cloacina: migrator of database (\\d+), made by session (\\d+) of role (\\d+) at ([0-9.]+)$')
        """
    }

    /// A condition that the session that made a login is gone, or is the one that asks.
    private static func isMakerGone(_ mark: String) -> String {
        """
        NOT EXISTS (SELECT FROM pg_stat_activity a
                    WHERE a.pid::text = \(mark)[2] AND a.usesysid::text = \(mark)[3] AND a.pid <> pg_backend_pid()
                      AND (extract(epoch FROM a.backend_start)::text = \(mark)[4]) IS NOT FALSE)
        """
    }

    /// Sessions in which a file may still run for a command that was killed: each with the role that it may act as.
    ///
    /// Whoever made the login is gone, so nobody gives it another statement; what can't be seen of the session counts as at work.
    static let remnants = """
        SELECT o.rolname AS owner, s.pid, coalesce(s.application_name, '') AS application_name, s.usename::text AS role,
               s.state, coalesce(s.xact_start, s.backend_start) AS since
        FROM pg_stat_activity s JOIN pg_auth_members m ON m.member = s.usesysid JOIN pg_roles o ON o.oid = m.roleid
        WHERE s.datname = current_database() AND s.state IS DISTINCT FROM 'idle'
          AND \(Self.isMarked("s.usesysid")) AND \(Self.isMakerGone("(\(Self.mark("s.usesysid")))"))
        """

    /// Those that may act as one role, but for a login's own.
    static func remnants(actingAs owner: String, beside login: String) -> PostgresStatement {
        """
        SELECT DISTINCT w.pid, w.application_name, w.role, w.state, w.since FROM (\(unescaped: Self.remnants)) w
        WHERE w.owner = \(owner) AND w.role <> \(login) ORDER BY w.since LIMIT 20
        """
    }

    /// The logins of migrations that may act as a role and whose turn is over, asked by a session that has none.
    static func abandoned(actingAs owner: String) -> PostgresStatement {
        """
        SELECT r.rolname::text AS name FROM pg_auth_members o JOIN pg_roles r ON r.oid = o.member
        WHERE o.roleid = to_regrole(quote_ident(\(owner))) AND \(unescaped: Self.isAbandoned("r.oid", isIdle: true))
        ORDER BY name LIMIT 100
        """
    }

    /// Ends the sessions of the login that the transaction acts as, and fails with `22012` when one goes on.
    static func endSessions(of role: String) -> PostgresStatement {
        """
        SELECT 1 / CASE WHEN coalesce(bool_and(pg_terminate_backend(a.pid, 5000)), true) THEN 1 ELSE 0 END AS are_ended
        FROM pg_stat_activity a WHERE a.usesysid = to_regrole(\(role))
        """
    }

    /// Bounds the wait for whoever locks what a login made or was granted, or needs to be made.
    static let patience: PostgresStatement = """
        SELECT set_config('lock_timeout', '1s', true), set_config('statement_timeout', '0', true)
        """

    /// Shuts a login that can't be dropped yet.
    static func shut(_ role: String, wait: PostgresStatement = Self.briefWait) -> [PostgresStatement] {
        [
            wait,
            PostgresStatement(
                ddl: "ALTER ROLE \(PostgresIdentifier.quote(role)) NOLOGIN PASSWORD NULL CONNECTION LIMIT 0"),
        ]
    }

    /// Logins of operations on this database, or on one that is gone, that ended without dropping them: the session that made
    /// each is gone, and so is its own. A statement that a killed command had begun may take hours, such as an index; it is not ended
    /// by who only looks. One that was taken from its owner's role has no such statement.
    ///
    /// One that this very session made is left from an earlier turn: turns don't overlap. Each time in another order, so that what can't
    /// be dropped hides nothing.
    ///
    /// A name alone makes nobody ours, and whoever may not drop a login leaves it to those who may. What can't be seen of the
    /// session that made it counts as there.
    static func leftovers(serverVersion: Int) -> PostgresStatement {
        let mayDrop = serverVersion >= 160_000 ? "pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')" : "true"
        return """
            SELECT l.role FROM (
                SELECT r.oid, r.rolname::text AS role, \(unescaped: Self.mark("r.oid")) AS mark FROM pg_roles r
                WHERE r.rolname ~ '^cloacina_migrator_[0-9a-f]{12}$' AND \(unescaped: mayDrop)
            ) l
            WHERE (l.mark[1] = (SELECT d.oid::text FROM pg_database d WHERE d.datname = current_database())
                   OR NOT EXISTS (SELECT FROM pg_database d WHERE d.oid::text = l.mark[1]))
              AND l.mark IS NOT NULL AND \(unescaped: Self.isMakerGone("l.mark"))
              AND NOT EXISTS (SELECT FROM pg_stat_activity a JOIN pg_auth_members m ON m.member = a.usesysid
                              WHERE a.usesysid = l.oid)
            ORDER BY random() LIMIT 100
            """
    }
}
