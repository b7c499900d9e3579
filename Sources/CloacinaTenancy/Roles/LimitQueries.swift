import CloacinaPostgres
import FoundationEssentials

/// Statements that limit what a tenant's logins may use.
enum LimitQueries {
    /// What the registry keeps of a tenant's limits, and what its login in use has of them; `t` is the tenant's row.
    ///
    /// A login may set what it likes on itself, up to a gigabyte. More than a few settings take are none.
    static let columns = """
        t.connection_limit, t.statement_timeout_ms, t.lock_timeout_ms, t.idle_in_transaction_timeout_ms, t.temporary_file_kb,
        (SELECT r.rolconnlimit FROM pg_catalog.pg_roles r
         WHERE r.oid = ANY (t.role_oids) AND r.rolname = \(Self.login)) AS found_connection_limit,
        (SELECT CASE WHEN pg_column_size(r.rolconfig) <= 16384
                     THEN ARRAY(SELECT s FROM unnest(r.rolconfig) s WHERE s ~ '_(timeout|limit)=' AND length(s) <= 100)
                     ELSE '{}' END
         FROM pg_catalog.pg_roles r
         WHERE r.oid = ANY (t.role_oids) AND r.rolname = \(Self.login)) AS found_settings
        """

    private static let login = """
        coalesce((SELECT c.login FROM cloacina.credentials c WHERE c.tenant_id = t.id AND c.state = 'active'), t.login_a)
        """

    /// The tenant's row, kept from others until the transaction ends, with those of its logins that are the registered ones.
    static func target(_ name: String) -> PostgresStatement {
        """
        SELECT t.id, t.state, ARRAY(SELECT r.rolname::text FROM pg_catalog.pg_roles r
                                    WHERE r.rolname IN (t.login_a, t.login_b) AND r.oid = ANY (t.role_oids)
                                    ORDER BY r.rolname) AS logins
        FROM cloacina.tenants t WHERE t.name = \(name) FOR UPDATE OF t
        """
    }

    /// Bounds how long a transaction waits for a login that somebody is changing, such as the tenant itself.
    static let boundedWait = PostgresStatement("SELECT set_config('lock_timeout', '5s', true)")

    /// The sessions that are changing roles or their settings, and whether they are the tenant's own.
    ///
    /// Whose role it is that they change can't be seen. A prepared transaction has no process.
    static func roleChangers(ofTenant name: String) -> PostgresStatement {
        """
        SELECT DISTINCT l.pid, coalesce(a.usename::text, p.owner::text, '') AS usename,
               \(unescaped: RemovalQueries.identifier) AS gid,
               coalesce(a.datname::text, p.database::text, '') AS database,
               l.pid IS NOT NULL AND EXISTS (
                   SELECT FROM cloacina.tenants t
                   WHERE t.name = \(name) AND \(unescaped: RegistryQueries.hasRole("a.usesysid", named: "a.usename"))) AS is_own
        FROM pg_locks l \(unescaped: RemovalQueries.holders)
        WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid() AND l.locktype = 'relation' AND l.database = 0
          AND l.mode = 'RowExclusiveLock' AND l.relation IN ('pg_authid'::regclass, 'pg_db_role_setting'::regclass)
        ORDER BY is_own DESC, l.pid LIMIT 20
        """
    }

    static func audit(_ action: String, name: String, detail: String? = nil) -> PostgresStatement {
        """
        INSERT INTO cloacina.audit (action, tenant_name, detail) VALUES (\(action), \(name), \(detail.postgresValue))
        """
    }

    static func record(id: UUID, _ limits: StoredLimits) -> PostgresStatement {
        """
        UPDATE cloacina.tenants
        SET connection_limit = \(limits.connections.postgresValue),
            statement_timeout_ms = \(limits.statementMilliseconds.postgresValue),
            lock_timeout_ms = \(limits.lockMilliseconds.postgresValue),
            idle_in_transaction_timeout_ms = \(limits.idleInTransactionMilliseconds.postgresValue),
            temporary_file_kb = \(limits.temporaryFileKilobytes.postgresValue)
        WHERE id = \(id)
        """
    }

    /// The statements that give a login its limits.
    static func statements(login: String, _ limits: StoredLimits, serverVersion: Int) -> [String] {
        let role = "ALTER ROLE \(PostgresIdentifier.quote(login))"
        let settings = limits.settings.map { name, value in
            let change = value.map { "\(role) SET \(name) TO '\($0)'" } ?? "\(role) RESET \(name)"
            return name == "temp_file_limit" ? self.ifAllowed(name, change, serverVersion: serverVersion) : change
        }
        return ["\(role) CONNECTION LIMIT \(limits.connections ?? -1)"] + settings
    }

    /// Runs a statement only where the administrator may set the parameter: a superuser may, others from PostgreSQL 15 on after
    /// `GRANT SET ON PARAMETER`.
    private static func ifAllowed(_ parameter: String, _ statement: String, serverVersion: Int) -> String {
        let isAllowed =
            serverVersion >= 150_000
            ? "pg_catalog.has_parameter_privilege('\(parameter)', 'SET')"
            : "pg_catalog.current_setting('is_superuser') = 'on'"
        return "DO $limits$ BEGIN IF \(isAllowed) THEN \(statement); END IF; END $limits$"
    }
}
