import CloacinaPostgres

/// The runner's own SQL.
enum MigrationQueries {
    static let historyTable = "cloacina_migrations"
    /// The longest timeout that the server takes, in milliseconds.
    private static let longestTimeout: Int64 = 2_147_483_647

    // MARK: Inside a transaction

    /// Takes on the owner's role, the target's path and a lock timeout until the transaction ends, and lifts the guards
    /// that role or database set against statements that take long: a migration takes as long as it takes.
    ///
    /// - Parameter waitsForDisk: False lets the server answer the commit before it is on the disk.
    static func enter(
        _ target: MigrationTarget, lockTimeout: Duration, serverVersion: Int, waitsForDisk: Bool = true
    ) -> PostgresStatement {
        self.settings(
            target, lockTimeout: lockTimeout, serverVersion: serverVersion, isLocal: true, waitsForDisk: waitsForDisk)
    }

    static func settings(
        _ target: MigrationTarget, lockTimeout: Duration, serverVersion: Int, isLocal: Bool, waitsForDisk: Bool = true
    ) -> PostgresStatement {
        let lifted =
            ["statement_timeout", "idle_in_transaction_session_timeout"]
            + (serverVersion >= 170_000 ? ["transaction_timeout"] : [])
        var sql = """
            SELECT set_config('search_path', $1, \(isLocal)), set_config('lock_timeout', $2, \(isLocal)), \
            set_config('standard_conforming_strings', 'on', \(isLocal))
            """
        if !waitsForDisk { sql += ", set_config('synchronous_commit', 'off', \(isLocal))" }
        // What the client has left by being killed is ended soon, where the server can notice that.
        sql += """
            , CASE WHEN version() LIKE '%linux%' THEN set_config('client_connection_check_interval', '10s', \(isLocal)) END
            """
        for name in lifted { sql += ", set_config('\(name)', '0', \(isLocal))" }
        let timeout = min(lockTimeout.milliseconds, self.longestTimeout)
        var binds: [PostgresValue] = [.text(target.searchPath), .text("\(timeout)ms")]
        if let owner = target.owner {
            sql += ", set_config('role', $3, \(isLocal))"
            binds.append(.text(owner))
        }
        return PostgresStatement(sql, binds)
    }

    /// Fails unless the session is in the target's schema, looks nowhere else, and acts as its owner.
    ///
    /// Before a file it finds a role that can't use the schema; after one, a file that changed any of it.
    static func standsIn(_ target: MigrationTarget) -> PostgresStatement {
        PostgresStatement(
            """
            SELECT CASE WHEN pg_catalog.current_schema() = $1 AND pg_catalog.current_setting('search_path') = $2
                AND ($3::text IS NULL OR current_user = $3)
                THEN 0 ELSE pg_catalog.concat('not ', pg_catalog.current_schema())::integer END
            """, [.text(target.schema), .text(target.searchPath), target.owner.postgresValue])
    }

    /// Makes the session as it was for whoever comes next: without a file's settings, temporary tables, sequences' last values.
    static func clean(path: String) -> [PostgresStatement] {
        [
            PostgresStatement("RESET ALL", prepared: false), PostgresStatement("DISCARD TEMP", prepared: false),
            PostgresStatement("DISCARD SEQUENCES", prepared: false),
            PostgresStatement(
                """
                SELECT pg_catalog.set_config('role', 'none', false), pg_catalog.set_config('search_path', $1, false)
                """, [.text(path)]),
        ]
    }

    /// Takes from the session, after the files of one target, what neither a rollback nor ``clean(path:)`` does: cursors, and
    /// statements that SQL prepared, whose names the same file takes again for the next target. The driver's own stay.
    static let forgetNames = [
        PostgresStatement("CLOSE ALL", prepared: false),
        PostgresStatement("DISCARD SEQUENCES", prepared: false),
        PostgresStatement(
            """
            DO $forget$ DECLARE leftover pg_catalog.text; BEGIN
                FOR leftover IN SELECT s.name FROM pg_catalog.pg_prepared_statements s WHERE s.from_sql LOOP
                    EXECUTE pg_catalog.format('DEALLOCATE %I', leftover);
                END LOOP;
            END $forget$
            """, prepared: false),
    ]

    static func takeRole(of target: MigrationTarget) -> [PostgresStatement] {
        guard let owner = target.owner else { return [] }
        return [PostgresStatement("SELECT set_config('role', $1, true)", [.text(owner)])]
    }

    static func text(of statement: SQLStatement) -> PostgresStatement {
        PostgresStatement(statement.text, prepared: false)
    }

    // MARK: The schema and its history

    static func schema(named name: String) -> PostgresStatement {
        PostgresStatement(
            """
            SELECT n.oid, EXISTS (
                SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = $2
            ) AS has_history
            FROM pg_catalog.pg_namespace n WHERE n.nspname = $1
            """, [.text(name), .text(self.historyTable)])
    }

    /// The history table, and who may read it. Bounded columns keep it without a TOAST table, which would cost every
    /// new tenant two more relations.
    static func createHistory(_ target: MigrationTarget) -> [PostgresStatement] {
        let readers = target.readers.map(PostgresIdentifier.quote)
        var statements = [
            """
            CREATE TABLE \(target.history) (
                source varchar(48) NOT NULL, version integer NOT NULL, title varchar(64) NOT NULL,
                canonical_checksum varchar(64) NOT NULL, raw_checksum varchar(64) NOT NULL, duration_ms bigint,
                applied_by name NOT NULL, applied_at timestamptz NOT NULL, state varchar(16) NOT NULL, error varchar(160),
                PRIMARY KEY (source, version))
            """,
            "REVOKE ALL ON \(target.history) FROM \((["PUBLIC"] + readers).joined(separator: ", "))",
        ]
        if !readers.isEmpty {
            statements.append("GRANT SELECT ON \(target.history) TO \(readers.joined(separator: ", "))")
        }
        return statements.map { PostgresStatement($0, prepared: false) }
    }

    static func history(_ target: MigrationTarget) -> PostgresStatement {
        PostgresStatement(
            """
            SELECT source, version, title, canonical_checksum, raw_checksum, duration_ms, applied_by, applied_at, state, error
            FROM \(target.history) ORDER BY source, version
            """, prepared: false)
    }

    /// Writes what became of a migration, and fails with ``SessionIdentity/assertionFailure`` where it is applied already; the time it took is that of the transaction, or given, and whose doing it was is the
    /// session's user's, or given.
    static func record(
        _ migration: Migration, of source: String, in target: MigrationTarget, as state: MigrationRecord.State,
        duration: Duration? = nil, error: String? = nil, by actor: String? = nil
    ) -> PostgresStatement {
        PostgresStatement(
            """
            WITH written AS (
            INSERT INTO \(target.history) AS h
                (source, version, title, canonical_checksum, raw_checksum, duration_ms, applied_by, applied_at, state, error)
            VALUES ($1, $2, $3, $4, $5,
                coalesce($6, (extract(epoch FROM clock_timestamp() - transaction_timestamp()) * 1000)::bigint),
                coalesce($9::text, session_user::text), clock_timestamp(), $7, left($8, 160))
            ON CONFLICT (source, version) DO UPDATE SET
                title = EXCLUDED.title, canonical_checksum = EXCLUDED.canonical_checksum,
                raw_checksum = EXCLUDED.raw_checksum, duration_ms = EXCLUDED.duration_ms,
                applied_by = EXCLUDED.applied_by, applied_at = EXCLUDED.applied_at, state = EXCLUDED.state,
                error = EXCLUDED.error
            WHERE h.state <> 'applied' RETURNING 1
            ) SELECT 1 OPERATOR(pg_catalog./) (SELECT pg_catalog.count(*) FROM written)
            """,
            [
                .text(source), .int32(Int32(clamping: migration.version)), .text(migration.title),
                .text(migration.canonicalChecksum), .text(migration.rawChecksum),
                (duration?.milliseconds).postgresValue, .text(state.rawValue), error.postgresValue, actor.postgresValue,
            ], prepared: false)
    }

    /// One row for each of several migrations that were applied together.
    static func recordTogether(
        _ migrations: [(source: String, migration: Migration)], in target: MigrationTarget
    ) -> PostgresStatement {
        PostgresStatement(
            """
            INSERT INTO \(target.history)
                (source, version, title, canonical_checksum, raw_checksum, applied_by, applied_at, state)
            SELECT source, version, title, canonical, raw, session_user, clock_timestamp(), 'applied'
            FROM unnest($1::text[], $2::int4[], $3::text[], $4::text[], $5::text[])
                AS m (source, version, title, canonical, raw)
            """,
            [
                .textArray(migrations.map(\.source)),
                .int32Array(migrations.map { Int32(clamping: $0.migration.version) }),
                .textArray(migrations.map(\.migration.title)),
                .textArray(migrations.map(\.migration.canonicalChecksum)),
                .textArray(migrations.map(\.migration.rawChecksum)),
            ], prepared: false)
    }

    static func settle(
        _ version: Int, of source: String, in target: MigrationTarget, by actor: String?
    ) -> PostgresStatement {
        PostgresStatement(
            """
            UPDATE \(target.history) SET state = 'applied', error = NULL,
                applied_by = coalesce($3::text, session_user::text), applied_at = clock_timestamp()
            WHERE source = $1 AND version = $2 AND state IN ('running', 'failed_unknown')
            """, [.text(source), .int32(Int32(clamping: version)), actor.postgresValue], prepared: false)
    }

    static func forget(_ version: Int, of source: String, in target: MigrationTarget) -> PostgresStatement {
        PostgresStatement(
            """
            DELETE FROM \(target.history)
            WHERE source = $1 AND version = $2 AND state IN ('running', 'failed_unknown')
            """, [.text(source), .int32(Int32(clamping: version))], prepared: false)
    }

    /// Takes a file's text for what was applied.
    static func rebless(_ migration: Migration, of source: String, in target: MigrationTarget) -> PostgresStatement {
        PostgresStatement(
            """
            UPDATE \(target.history) SET canonical_checksum = $3, raw_checksum = $4, title = $5
            WHERE source = $1 AND version = $2 AND state = 'applied'
            """,
            [
                .text(source), .int32(Int32(clamping: migration.version)), .text(migration.canonicalChecksum),
                .text(migration.rawChecksum), .text(migration.title),
            ], prepared: false)
    }

    // MARK: What a statement on its own left behind

    static func index(named name: String, in schemaOID: UInt32) -> PostgresStatement {
        PostgresStatement(
            """
            SELECT i.indisvalid AS valid FROM pg_catalog.pg_index i
            JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
            WHERE c.relnamespace = $1 AND c.relname = $2
            """, [.oid(schemaOID), .text(name)])
    }

    // MARK: Who is in the way

    /// Sessions with an open transaction, the oldest first: a concurrent build of an index waits for each of their snapshots.
    ///
    /// Whoever may not see the others' transactions sees their locks.
    static let openTransactions = PostgresStatement(
        """
        SELECT a.pid, coalesce(a.application_name, '') AS application_name, a.usename::text AS role, a.state,
               coalesce(a.xact_start, a.backend_start) AS since
        FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'virtualxid' AND l.granted AND l.mode = 'ExclusiveLock' AND a.pid <> pg_backend_pid()
          AND a.datname = current_database()
        ORDER BY since LIMIT 20
        """)

    /// Sessions that hold a lock on a relation of the schema, those named in the statement first.
    static func lockHolders(in schemaOID: UInt32, names: [String]) -> PostgresStatement {
        PostgresStatement(
            """
            SELECT a.pid, coalesce(a.application_name, '') AS application_name, a.usename::text AS role, a.state,
                   coalesce(a.xact_start, a.backend_start) AS since, bool_or(c.relname::text = ANY ($2)) AS is_named
            FROM pg_catalog.pg_locks l
            JOIN pg_catalog.pg_class c ON c.oid = l.relation
            JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
            WHERE l.locktype = 'relation' AND l.granted AND c.relnamespace = $1 AND a.pid <> pg_backend_pid()
              AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
            GROUP BY 1, 2, 3, 4, 5 ORDER BY is_named DESC, since LIMIT 20
            """, [.oid(schemaOID), .textArray(names)])
    }
}

extension Duration {
    /// The duration in milliseconds, cut off, and held at the bounds of `Int64`.
    var milliseconds: Int64 {
        let (seconds, attoseconds) = self.components
        let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1000)
        let (sum, overflowToo) = scaled.addingReportingOverflow(attoseconds / 1_000_000_000_000_000)
        guard !overflow, !overflowToo else { return seconds < 0 ? .min : .max }
        return sum
    }
}
