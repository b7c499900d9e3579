import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// What a sweep asks of a tenant.
    @Suite(.timeLimit(.minutes(20))) struct PostgresSurveyTests {
        enum State: String, CaseIterable {
            /// As the server knows it.
            case waiting
            /// The server still believes that everything waits.
            case drained
            /// The server still believes that nothing waits.
            case filled
        }

        /// The queue's index answers, whatever the server knows of the table: most of it never waits any more.
        @Test(arguments: State.allCases)
        func asksTheQueuesIndexOnly(state: State) async throws {
            try await EngineFixture.with { fixture in
                try await TenantFixture.withSuperuser { connection in
                    let table = "\(PostgresIdentifier.quote(fixture.schema)).cloacina_pipelines"
                    let (known, real) =
                        switch state {
                        case .waiting: ("now()", "now()")
                        case .drained: ("now()", "NULL")
                        case .filled: ("NULL", "now()")
                        }
                    try await connection.script(
                        """
                        ALTER TABLE \(table) SET (autovacuum_enabled = false);
                        INSERT INTO \(table) (id, workflow, version, state, revision, epoch, recoveries, priority, due_at,
                            created_at, input)
                        SELECT gen_random_uuid(), 'w', 'v', 'queued', 1, 0, 0, n % 3, \(known), now(), '{}'
                        FROM generate_series(1, 20000) AS n;
                        ANALYZE \(table);
                        UPDATE \(table) SET due_at = \(real)
                        """)
                }
                let questions = [
                    PostgresWorkflowQueries.runners(everyOwner: false), PostgresWorkflowQueries.queue(at: Date()),
                ]
                for question in questions {
                    let plan = try await fixture.pool.withConnection(fixture.label) { lease in
                        let explain = PostgresStatement("EXPLAIN " + question.sql, question.binds, prepared: false)
                        return try await lease.query(explain).column("QUERY PLAN", as: String.self)
                    }
                    let table = "on cloacina_pipelines"
                    let scans = plan.filter { $0.contains(table) }
                    #expect(!scans.isEmpty, "\(plan)")
                    #expect(scans.allSatisfy { $0.contains("using cloacina_pipelines_due") }, "\(plan)")
                    #expect(!plan.contains { $0.contains("Sort") }, "\(plan)")
                }
            }
        }

        /// A tenant that has nothing to do is asked once.
        @Test func oneStatementWhenNothingWaits() async throws {
            try await EngineFixture.with { fixture in
                let store = PostgresWorkflowStore(pool: fixture.pool, label: fixture.label)
                let runner = UUID()
                _ = try await store.beat(runner, number: 7, pipelines: [], at: Date())
                let before = fixture.pool.statistics.checkouts
                #expect(try await store.survey(everyOwner: false, at: Date()) == QueueSurvey(beats: [runner: 7]))
                #expect(fixture.pool.statistics.checkouts == before + 1)
            }
        }
    }
}
