import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// How a server finds what is older than its retention.
    @Suite(.timeLimit(.minutes(40))) struct PostgresRetentionTests {
        @Test func onlyWhatIsOldIsRead() async throws {
            try await EngineFixture.with { fixture in
                let prune = PostgresWorkflowQueries.prune(
                    endedBefore: Date(), below: StoreConformance.id(100), limit: 1_000, lines: 200_000)
                let plan = try await fixture.pool.withConnection(fixture.label) { lease in
                    try await lease.withTransaction { transaction in
                        // Small tables would be read as a whole.
                        try await transaction.query("SET LOCAL enable_seqscan = off")
                        let explain = PostgresStatement("EXPLAIN " + prune.sql, prune.binds, prepared: false)
                        return try await transaction.query(explain).column("QUERY PLAN", as: String.self)
                    }
                }
                #expect(plan.contains { $0.contains("Index Cond: (") && $0.contains("id < '") }, "\(plan)")
            }
        }

        /// Each child looks up its own parent, by the key: a table that is mostly old is not read for those few that run.
        @Test func parentsAreLookedUpOneByOne() async throws {
            try await EngineFixture.with { fixture in
                let prune = PostgresWorkflowQueries.prune(
                    endedBefore: Date(), below: StoreConformance.id(1_000_000), limit: 1_000, lines: 200_000)
                try await TenantFixture.withSuperuser { connection in
                    let table = "\(PostgresIdentifier.quote(fixture.schema)).cloacina_pipelines"
                    // Every second one is the child of the one before; ten parents have not ended.
                    try await connection.script(
                        """
                        INSERT INTO \(table) (id, workflow, version, state, revision, epoch, recoveries, priority, created_at,
                            started_at, ended_at, parent_id, input, format, depth)
                        SELECT format('00000000-0000-7000-0000-%s', lpad(to_hex(n), 12, '0'))::uuid, 'w', 'v1',
                            CASE WHEN n % 2 = 0 AND n <= 20 THEN 'paused' ELSE 'completed' END, 2, 1, 0, 0,
                            now() - interval '1 day', now() - interval '1 day',
                            CASE WHEN n % 2 = 0 AND n <= 20 THEN NULL ELSE now() - interval '1 day' END,
                            CASE WHEN n % 2 = 1 THEN
                                format('00000000-0000-7000-0000-%s', lpad(to_hex(n - 1), 12, '0'))::uuid END, '{}', 1, 0
                        FROM generate_series(2, 20001) AS n;
                        ANALYZE \(table)
                        """)
                }
                let plan = try await fixture.pool.withConnection(fixture.label) { lease in
                    let explain = PostgresStatement("EXPLAIN " + prune.sql, prune.binds, prepared: false)
                    return try await lease.query(explain).column("QUERY PLAN", as: String.self)
                }
                // What follows is the deletion of those that were found.
                let search = plan.prefix { !$0.contains("CTE doomed") }
                #expect(!search.contains { $0.contains("Seq Scan") || $0.contains("Hash") }, "\(plan)")
                let lookup = plan.firstIndex { $0.contains("cloacina_pipelines_pkey on cloacina_pipelines parent") }
                #expect(lookup.map { plan[$0 + 1].contains("Index Cond: (id = ") } == true, "\(plan)")
                // And the children of those ten are kept.
                var pruned = 0
                while case let count = try await fixture.store.prune(
                    endedBefore: Date(), below: StoreConformance.id(1_000_000), limit: 5_000), count > 0
                {
                    pruned += count
                }
                #expect(pruned == 20_000 - 20)
            }
        }

        /// The lines of what is old go in parts, each for itself, and the pipelines with the last of them.
        @Test func veryLongHistoriesAreDeletedInParts() async throws {
            try await EngineFixture.with { fixture in
                let store = PostgresWorkflowStore(pool: fixture.pool, label: fixture.label, linesPerDeletion: 100)
                try await StoreConformance.fillHistories(of: 3, lines: 250, in: store)
                let schema = PostgresIdentifier.quote(fixture.schema)
                // From some line on none can be deleted.
                try await TenantFixture.withSuperuser { connection in
                    try await connection.script(
                        """
                        CREATE FUNCTION \(schema).refuse() RETURNS trigger LANGUAGE plpgsql AS $$
                        BEGIN
                            IF (SELECT count(*) FROM \(schema).cloacina_events) <= 400 THEN RAISE EXCEPTION 'enough'; END IF;
                            RETURN NULL;
                        END $$;
                        CREATE TRIGGER refuse BEFORE DELETE ON \(schema).cloacina_events
                        FOR EACH STATEMENT EXECUTE FUNCTION \(schema).refuse();
                        GRANT EXECUTE ON FUNCTION \(schema).refuse() TO PUBLIC
                        """)
                }
                await #expect(throws: PipelineError.self) { try await StoreConformance.pruneAll(in: store) }
                // What was deleted before stays so, and no pipeline has gone without its lines.
                let left = try await store.events(EventQuery(limit: 10_000)).count
                #expect((300...400).contains(left), "\(left)")
                #expect(try await store.list(PipelineQuery()).count == 3)
                try await TenantFixture.withSuperuser { connection in
                    try await connection.script("DROP TRIGGER refuse ON \(schema).cloacina_events")
                }
                #expect(try await StoreConformance.pruneAll(in: store) == 3)
                #expect(try await store.events(EventQuery()).isEmpty)
                #expect(try await store.list(PipelineQuery()).isEmpty)
            }
        }

        /// A server that is too slow for a part is asked for smaller ones, and not for the same again and again (engine fault A17).
        @Test func whatTakesTooLongIsDeletedInSmallerParts() async throws {
            try await EngineFixture.with { fixture in
                let store = PostgresWorkflowStore(pool: fixture.pool, label: fixture.label, linesPerDeletion: 40_000)
                try await StoreConformance.fillHistories(of: 1, lines: 30_000, in: store)
                let schema = PostgresIdentifier.quote(fixture.schema)
                // As if more lines than that took longer than a statement may.
                try await TenantFixture.withSuperuser { connection in
                    try await connection.script(
                        """
                        CREATE FUNCTION \(schema).hurry() RETURNS trigger LANGUAGE plpgsql AS $$
                        BEGIN
                            IF (SELECT count(*) FROM gone) > 12000 THEN
                                RAISE EXCEPTION 'too slow' USING ERRCODE = 'query_canceled';
                            END IF;
                            RETURN NULL;
                        END $$;
                        CREATE TRIGGER hurry AFTER DELETE ON \(schema).cloacina_events REFERENCING OLD TABLE AS gone
                        FOR EACH STATEMENT EXECUTE FUNCTION \(schema).hurry();
                        GRANT EXECUTE ON FUNCTION \(schema).hurry() TO PUBLIC
                        """)
                }
                #expect(try await StoreConformance.pruneAll(in: store) == 1)
                #expect(try await store.events(EventQuery()).isEmpty)
            }
        }

        /// A part costs what it deletes, whatever the server knows of the tables and however many lines are left.
        @Test(arguments: [false, true]) func aPartReadsNoMoreThanItDeletes(isAnalyzed: Bool) async throws {
            try await EngineFixture.with { fixture in
                let schema = PostgresIdentifier.quote(fixture.schema)
                try await TenantFixture.withSuperuser { connection in
                    try await connection.script(
                        """
                        INSERT INTO \(schema).cloacina_pipelines (id, workflow, version, state, revision, epoch, recoveries, priority,
                            created_at, started_at, ended_at, input, format, depth)
                        SELECT format('00000000-0000-7000-0000-%s', lpad(to_hex(n), 12, '0'))::uuid, 'w', 'v1', 'completed', 2, 1,
                            0, 0, to_timestamp(0), to_timestamp(0), to_timestamp(0), '{}', 1, 0
                        FROM generate_series(1, 200) AS n;
                        INSERT INTO \(schema).cloacina_events (pipeline_id, revision, position, kind, attempt, at)
                        SELECT id, r, 0, 'task failed', 0, now() FROM \(schema).cloacina_pipelines, generate_series(1, 500) AS r;
                        \(isAnalyzed ? "ANALYZE \(schema).cloacina_events; ANALYZE \(schema).cloacina_pipelines" : "")
                        """)
                }
                let prune = PostgresWorkflowQueries.prune(
                    endedBefore: Date(), below: StoreConformance.id(1_000), limit: 1_000, lines: 50_000)
                let plan = try await fixture.pool.withConnection(fixture.label) { lease in
                    try await lease.withTransaction { transaction in
                        _ = try await transaction.query(PostgresWorkflowQueries.byIndexes)
                        let explain = PostgresStatement("EXPLAIN " + prune.sql, prune.binds, prepared: false)
                        return try await transaction.query(explain).column("QUERY PLAN", as: String.self)
                    }
                }
                #expect(!plan.contains { $0.contains("Seq Scan on cloacina") }, "\(plan)")
                #expect(
                    plan.contains { $0.contains("Index Scan using cloacina_events_pkey on cloacina_events e") },
                    "\(plan)")
                #expect(try await StoreConformance.pruneAll(in: fixture.store) == 200)
            }
        }
    }
}
