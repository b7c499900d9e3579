import CloacinaPostgres

/// Reads the engine's tables in an administrator's session without running what somebody may have tied to them.
///
/// A holder of the rights of a tenant's owner can make a table run code for whoever reads it: by a policy, a view in its place, an
/// expression of an index or of statistics, a type with casts and operators, an operator or a function in the schema. In an
/// administrator's session such code could lay down the role that was taken on for reading. So the tables are locked against all that, looked at in the catalogs, and read only
/// when they are as migrations make them; with `row_security` off, which makes an error of a policy, without the schema on the
/// path, and in a transaction that can't write. A domain of a column's over a built-in type may be anybody's: its checks are run
/// for what is written, and a cast from it is ignored.
struct TableGuard: Sendable {
    private let label: PostgresLabel

    init(_ label: PostgresLabel) { self.label = label }

    /// The tables that stood in the way of reading.
    struct Untrusted: Error, CustomStringConvertible {
        let tables: [String]

        var description: String {
            "nothing was read: \(self.tables.joined(separator: ", ")) may run somebody's code in this session. It has row-level "
                + "security, a rule, children, a user's function or type, or other columns than migrations make; look at it with "
                + "`\\d+` in psql, as a role with no rights of its own"
        }
    }

    /// Runs statements of the store's that only read.
    ///
    /// - Throws: ``Untrusted`` before anything is read.
    func read(
        _ statements: [PostgresStatement], over lease: borrowing PostgresLease, within patience: Duration,
        _ lockTimeout: Duration
    ) async throws -> [PostgresRows] {
        let deadline = ContinuousClock.now.advanced(by: patience)
        return try await lease.withTransaction(isolation: .readCommitted) { transaction in
            let found = try await transaction.pipeline(
                [Self.blind(lockTimeout), self.lock, self.untrusted], deadline: deadline, fileID: #fileID, line: #line)
            let tables: [String] = try found[2].column("name")
            guard tables.isEmpty else { throw Untrusted(tables: tables) }
            let results = try await transaction.pipeline(
                [Self.readOnly] + statements.map(self.qualified), deadline: deadline, fileID: #fileID, line: #line)
            return Array(results.dropFirst())
        }
    }

    // MARK: The statements

    /// Nothing of the tenant's schema is found by its name as long as nothing is known of it.
    private static func blind(_ lockTimeout: Duration) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT pg_catalog.set_config('search_path', 'pg_catalog', true), pg_catalog.set_config('lock_timeout', $1, true)
                """, [.text("\(lockTimeout.wholeMilliseconds)ms")], prepared: false)
    }

    /// Keeps everybody from changing what the tables are, and nobody from writing rows.
    private var lock: PostgresStatement {
        let schema = PostgresIdentifier.quote(self.label.schema)
        let tables = Self.tables.map { "ONLY \(schema).\($0)" }.joined(separator: ", ")
        return PostgresStatement(trusted: "LOCK TABLE \(tables) IN SHARE UPDATE EXCLUSIVE MODE", prepared: false)
    }

    /// The tables that are not plain ones with the columns that the store's statements expect.
    private var untrusted: PostgresStatement {
        let columns = Self.columns
        return PostgresStatement(
            trusted: """
                WITH it AS MATERIALIZED (
                    SELECT c.oid, c.relname::text AS name, c.relkind = 'r' AND NOT c.relhasrules AND NOT c.relrowsecurity
                        AND NOT c.relhassubclass AND NOT c.relispartition AND c.reloftype = 0 AS is_plain
                    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                    WHERE n.nspname::text = $1 AND c.relname::text = ANY ($2)
                ), parts (name, class, object) AS MATERIALIZED (
                    SELECT name, 'pg_class'::pg_catalog.regclass::pg_catalog.oid, oid FROM it
                    UNION ALL
                    SELECT name, 'pg_class'::pg_catalog.regclass, i.indexrelid FROM it JOIN pg_catalog.pg_index AS i ON i.indrelid = it.oid
                    UNION ALL
                    SELECT name, 'pg_constraint'::pg_catalog.regclass, k.oid FROM it JOIN pg_catalog.pg_constraint AS k ON k.conrelid = it.oid
                    UNION ALL
                    SELECT name, 'pg_attrdef'::pg_catalog.regclass, d.oid FROM it JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = it.oid
                    UNION ALL
                    SELECT name, 'pg_statistic_ext'::pg_catalog.regclass, s.oid
                    FROM it JOIN pg_catalog.pg_statistic_ext AS s ON s.stxrelid = it.oid
                )
                SELECT name FROM it WHERE NOT is_plain
                UNION
                SELECT p.name FROM parts AS p JOIN pg_catalog.pg_depend AS d ON d.classid = p.class AND d.objid = p.object
                WHERE d.refclassid IN (
                    'pg_proc'::pg_catalog.regclass, 'pg_operator'::pg_catalog.regclass, 'pg_type'::pg_catalog.regclass,
                    'pg_opclass'::pg_catalog.regclass, 'pg_opfamily'::pg_catalog.regclass)
                    AND NOT (d.refclassid = 'pg_type'::pg_catalog.regclass AND d.objsubid > 0 AND EXISTS (
                        SELECT FROM it JOIN pg_catalog.pg_type AS t ON t.oid = d.refobjid
                        WHERE it.oid = d.objid AND d.classid = 'pg_class'::pg_catalog.regclass AND t.typtype::text = 'd'))
                UNION
                SELECT w.name FROM unnest($3::text[], $4::text[], $5::text[]) AS w (name, attribute, type)
                WHERE NOT EXISTS (
                    SELECT FROM it JOIN pg_catalog.pg_attribute AS a ON a.attrelid = it.oid
                        JOIN pg_catalog.pg_type AS o ON o.oid = a.atttypid
                        JOIN pg_catalog.pg_type AS t ON t.oid = CASE o.typtype::text WHEN 'd' THEN o.typbasetype ELSE o.oid END
                        JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
                    WHERE it.name = w.name AND a.attname::text = w.attribute AND NOT a.attisdropped
                        AND a.attgenerated::text = '' AND n.nspname::text = 'pg_catalog' AND t.typname::text = w.type)
                ORDER BY 1
                """,
            [
                .text(self.label.schema), .textArray(Self.tables), .textArray(columns.map(\.table)),
                .textArray(columns.map(\.name)), .textArray(columns.map(\.type)),
            ], prepared: false)
    }

    /// The path stays without the tenant's schema: an operator or a function there whose types fit better than those of
    /// `pg_catalog`, such as `bigint * interval`, would be run.
    private static let readOnly = PostgresStatement(
        trusted: """
            SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('row_security', 'off', true),
                pg_catalog.set_config('transaction_read_only', 'on', true)
            """, prepared: false)

    /// The statement with the schema at each of its tables.
    private func qualified(_ statement: PostgresStatement) -> PostgresStatement {
        let schema = PostgresIdentifier.quote(self.label.schema)
        let sql = ["FROM", "JOIN", "INTO", "UPDATE"].reduce(statement.sql) { sql, word in
            sql.replacing("\(word) cloacina_", with: "\(word) \(schema).cloacina_")
        }
        return PostgresStatement(trusted: sql, statement.binds, prepared: false)
    }

    // MARK: What migrations make

    private static let tables = ["cloacina_pipelines", "cloacina_events", "cloacina_task_commits"]

    /// The columns that the store reads, each table's on lines by type, which is that under a domain.
    private static let columns: [(table: String, name: String, type: String)] = [
        ("cloacina_pipelines", "uuid", "id owner parent_id"),
        ("cloacina_pipelines", "text", "workflow version state request idempotency_key input output outcomes"),
        ("cloacina_pipelines", "int4", "format revision epoch recoveries priority depth"),
        ("cloacina_pipelines", "int8", "timeout_ms"),
        ("cloacina_pipelines", "timestamptz", "due_at created_at started_at ended_at"),
        ("cloacina_events", "uuid", "pipeline_id worker"), ("cloacina_events", "text", "kind task reason detail delta"),
        ("cloacina_events", "int4", "revision position attempt"),
        ("cloacina_events", "timestamptz", "started_at at due_at"),
        ("cloacina_task_commits", "uuid", "pipeline_id worker"), ("cloacina_task_commits", "text", "task delta"),
        ("cloacina_task_commits", "int4", "epoch attempt"), ("cloacina_task_commits", "timestamptz", "started_at at"),
    ].flatMap { table, type, names in names.split(separator: " ").map { (table, String($0), type) } }
}
