import CloacinaPostgres
import FoundationEssentials

/// Statements of a removal on sessions, locks and the tenant's schema.
enum RemovalQueries {
    /// The most rows that one query brings; what there is more of comes with the next one.
    static let batch: Int64 = 1000

    /// Limits the transaction: it waits for locks for a moment, and works as long as it needs.
    static func limits(lockTimeout milliseconds: Int64) -> PostgresStatement {
        """
        SELECT set_config('lock_timeout', \("\(milliseconds)ms"), true), set_config('statement_timeout', '0', true)
        """
    }

    /// Bounds every later wait of the session for a lock.
    static let sessionLockTimeout: PostgresStatement = "SET lock_timeout = '500ms'"

    /// The longest wait for one session of another tenant's to end, in milliseconds.
    static let endingWait: Int64 = 200

    /// Ends the sessions of the role that the transaction acts as, and names them; there are no more than the server has
    /// connections.
    ///
    /// Not as a condition: the order in which conditions are tried is the planner's, and all others would end.
    ///
    /// - Parameter wait: How many milliseconds to wait for each to be gone.
    static func endSessions(of role: String, wait: Int64 = 0) -> PostgresStatement {
        """
        SELECT a.pid, pg_terminate_backend(a.pid, \(wait)) FROM pg_stat_activity a
        WHERE a.usesysid = to_regrole(quote_ident(\(role)))
        """
    }

    static func countSessions(of roles: [Int64]) -> PostgresStatement {
        "SELECT count(*) FROM pg_stat_activity WHERE usesysid = ANY (\(roles)::bigint[]::oid[])"
    }

    /// Transactions that roles prepared, in any database.
    static func preparedTransactions(of roles: [String]) -> PostgresStatement {
        """
        SELECT \(unescaped: Self.identifier) AS gid, p.owner::text AS owner, p.database::text AS database
        FROM pg_prepared_xacts p
        WHERE p.owner::text = ANY (\(roles)::text[]) ORDER BY database, gid LIMIT \(Self.batch)
        """
    }

    /// Tells if this database has no prepared transaction of a name any more.
    static func isGone(_ identifier: TransactionIdentifier) -> PostgresStatement {
        """
        SELECT NOT EXISTS (SELECT FROM pg_prepared_xacts p
                           WHERE p.database = current_database() AND \(unescaped: Self.identifier) = \(identifier.bytes)) AS is_gone
        """
    }

    /// The bytes of a prepared transaction `p`'s name, which may be no text of this database's encoding.
    static let identifier = "replace(p.gid, chr(92), chr(92) || chr(92))::bytea"

    /// What the schema holds that `DROP` can name, with the locks each takes: itself, its indexes, its TOAST table with
    /// index, and the sequences it owns.
    static func relations(in schema: Int64) -> PostgresStatement {
        """
        SELECT c.relname::text AS name,
               CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                              WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END AS kind,
               1 + (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid)
                 + CASE WHEN c.reltoastrelid <> 0 THEN 2 ELSE 0 END
                 + 2 AS locks
        FROM pg_class c
        WHERE c.relnamespace = \(schema)::bigint::oid AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
          AND NOT (c.relkind = 'S' AND EXISTS (
              SELECT FROM pg_depend d
              WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')))
        ORDER BY c.relkind IN ('r', 'p', 'f') DESC, c.oid DESC LIMIT \(Self.batch)
        """
    }

    static func countRelations(in schema: Int64) -> PostgresStatement {
        "SELECT count(*) FROM pg_class WHERE relnamespace = \(schema)::bigint::oid"
    }

    /// How many locks the server has room for.
    static let lockCapacity: PostgresStatement = """
        SELECT current_setting('max_locks_per_transaction')::bigint
               * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint)
        """

    /// Who holds locks on the schema, its relations, the roles, or their large objects; and who is changing roles.
    ///
    /// A prepared transaction has no process; the lock on its own number says which it is.
    static func lockHolders(in schema: Int64?, roles: [Int64]) -> PostgresStatement {
        """
        WITH it AS MATERIALIZED (
            SELECT \(schema.postgresValue)::bigint::oid AS schema, \(roles)::bigint[]::oid[] AS roles,
                   (SELECT oid FROM pg_database WHERE datname = current_database()) AS database
        )
        SELECT DISTINCT l.pid, coalesce(a.usename::text, p.owner::text, '') AS usename,
               \(unescaped: Self.identifier) AS gid,
               coalesce(a.datname::text, p.database::text, '') AS database
        FROM it CROSS JOIN pg_locks l \(unescaped: Self.holders)
        WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid() AND (\(unescaped: Self.isOnIts)
            OR (l.locktype = 'relation' AND l.database = 0 AND l.mode = 'RowExclusiveLock'
                AND l.relation IN ('pg_authid'::regclass, 'pg_auth_members'::regclass)))
        ORDER BY l.pid LIMIT 20
        """
    }

    /// The same for the logins of other tenants, and those over which files ran of a command that was killed, which have no business
    /// there: PostgreSQL lets every login lock tables that
    /// it may not read, by `pg_get_viewdef` for example, and roles, by granting them something of its own.
    static func intruders(in schema: Int64?, roles: [Int64], of tenant: UUID) -> PostgresStatement {
        """
        WITH it AS MATERIALIZED (
            SELECT \(schema.postgresValue)::bigint::oid AS schema, \(roles)::bigint[]::oid[] AS roles,
                   (SELECT oid FROM pg_database WHERE datname = current_database()) AS database
        )
        SELECT DISTINCT l.pid, r.rolname::text AS usename, \(unescaped: Self.identifier) AS gid,
               coalesce(a.datname::text, p.database::text, '') AS database
        FROM it CROSS JOIN pg_locks l \(unescaped: Self.holders)
        JOIN pg_roles r ON r.oid = a.usesysid OR r.rolname = p.owner
        WHERE (EXISTS (SELECT FROM cloacina.tenants t
                       WHERE \(unescaped: RegistryQueries.hasRole("r.oid", named: "r.rolname")) AND t.id <> \(tenant))
               OR \(unescaped: MigratorSQL.isAbandoned("r.oid")))
          AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid() AND (\(unescaped: Self.isOnIts))
        ORDER BY l.pid LIMIT \(Self.batch)
        """
    }

    /// The sessions that a session waits for, and prepared transactions; in any database. Those of tenants' logins, and of logins
    /// over which files ran, are told from those of others.
    ///
    /// Whoever waits for a row stands behind all that came before, such as a vacuum, so the one that has changed the row is found by
    /// the first of them. Nobody else is followed: what a blocker waits for besides is none of this session's business.
    ///
    /// - Parameter tenant: The tenant whose logins count as others'; nil when none do.
    static func blockers(of pid: Int32, sparing tenant: UUID?) -> PostgresStatement {
        """
        WITH l AS MATERIALIZED (SELECT * FROM pg_locks), transactions AS (
            SELECT w.transactionid FROM l w
            WHERE NOT w.granted AND w.locktype = 'transactionid' AND (w.pid = \(pid) OR EXISTS (
                SELECT FROM l own JOIN l first
                    ON (first.database, first.relation, first.page, first.tuple) = (own.database, own.relation, own.page, own.tuple)
                WHERE own.pid = \(pid) AND own.locktype = 'tuple' AND NOT own.granted
                  AND first.pid = w.pid AND first.locktype = 'tuple' AND first.granted))
        ), prepared AS (
            SELECT transactionid FROM transactions
            UNION
            SELECT x.transactionid FROM l w JOIN l held ON held.pid IS NULL AND held.granted AND held.locktype = w.locktype
                AND (held.database, held.relation, held.classid, held.objid)
                    IS NOT DISTINCT FROM (w.database, w.relation, w.classid, w.objid)
                AND \(unescaped: LockModes.conflict("held.mode", "w.mode"))
            JOIN l x ON x.pid IS NULL AND x.locktype = 'transactionid' AND x.granted
                AND x.virtualtransaction = held.virtualtransaction
            WHERE w.pid = \(pid) AND NOT w.granted AND w.locktype IN ('relation', 'object')
        ), found AS (
            SELECT a.pid, a.usesysid AS oid, coalesce(a.usename::text, '') AS usename, NULL::bytea AS gid,
                   coalesce(a.datname::text, '') AS database
            FROM pg_stat_activity a
            WHERE a.pid = ANY ((SELECT pg_blocking_pids(\(pid)))::integer[])
               OR a.pid IN (SELECT h.pid FROM l h JOIN transactions t ON t.transactionid = h.transactionid WHERE h.granted)
            UNION ALL
            SELECT NULL, r.oid, r.rolname::text, \(unescaped: Self.identifier), p.database::text
            FROM prepared t JOIN pg_prepared_xacts p ON p.transaction = t.transactionid JOIN pg_roles r ON r.rolname = p.owner
        )
        SELECT f.pid, f.usename, f.gid, f.database,
               coalesce(
                   EXISTS (SELECT FROM cloacina.tenants t
                           WHERE \(unescaped: RegistryQueries.hasRole("f.oid", named: "f.usename"))
                             AND t.id IS DISTINCT FROM \(tenant.postgresValue)::uuid)
                   OR \(unescaped: MigratorSQL.isAbandoned("f.oid")), false) AS may_end
        FROM found f ORDER BY may_end DESC, f.pid LIMIT \(Self.batch)
        """
    }

    /// Ends one session, by somebody who acts as its role, unless it has ended and its number is another's by now.
    static func endSession(_ pid: Int32, of role: String) -> PostgresStatement {
        """
        SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
        WHERE a.pid = \(pid) AND a.usesysid = to_regrole(quote_ident(\(role)))
        """
    }

    /// Leaves a line in the audit trail about what another tenant put in the way.
    static func auditIntrusion(tenant: String, _ intruder: String) -> PostgresStatement {
        """
        INSERT INTO cloacina.audit (action, tenant_name, detail) VALUES ('tenant.intruder_ended', \(tenant), \(intruder))
        """
    }

    /// Whose lock `l` is: a session `a`, or a prepared transaction `p`.
    static let holders = """
        LEFT JOIN pg_stat_activity a ON a.pid = l.pid
        LEFT JOIN pg_locks x ON l.pid IS NULL AND x.pid IS NULL AND x.locktype = 'transactionid' AND x.granted
            AND x.virtualtransaction = l.virtualtransaction
        LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
        """

    /// Whether a lock `l` is on the schema, its relations, the roles, or their large objects.
    private static let isOnIts = """
        (l.locktype = 'relation' AND l.database = it.database
            AND EXISTS (SELECT FROM pg_class c WHERE c.oid = l.relation AND c.relnamespace = it.schema))
        OR (l.locktype = 'object' AND l.classid = 'pg_authid'::regclass AND l.objid = ANY (it.roles))
        OR (l.locktype = 'object' AND l.database = it.database AND l.classid = 'pg_namespace'::regclass
            AND l.objid = it.schema)
        OR (l.locktype = 'object' AND l.database = it.database AND l.classid = 'pg_largeobject'::regclass
            AND EXISTS (SELECT FROM pg_largeobject_metadata m WHERE m.oid = l.objid AND m.lomowner = ANY (it.roles)))
        """
}
