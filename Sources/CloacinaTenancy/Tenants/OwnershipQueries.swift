import CloacinaPostgres
import FoundationEssentials

/// Statements on what roles own, were granted, or hold elsewhere on the server.
enum OwnershipQueries {
    /// Unlinks a part of a role's large objects, from an OID on, and says how many and which was the last.
    static func unlinkLargeObjects(of role: String, after: Int64, limit: Int64) -> PostgresStatement {
        """
        WITH chosen AS MATERIALIZED (
            SELECT oid FROM pg_largeobject_metadata
            WHERE lomowner = to_regrole(\(role)) AND oid > \(after)::bigint::oid ORDER BY oid LIMIT \(limit)
        )
        SELECT count(lo_unlink(oid)) AS unlinked, max(oid)::bigint AS last FROM chosen
        """
    }

    /// Which of roles own large objects here, and as whom they can be unlinked: a server may let nobody call that.
    static func largeObjectOwners(_ roles: [String]) -> PostgresStatement {
        """
        SELECT r.name, has_function_privilege(r.name, 'lo_unlink(oid)', 'EXECUTE') AS as_owner,
               has_function_privilege('lo_unlink(oid)', 'EXECUTE') AND pg_has_role(r.name, 'USAGE') AS as_administrator
        FROM unnest(\(roles)::text[]) r (name)
        WHERE EXISTS (SELECT FROM pg_largeobject_metadata m WHERE m.lomowner = to_regrole(r.name))
        """
    }

    /// Which of roles the administrator inherits the privileges of.
    static func inherited(_ roles: [String]) -> PostgresStatement {
        "SELECT r.name FROM unnest(\(roles)::text[]) r (name) WHERE pg_has_role(r.name, 'USAGE')"
    }

    /// Which of roles the administrator may not hand on, which PostgreSQL asks for from version 16.
    static func withoutAdminOption(_ roles: [String]) -> PostgresStatement {
        "SELECT r.name FROM unnest(\(roles)::text[]) r (name) WHERE NOT pg_has_role(r.name, 'MEMBER WITH ADMIN OPTION')"
    }

    /// The other databases in which roles hold something, and those in which the group of all tenants owns something.
    static func otherDatabases(roles: [Int64], group: String) -> PostgresStatement {
        """
        SELECT d.datname::text AS name, bool_or(s.is_tenants) AS is_tenants
        FROM (
            SELECT dbid AS database, refobjid = ANY (\(roles)::bigint[]::oid[]) AS is_tenants FROM pg_shdepend
            WHERE refclassid = 'pg_authid'::regclass AND dbid <> 0
              AND (refobjid = ANY (\(roles)::bigint[]::oid[]) OR (refobjid = to_regrole(\(group)) AND deptype = 'o'))
            UNION ALL
            SELECT d.oid, r.oid = ANY (\(roles)::bigint[]::oid[])
            FROM pg_prepared_xacts p JOIN pg_roles r ON r.rolname = p.owner JOIN pg_database d ON d.datname = p.database
            WHERE r.oid = ANY (\(roles)::bigint[]::oid[]) OR r.rolname = \(group)
        ) s JOIN pg_database d ON d.oid = s.database
        WHERE d.datname <> current_database() GROUP BY d.datname ORDER BY d.datname LIMIT \(RemovalQueries.batch)
        """
    }

    /// Finds what belongs to no database, was granted to roles or is theirs, and can't be taken from them by the administrator; of what
    /// was granted on a database, those who alone can take it.
    static func sharedObstacles(roles: [Int64]) -> PostgresStatement {
        """
        SELECT r.rolname::text AS role, s.deptype = 'o' AS is_owner,
               pg_describe_object(s.classid, s.objid, s.objsubid) AS object, g.grantors
        FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid
        LEFT JOIN pg_database d ON s.classid = 'pg_database'::regclass AND d.oid = s.objid
        CROSS JOIN LATERAL (
            SELECT ARRAY(SELECT DISTINCT pg_get_userbyid(a.grantor)::text FROM aclexplode(d.datacl) a
                         WHERE a.grantee = s.refobjid AND NOT pg_has_role(a.grantor, 'USAGE') ORDER BY 1) AS grantors) g
        WHERE s.refclassid = 'pg_authid'::regclass AND s.dbid = 0 AND s.refobjid = ANY (\(roles)::bigint[]::oid[])
          AND s.classid NOT IN ('pg_authid'::regclass, 'pg_auth_members'::regclass)
          AND (s.deptype = 'o' OR NOT (current_setting('is_superuser')::boolean
              OR (d.oid IS NOT NULL AND g.grantors = '{}')))
        ORDER BY object, role LIMIT 20
        """
    }

    /// What roles still own or were granted, of this database and of none; of others the database alone.
    static func remainders(roles: [Int64]) -> PostgresStatement {
        """
        SELECT DISTINCT r.rolname::text AS role,
               CASE WHEN s.dbid <> 0 AND d.datname <> current_database() THEN 'something in the database ' || d.datname
                    ELSE pg_describe_object(s.classid, s.objid, s.objsubid) END AS object
        FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid LEFT JOIN pg_database d ON d.oid = s.dbid
        WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = ANY (\(roles)::bigint[]::oid[])
        ORDER BY object, role LIMIT 20
        """
    }

    /// How much the group of all tenants' logins owns in this database: nothing, unless a tenant acted as it.
    static func countOwned(by group: String) -> PostgresStatement {
        """
        SELECT count(*) FROM pg_shdepend
        WHERE refclassid = 'pg_authid'::regclass AND refobjid = to_regrole(\(group)) AND deptype = 'o'
          AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        """
    }

    /// Tells if another database has a registry of tenants, or an installation at all; asked of the catalogs, since its schema may be
    /// a stranger's.
    static let registry: PostgresStatement = """
        SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                       WHERE n.nspname = 'cloacina' AND c.relname = 'tenants') AS has_tenants
        """

    /// A tenant of another database's registry that goes by these very roles and is not being removed there; in one flush, of which
    /// this is the last statement.
    ///
    /// The database may be a stranger's, and what has the registry's name there a view, or a table that runs its owner's code in the
    /// session that reads it. So it is locked first, and read only once it is known to be a table with nothing tied to it, of
    /// an owner who is no stranger; otherwise the flush fails with ``FleetQueries/assertionFailure``.
    static func tenant(withRoles oids: [Int64], named names: [String]) -> [PostgresStatement] {
        [
            """
            SELECT set_config('row_security', 'off', true), set_config('transaction_read_only', 'on', true),
                   set_config('lock_timeout', '5s', true)
            """,
            PostgresStatement(
                ddl: "LOCK TABLE ONLY cloacina.tenants IN SHARE UPDATE EXCLUSIVE MODE"),
            """
            SELECT 1 / CASE WHEN count(*) = 1 THEN 1 ELSE 0 END AS is_plain
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
            WHERE n.nspname = 'cloacina' AND c.relname = 'tenants' AND c.relkind = 'r'
              AND (o.rolsuper OR o.rolname = session_user) AND \(unescaped: FleetQueries.isPlain)
            """,
            """
            SELECT name FROM cloacina.tenants
            WHERE state <> 'removing'
              AND (role_oids && \(oids)::bigint[]::oid[]
                   OR (role_oids IS NOT NULL AND ARRAY[owner_role, runtime_role, login_a, login_b] && \(names)::text[]))
            LIMIT 1
            """,
        ]
    }

    /// Others that own, or were granted too, what was granted to roles in this database: only they can take it back.
    static func grantors(to roles: [Int64], serverVersion: Int) -> PostgresStatement {
        """
        SELECT DISTINCT o.rolname::text AS name, \(unescaped: Self.mayAct("o.oid", serverVersion)) AS may_act
        FROM pg_shdepend s LEFT JOIN pg_policy p ON s.classid = 'pg_policy'::regclass AND p.oid = s.objid
        JOIN pg_shdepend g ON g.dbid = s.dbid AND g.refclassid = 'pg_authid'::regclass
            AND g.classid = CASE WHEN p.oid IS NULL THEN s.classid ELSE 'pg_class'::regclass END
            AND g.objid = coalesce(p.polrelid, s.objid)
        JOIN pg_roles o ON o.oid = g.refobjid
        WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = ANY (\(roles)::bigint[]::oid[])
          AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND o.oid <> ALL (\(roles)::bigint[]::oid[])
        ORDER BY name LIMIT \(RemovalQueries.batch)
        """
    }

    /// Which of roles are other tenants', by the registry, or logins over which files ran.
    static func others(among roles: [String], than tenant: UUID) -> PostgresStatement {
        """
        SELECT r.name FROM unnest(\(roles)::text[]) r (name)
        WHERE EXISTS (SELECT FROM cloacina.tenants t
                      WHERE t.id <> \(tenant)
                        AND \(unescaped: RegistryQueries.hasRole("to_regrole(quote_ident(r.name))::oid", named: "r.name")))
           OR \(unescaped: MigratorSQL.isMarked("to_regrole(quote_ident(r.name))::oid"))
        """
    }

    /// Whether the administrator may act as a role.
    static func mayAct(as role: String, serverVersion: Int) -> PostgresStatement {
        "SELECT \(unescaped: Self.mayAct("to_regrole(quote_ident(r.name))", serverVersion)) FROM (VALUES (\(role)::text)) r (name)"
    }

    /// Tells if a tenant was registered in this very database, and no other one lets its runtime role in.
    static func isOriginal(_ tenant: String, runtime role: String) -> PostgresStatement {
        """
        SELECT coalesce((SELECT t.database_oid FROM cloacina.tenants t WHERE t.name = \(tenant))
                        = \(unescaped: RegistryQueries.database), false)
           AND NOT EXISTS (SELECT FROM pg_database d, aclexplode(d.datacl) a
                           WHERE d.datname <> current_database() AND a.privilege_type = 'CONNECT'
                             AND a.grantee = to_regrole(quote_ident(\(role)))::oid)
        """
    }

    /// From PostgreSQL 16 on a member need not be allowed to.
    private static func mayAct(_ role: String, _ serverVersion: Int) -> String {
        "pg_has_role(\(role), '\(serverVersion >= 160_000 ? "SET" : "MEMBER")')"
    }
}
