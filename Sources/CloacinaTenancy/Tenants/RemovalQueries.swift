import CloacinaPostgres
import FoundationEssentials

/// Statements that a removal asks the catalogs.
enum RemovalQueries {
    /// Ends the sessions of the role that the transaction acts as, and counts them.
    ///
    /// With `wait`, in milliseconds, each call answers once the backend is gone, at the latest after that time.
    static func endSessions(of role: String, wait: Int64 = 0) -> PostgresStatement {
        """
        SELECT count(*) FILTER (WHERE pg_terminate_backend(a.pid, \(wait))) AS ended
        FROM pg_stat_activity a WHERE a.usesysid = to_regrole(\(role))
        """
    }

    static func countSessions(of roles: [Int64]) -> PostgresStatement {
        "SELECT count(*) FROM pg_stat_activity WHERE usesysid = ANY (\(roles)::bigint[]::oid[])"
    }

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
        ORDER BY c.relkind IN ('r', 'p', 'f') DESC, c.oid DESC
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

    /// Who holds locks on the schema's relations.
    static func lockHolders(in schema: Int64) -> PostgresStatement {
        """
        SELECT DISTINCT a.pid, coalesce(a.usename::text, '') AS usename, coalesce(a.application_name, '') AS application
        FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.granted AND c.relnamespace = \(schema)::bigint::oid AND a.pid <> pg_backend_pid()
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        ORDER BY a.pid LIMIT 20
        """
    }

    static func lockTimeout(_ milliseconds: Int64) -> PostgresStatement {
        "SELECT set_config('lock_timeout', \("\(milliseconds)ms"), true)"
    }

    /// Counts what every catalog still has of the tenant, by OID.
    static func proof(id: UUID, schema: Int64?, roles: [Int64]) -> PostgresStatement {
        """
        WITH it AS MATERIALIZED (
            SELECT \(id) AS id, \(schema.postgresValue)::bigint::oid AS schema, \(roles)::bigint[]::oid[] AS roles
        )
        SELECT 'pg_namespace' AS catalog, (SELECT count(*) FROM pg_namespace c, it WHERE c.oid = it.schema) AS remaining
        UNION ALL SELECT 'pg_class', (SELECT count(*) FROM pg_class c, it WHERE c.relnamespace = it.schema)
        UNION ALL SELECT 'pg_proc', (SELECT count(*) FROM pg_proc c, it WHERE c.pronamespace = it.schema)
        UNION ALL SELECT 'pg_type', (SELECT count(*) FROM pg_type c, it WHERE c.typnamespace = it.schema)
        UNION ALL SELECT 'pg_roles', (SELECT count(*) FROM pg_roles c, it WHERE c.oid = ANY (it.roles))
        UNION ALL SELECT 'pg_auth_members', (SELECT count(*) FROM pg_auth_members c, it
            WHERE c.roleid = ANY (it.roles) OR c.member = ANY (it.roles) OR c.grantor = ANY (it.roles))
        UNION ALL SELECT 'pg_default_acl', (SELECT count(*) FROM pg_default_acl c, it
            WHERE c.defaclrole = ANY (it.roles) OR c.defaclnamespace = it.schema)
        UNION ALL SELECT 'pg_db_role_setting', (SELECT count(*) FROM pg_db_role_setting c, it
            WHERE c.setrole = ANY (it.roles))
        UNION ALL SELECT 'pg_shdepend', (SELECT count(*) FROM pg_shdepend c, it
            WHERE c.refclassid = 'pg_authid'::regclass AND c.refobjid = ANY (it.roles))
        UNION ALL SELECT 'pg_stat_activity', (SELECT count(*) FROM pg_stat_activity c, it
            WHERE c.usesysid = ANY (it.roles))
        UNION ALL SELECT 'cloacina.tenants', (SELECT count(*) FROM cloacina.tenants c, it WHERE c.id = it.id)
        UNION ALL SELECT 'cloacina.credentials', (SELECT count(*) FROM cloacina.credentials c, it WHERE c.tenant_id = it.id)
        """
    }
}
