import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import Testing

/// What the migrations' tests share.
enum MigrationFixture {
    /// A set of files `NNNN_mN.tenant.sql`; a text without a marker is what follows `-- migrate:up`.
    static func set(_ texts: [Int: String], source: String = "app") throws -> MigrationSet {
        let migrations = try texts.sorted { $0.key < $1.key }.map { version, text in
            try Migration(
                fileName: "\(String(10_000 + version).dropFirst())_m\(version).tenant.sql",
                contents: Array((text.contains("-- migrate:") ? text : "-- migrate:up\n" + text).utf8))
        }
        return try MigrationSet(source: source, lane: .tenant, migrations: migrations)
    }

    /// Everything that is in a tenant's schema beside this library's own tables, its name left out.
    static func fingerprint(of name: String) async throws -> [String] {
        try await TenantFixture.withSuperuser { connection in
            let objects: [String] = try await connection.query(Self.objects(in: name)).column("line")
            let tables: [String] = try await connection.query(
                """
                SELECT relname::text AS name FROM pg_class
                WHERE relnamespace = to_regnamespace(\(name)) AND relkind = 'r' AND relname NOT LIKE 'cloacina%' ORDER BY 1
                """
            ).column("name")
            var lines = objects
            for table in tables { lines += try await self.rows(of: table, in: name, on: connection) }
            let history = PostgresStatement(
                """
                SELECT concat_ws(' ', 'history', source, version, title, canonical_checksum, state) AS line
                FROM \(PostgresIdentifier.quote(name)).cloacina_migrations ORDER BY source, version
                """, prepared: false)
            lines += try await connection.query(history).column("line")
            return lines.map { $0.replacing(name, with: "%") }
        }
    }

    /// A table's rows; what a clock made is left to the table's own constraints.
    private static func rows(
        of table: String, in name: String, on connection: PostgresConnection
    ) async throws -> [String] {
        let qualified = PostgresIdentifier.quote(name) + "." + PostgresIdentifier.quote(table)
        return try await connection.query(
            PostgresStatement(
                """
                SELECT \(PostgresIdentifier.literal(table)) || ' ' || (to_jsonb(t) - 'made_at')::text AS line
                FROM \(qualified) t ORDER BY 1
                """, prepared: false)
        ).column("line")
    }

    private static func objects(in name: String) -> PostgresStatement {
        """
        WITH space AS (SELECT to_regnamespace(\(name))::oid AS oid)
        SELECT line FROM (
            SELECT concat_ws(' ', 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                             pg_get_expr(d.adbin, d.adrelid)) AS line
            FROM space s JOIN pg_class c ON c.relnamespace = s.oid JOIN pg_attribute a ON a.attrelid = c.oid
            LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'v')
            UNION ALL
            SELECT concat_ws(' ', 'index', pg_get_indexdef(i.indexrelid), i.indisvalid)
            FROM space s JOIN pg_class c ON c.relnamespace = s.oid JOIN pg_index i ON i.indrelid = c.oid
            UNION ALL
            SELECT concat_ws(' ', 'constraint', conname, pg_get_constraintdef(k.oid), convalidated)
            FROM space s JOIN pg_constraint k ON k.connamespace = s.oid
            UNION ALL
            SELECT concat_ws(' ', 'enum', t.typname, e.enumlabel, row_number() OVER (PARTITION BY t.oid ORDER BY e.enumsortorder))
            FROM space s JOIN pg_type t ON t.typnamespace = s.oid JOIN pg_enum e ON e.enumtypid = t.oid
            UNION ALL
            SELECT concat_ws(' ', 'routine', pg_get_functiondef(p.oid), p.proacl) FROM space s JOIN pg_proc p ON p.pronamespace = s.oid
            WHERE p.prokind IN ('f', 'p')
            UNION ALL
            SELECT concat_ws(' ', 'relation', c.relkind, c.relname, pg_get_userbyid(c.relowner), c.relacl)
            FROM space s JOIN pg_class c ON c.relnamespace = s.oid
        ) all_lines ORDER BY 1
        """
    }
}
