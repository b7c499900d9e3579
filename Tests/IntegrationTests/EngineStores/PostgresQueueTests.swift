import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// How a server finds what waits.
    @Suite(.timeLimit(.minutes(40))) struct PostgresQueueTests {
        /// What a server knows of a queue, and what is in it.
        enum Queue: CaseIterable {
            /// As the server knows it.
            case waiting
            /// The server still believes that everything waits.
            case drained
            /// The server still believes that nothing waits.
            case filled

            var known: String { self == .filled ? "NULL" : "now()" }
            var real: String { self == .drained ? "NULL" : "now()" }
        }

        private static func fill(_ queue: Queue, _ fixture: EngineFixture) async throws {
            try await TenantFixture.withSuperuser { connection in
                let table = "\(PostgresIdentifier.quote(fixture.schema)).cloacina_pipelines"
                try await connection.script(
                    """
                    ALTER TABLE \(table) SET (autovacuum_enabled = false);
                    INSERT INTO \(table) (id, workflow, version, state, revision, epoch, recoveries, priority, due_at,
                        created_at, input, format, depth)
                    SELECT gen_random_uuid(), 'w', 'v', 'queued', 1, 0, 0, n % 3, \(queue.known), now(), '{}', 1, 0
                    FROM generate_series(1, 20000) AS n;
                    ANALYZE \(table);
                    UPDATE \(table) SET due_at = \(queue.real)
                    """)
            }
        }

        private static func plan(
            of question: PostgresStatement, isClaim: Bool = false, _ fixture: EngineFixture
        ) async throws -> [String] {
            try await fixture.pool.withConnection(fixture.label) { lease in
                try await lease.withTransaction { transaction in
                    if isClaim { _ = try await transaction.query(PostgresWorkflowQueries.byIndexes) }
                    let explain = PostgresStatement("EXPLAIN " + question.sql, question.binds, prepared: false)
                    return try await transaction.query(explain).column("QUERY PLAN", as: String.self)
                }
            }
        }

        /// The queue's index answers, whatever the server knows of the table: most of it never waits any more.
        @Test(arguments: Queue.allCases)
        func aSweepReadsTheFirstOfEachPriority(queue: Queue) async throws {
            try await EngineFixture.with { fixture in
                try await Self.fill(queue, fixture)
                for question in [
                    PostgresWorkflowQueries.runners(everyOwner: false), PostgresWorkflowQueries.queue(at: Date()),
                ] {
                    let plan = try await Self.plan(of: question, fixture)
                    let scans = plan.filter { $0.contains("on cloacina_pipelines") }
                    #expect(!scans.isEmpty, "\(plan)")
                    #expect(scans.allSatisfy { $0.contains("using cloacina_pipelines_due") }, "\(plan)")
                    #expect(!plan.contains { $0.contains("Sort") }, "\(plan)")
                }
            }
        }

        /// Those of each priority come in the index's order up to the time: what is due later is not walked over.
        @Test(arguments: Queue.allCases, [nil, QueueCursor.Position(priority: 1, dueAt: Date(), id: UUID())])
        func aClaimReadsWhatIsDue(queue: Queue, position: QueueCursor.Position?) async throws {
            try await EngineFixture.with { fixture in
                try await Self.fill(queue, fixture)
                let claim = QueueClaim(runner: UUID(), workflows: ["w": "v"], limit: 100, at: Date())
                let plan = try await Self.plan(
                    of: PostgresWorkflowQueries.claim(claim, after: position), isClaim: true, fixture)
                let condition = ["Index Cond", "(priority = ", "(due_at <= '"]
                #expect(plan.contains { line in condition.allSatisfy { line.contains($0) } }, "\(plan)")
                // What is claimed is found again by its key, and sorted for the answer; nothing else is.
                let begin = try #require(plan.firstIndex { $0.contains("CTE due") })
                let end = try #require(plan.firstIndex { $0.contains("CTE claimed") })
                #expect(!plan[begin..<end].contains { $0.contains("Sort") }, "\(plan)")
            }
        }

        /// A tenant that has nothing to do is asked once.
        @Test func oneStatementWhenNothingWaits() async throws {
            try await EngineFixture.with { fixture in
                let runner = UUID()
                _ = try await fixture.store.beat(runner, number: 7, pipelines: [], at: Date())
                let before = fixture.pool.statistics.checkouts
                let survey = try await fixture.store.survey(everyOwner: false, at: Date())
                #expect(survey == QueueSurvey(beats: [runner: 7]))
                #expect(fixture.pool.statistics.checkouts == before + 1)
            }
        }
    }
}
