import CloacinaPostgres

/// The rights of a tenant's roles in its schema: as statements for a new tenant, and as a search for what is not so.
///
/// The runtime role reads and writes the application's tables, and sees of the engine's what views and functions show it.
/// The engine's tables are the engine role's alone.
struct PrivilegeSQL: Sendable, Hashable {
    let schema: String
    let owner: String
    let runtime: String
    let engine: String

    /// The engine's tables; a test compares them with the migrations.
    static let engineTables = [
        "cloacina_pipelines", "cloacina_events", "cloacina_task_commits", "cloacina_runners", "cloacina_wakeups",
    ]
    /// The engine's views, and the history, which the tenant may read and not write.
    static let readable = [
        "cloacina_pipeline_list", "cloacina_pipeline_events", "cloacina_pipeline_tasks", "cloacina_migrations",
    ]

    /// Grants the schema, and what is made in it later; as the owner.
    var schemaStatements: [String] {
        ["GRANT USAGE ON SCHEMA \(self.quote(self.schema)) TO \(self.quote(self.runtime))"] + self.defaultStatements
    }

    /// Grants new tables, sequences and functions; as the owner.
    var defaultStatements: [String] {
        let defaults = "ALTER DEFAULT PRIVILEGES FOR ROLE \(self.quote(self.owner))"
        let inSchema = "\(defaults) IN SCHEMA \(self.quote(self.schema))"
        let runtime = self.quote(self.runtime)
        return [
            "\(inSchema) GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO \(runtime)",
            "\(inSchema) GRANT USAGE, SELECT ON SEQUENCES TO \(runtime)",
            "\(defaults) REVOKE EXECUTE ON ROUTINES FROM PUBLIC",
            "\(inSchema) GRANT EXECUTE ON ROUTINES TO \(runtime)",
        ]
    }

    /// Gives the engine's tables to the engine's role, once they are there; as the owner.
    var engineStatements: [String] {
        let (tables, views) = (self.list(Self.engineTables), self.list(Self.readable))
        return [
            "REVOKE ALL ON \(tables), \(views) FROM PUBLIC, \(self.quote(self.runtime))",
            "GRANT SELECT ON \(views) TO \(self.quote(self.runtime))",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON \(tables) TO \(self.quote(self.engine))",
        ]
    }

    /// Statements that put right what is not as it should be, in order; none when everything is. To be run as the owner.
    ///
    /// Only what the owner owns counts: of anybody else's it could grant nothing.
    var deviations: PostgresStatement {
        """
        WITH it AS MATERIALIZED (
            SELECT n.oid AS schema, quote_ident(n.nspname) AS name, n.nspacl AS acl, n.nspowner,
                   o.oid AS owner, r.oid AS runtime, e.oid AS engine
            FROM pg_catalog.pg_namespace n, pg_catalog.pg_roles o, pg_catalog.pg_roles r, pg_catalog.pg_roles e
            WHERE n.nspname = \(self.schema) AND o.rolname = \(self.owner) AND r.rolname = \(self.runtime)
              AND e.rolname = \(self.engine)
        ), objects AS MATERIALIZED (
            SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
                   it.name || '.' || quote_ident(c.relname) AS name,
                   coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)) AS acl,
                   c.relname::text = ANY (\(Self.engineTables)::text[] || \(Self.readable)::text[]) AS is_closed,
                   CASE WHEN c.relname::text = ANY (\(Self.engineTables)::text[]) THEN it.engine ELSE it.runtime END AS grantee,
                   CASE WHEN c.relkind = 'S' THEN '{SELECT,USAGE}'
                        WHEN c.relname::text = ANY (\(Self.readable)::text[]) THEN '{SELECT}'
                        ELSE '{SELECT,INSERT,UPDATE,DELETE}' END::text[] AS wanted
            FROM it JOIN pg_catalog.pg_class c ON c.relnamespace = it.schema AND c.relowner = it.owner
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
            UNION ALL
            SELECT 'ROUTINE', p.oid::regprocedure::text,
                   coalesce(p.proacl, acldefault('f', p.proowner)), false, it.runtime, '{EXECUTE}'
            FROM it JOIN pg_catalog.pg_proc p ON p.pronamespace = it.schema AND p.proowner = it.owner
            UNION ALL
            SELECT 'SCHEMA', it.name, coalesce(it.acl, acldefault('n', it.nspowner)), false, it.runtime, '{USAGE}' FROM it
        ), excess AS (
            SELECT o.kind, o.name, a.grantee FROM it, objects o, aclexplode(o.acl) a
            WHERE o.is_closed AND a.grantee IN (0, it.runtime)
              AND NOT (a.grantee = o.grantee AND a.privilege_type = ANY (o.wanted))
            GROUP BY 1, 2, 3
        ), missing AS (
            SELECT o.kind, o.name, o.grantee, string_agg(w.privilege, ', ' ORDER BY w.place) AS privileges
            FROM objects o, unnest(o.wanted) WITH ORDINALITY AS w (privilege, place)
            WHERE NOT EXISTS (
                    SELECT FROM aclexplode(o.acl) a WHERE a.grantee = o.grantee AND a.privilege_type = w.privilege)
               OR EXISTS (SELECT FROM excess x WHERE x.name = o.name AND x.grantee = o.grantee)
            GROUP BY 1, 2, 3
        ), defaults AS (
            SELECT d.place, d.statement FROM unnest(\(self.defaultStatements)::text[]) WITH ORDINALITY AS d (statement, place)
            WHERE CASE d.place WHEN 3 THEN coalesce((
                SELECT bool_or(a.grantee = 0) FROM it
                LEFT JOIN pg_catalog.pg_default_acl s ON s.defaclrole = it.owner AND s.defaclnamespace = 0 AND s.defaclobjtype = 'f'
                CROSS JOIN LATERAL aclexplode(coalesce(s.defaclacl, acldefault('f', it.owner))) a
            ), false) ELSE (
                SELECT count(*) FROM it
                JOIN pg_catalog.pg_default_acl s ON s.defaclrole = it.owner AND s.defaclnamespace = it.schema
                    AND s.defaclobjtype = ('{r,S,f,f}'::"char"[])[d.place]
                CROSS JOIN LATERAL aclexplode(s.defaclacl) a
                WHERE a.grantee = it.runtime
            ) < ('{4,2,0,1}'::int[])[d.place] END
        )
        SELECT statement FROM (
            SELECT 1 AS part, place, statement FROM defaults
            UNION ALL
            SELECT 2, 0, format('REVOKE ALL ON %s %s FROM %s', kind, name, CASE grantee WHEN 0 THEN 'PUBLIC'
                ELSE quote_ident(pg_get_userbyid(grantee)) END) FROM excess
            UNION ALL
            SELECT 3, 0, format('GRANT %s ON %s %s TO %I', privileges, kind, name, pg_get_userbyid(grantee)) FROM missing
        ) AS statements (part, place, statement) ORDER BY part, place, statement
        """
    }

    private func list(_ relations: [String]) -> String {
        relations.map { self.quote(self.schema) + "." + $0 }.joined(separator: ", ")
    }

    private func quote(_ name: String) -> String { PostgresIdentifier.quote(name) }
}

extension PrivilegeSQL {
    /// Puts right what is not as it should be; answers the statements that did it.
    ///
    /// Takes on the owner's role for that, for one transaction. It waits a few seconds at most: a tenant that changes the
    /// rights of a table, to no effect, holds the table's row for as long as its transaction lasts.
    func restore(on connection: PostgresConnection) async throws -> [String] {
        // One large plan over small tables, which compiling would make a hundred times as slow.
        let found = try await connection.pipeline([
            PostgresStatement("SELECT pg_catalog.set_config('jit', 'off', true)"), self.deviations,
        ])
        let statements: [String] = try found[1].column("statement")
        guard !statements.isEmpty else { return [] }
        try await connection.withTransaction { transaction in
            _ = try await transaction.pipeline(
                [LimitQueries.boundedWait] + ([self.actAsOwner] + statements).map(PostgresStatement.init(ddl:)))
        }
        return statements
    }

    private var actAsOwner: String { "SET LOCAL ROLE \(self.quote(self.owner))" }
}
