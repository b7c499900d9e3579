import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// How a server finds what is asked of a table nearly all of which has ended: by an index that holds few others.
    @Suite(.timeLimit(.minutes(40))) struct PostgresPlanTests {
        enum Question: String, CaseIterable {
            case survey, surveyOfEveryOwner, queue, claims, keyHolders, takenKeys, inputOfKey, stranded, strandedPage,
                strandedWaiting, load, row,
                standing, status,
                history, histories,
                commits, children, childrenAfterOne,
                takeOver, recover, claim, claimOfManyWorkflows, claimAfterAPlace, prune

            var statement: PostgresStatement {
                let (id, runner) = (StoreConformance.id(77), StoreConformance.runner)
                let at = StoreConformance.at(100)
                switch self {
                case .survey: return PostgresWorkflowQueries.runners(everyOwner: false)
                case .surveyOfEveryOwner: return PostgresWorkflowQueries.runners(everyOwner: true)
                case .queue: return PostgresWorkflowQueries.queue(at: at)
                case .claims: return PostgresWorkflowQueries.claims(of: runner)
                case .keyHolders, .takenKeys:
                    let new = ["k7", "k8"].map { StoreConformance.new(9, options: .init(idempotencyKey: $0)) }
                    return self == .keyHolders
                        ? PostgresWorkflowQueries.holders(of: new) : PostgresWorkflowQueries.releaseKeys(for: new)
                case .inputOfKey: return PostgresWorkflowQueries.input(of: id, key: "k7")
                case .stranded:
                    return PostgresWorkflowQueries.stranded(
                        StoreConformance.claim(workflows: ["other": "v1"]), dueBefore: at, limit: 1_000)
                case .strandedPage:
                    return PostgresWorkflowQueries.strandedPage(
                        StoreConformance.claim(workflows: ["other": "v1"]), after: .start, limit: 1_000)
                case .strandedWaiting:
                    return PostgresWorkflowQueries.waiting(longerThan: 60, workflow: nil, limit: 100)
                case .row: return PostgresWorkflowQueries.row(of: id)
                case .standing: return PostgresWorkflowQueries.standing(of: id)
                case .load: return PostgresWorkflowQueries.load(id)
                case .status: return PostgresWorkflowQueries.status(of: id)
                case .history: return PostgresWorkflowQueries.history(id)
                case .histories: return PostgresWorkflowQueries.histories([id, runner])
                case .commits: return PostgresWorkflowQueries.commits([id, runner])
                case .children: return PostgresWorkflowQueries.children(of: id, after: nil)
                case .childrenAfterOne: return PostgresWorkflowQueries.children(of: id, after: id)
                case .takeOver: return PostgresWorkflowQueries.takeOver(runner, beats: 0, as: id, limit: 10_000)
                case .recover:
                    return PostgresWorkflowQueries.recover(
                        runner, beats: 0, wasStopping: false, by: runner, takenAs: id, at: at)
                case .claim, .claimAfterAPlace, .claimOfManyWorkflows:
                    var known = ["w": "v1"]
                    if self == .claimOfManyWorkflows { for number in 0..<100 { known["w\(number)"] = "v1" } }
                    let place = QueueCursor.Position(priority: 0, dueAt: at, id: id)
                    return PostgresWorkflowQueries.claim(
                        StoreConformance.claim(workflows: known), after: self == .claimAfterAPlace ? place : nil)
                case .prune:
                    return PostgresWorkflowQueries.prune(
                        endedBefore: at, below: StoreConformance.id(10_000), limit: 1_000, lines: 200_000)
                }
            }

            /// Whether the store has the server find its rows by indexes.
            var isForced: Bool {
                self == .prune || self.rawValue.hasPrefix("stranded")
                    || self.rawValue.hasPrefix("claim") && self != .claims
            }
        }

        /// Fills the tables with pipelines that have ended, many of which were others' children, and a few that have not.
        private static func fill(_ fixture: EngineFixture) async throws {
            try await TenantFixture.withSuperuser { connection in
                let schema = PostgresIdentifier.quote(fixture.schema)
                try await connection.script(
                    """
                    INSERT INTO \(schema).cloacina_pipelines (id, workflow, version, state, revision, epoch, recoveries, priority,
                        created_at, started_at, ended_at, owner, due_at, parent_id, idempotency_key, input, format, depth)
                    SELECT format('00000000-0000-7000-0000-%s', lpad(to_hex(n), 12, '0'))::uuid, 'w', 'v1',
                        CASE WHEN n <= 20000 THEN 'completed' WHEN n % 2 = 0 THEN 'queued' ELSE 'running' END, 2, 1, 0, 0,
                        now(), CASE WHEN n <= 20000 THEN now() END, CASE WHEN n <= 20000 THEN now() END,
                        CASE WHEN n > 20000 AND n % 2 = 1 THEN gen_random_uuid() END,
                        CASE WHEN n > 20000 AND n % 2 = 0 THEN now() END,
                        CASE WHEN n % 2 = 0 THEN
                            format('00000000-0000-7000-0000-%s', lpad(to_hex(n / 20 * 20 + 1), 12, '0'))::uuid END,
                        CASE WHEN n % 3 = 0 THEN 'k' || n END, '{}', 1, 0
                    FROM generate_series(1, 20100) AS n;
                    INSERT INTO \(schema).cloacina_events (pipeline_id, revision, position, kind, attempt, at)
                    SELECT id, r, 0, 'pipeline started', 0, now()
                    FROM \(schema).cloacina_pipelines, generate_series(1, 3) AS r;
                    ANALYZE \(schema).cloacina_pipelines; ANALYZE \(schema).cloacina_events
                    """)
            }
        }

        @Test func noPlanScansThePipelines() async throws {
            try await EngineFixture.with { fixture in
                try await Self.fill(fixture)
                for question in Question.allCases {
                    let statement = question.statement
                    let plan = try await fixture.pool.withConnection(fixture.label) { lease in
                        try await lease.withTransaction { transaction in
                            if question.isForced {
                                _ = try await transaction.query(PostgresWorkflowQueries.byIndexes)
                            }
                            let explain = PostgresStatement(
                                "EXPLAIN " + statement.sql, statement.binds, prepared: false)
                            return try await transaction.query(explain).column("QUERY PLAN", as: String.self)
                        }
                    }
                    // Lines are many more than pipelines, and nothing reads those of more than are asked for.
                    let scans = plan.filter { line in
                        line.contains("Seq Scan on cloacina_pipelines") || line.contains("Seq Scan on cloacina_events")
                    }
                    #expect(scans.isEmpty, "\(question): \(plan)")
                }
            }
        }

        /// A claim is kept prepared, so the plan that is made while nothing is there must be the one for what comes.
        @Test(arguments: [Question.claim, .claimOfManyWorkflows, .claimAfterAPlace])
        func theClaimsPlanIsTheSameWhateverIsThere(question: Question) async throws {
            try await EngineFixture.with { fixture in
                func indexes() async throws -> [String] {
                    let statement = question.statement
                    let plan = try await fixture.pool.withConnection(fixture.label) { lease in
                        try await lease.withTransaction { transaction in
                            _ = try await transaction.query(PostgresWorkflowQueries.byIndexes)
                            let explain = PostgresStatement(
                                "EXPLAIN " + statement.sql, statement.binds, prepared: false)
                            return try await transaction.query(explain).column("QUERY PLAN", as: String.self)
                        }
                    }
                    #expect(!plan.contains { $0.contains("Hash") || $0.contains("Merge") || $0.contains("Bitmap") })
                    return plan.filter { $0.contains(" on cloacina_") }.map { line in
                        String(line.prefix { $0 != "(" }).split(separator: " ").filter { $0 != "->" }.joined(
                            separator: " ")
                    }
                }
                let empty = try await indexes()
                let found = empty.filter { $0.contains("on cloacina_pipelines") }
                #expect(found.contains { $0.contains("Index Scan using cloacina_pipelines_due") }, "\(empty)")
                // What is locked and what is claimed are found by the key.
                #expect(found.count { $0.contains("Index Scan using cloacina_pipelines_pkey") } == 2, "\(empty)")
                #expect(!empty.contains { $0.contains("Seq Scan") }, "\(empty)")
                try await Self.fill(fixture)
                #expect(try await indexes() == empty)
            }
        }
    }
}
