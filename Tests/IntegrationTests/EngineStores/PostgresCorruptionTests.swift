import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// Rows of a tenant's schema that this library didn't write are told as such, whatever is asked of them.
    @Suite(.timeLimit(.minutes(40))) struct PostgresCorruptionTests {
        private static let pipelines = [
            "state = 'teleported'", "state = ''", "input = ''", "input = 'no JSON'", "input = '{\"a\":'",
            "input = '[]'", "input = 'null'", "input = '{\"a\":1e999}'",
        ]
        private static let events = [
            "delta = ''", "delta = 'no JSON'",
            "delta = '[]'", "delta = '{\"set\":[]}'", "delta = '{\"removed\":[1]}'",
            "delta = '{\"merged\":{\"a\":1}}'", "delta = '{\"unknown\":{}}'",
        ]

        @Test func aRowThatCantBeReadIsATypedError() async throws {
            try await EngineFixture.with { fixture in
                let workflow = try Workflow("w") { WorkflowTask("t") { context in try context.set("t", to: 1) } }
                let runner = try fixture.runner(workflow)
                // What is checked here is what a reader does where nothing binds who writes.
                try await Self.dropChecks(of: fixture)
                let changes =
                    Self.pipelines.map { ("cloacina_pipelines", "id", $0, "true") }
                    + Self.events.map { ("cloacina_events", "pipeline_id", $0, "kind = 'task completed'") }
                for (table, column, change, condition) in changes {
                    let id = try await runner.execute("w").id
                    try await TenantFixture.withSuperuser { connection in
                        try await connection.script(
                            """
                            UPDATE \(PostgresIdentifier.quote(fixture.schema)).\(table) SET \(change)
                            WHERE \(column) = '\(id)' AND \(condition)
                            """)
                    }
                    var asked: [@Sendable () async throws -> Void] = [
                        { _ = try await runner.history(of: id) }, { _ = try await runner.snapshot(of: id) },
                        { _ = try await runner.result(of: id) }, { try await runner.resume(id) },
                    ]
                    // Where it stands can be told whatever else is the matter, and that decides what a cancel does.
                    let status: PipelineStatus = change.hasPrefix("state") ? .unknown : .completed
                    #expect(try await runner.status(of: id) == status)
                    if status == .unknown {
                        asked.append { try await runner.cancel(id) }
                    } else {
                        try await runner.cancel(id)
                    }
                    for (number, ask) in asked.enumerated() {
                        let error = await #expect(throws: PipelineError.self, "\(change), call \(number)") {
                            try await ask()
                        }
                        #expect(error?.code == .storageFailed && error?.isTransient == false, "\(change)")
                        #expect(error?.underlying != nil)
                    }
                    // The runner is as good as ever for others.
                    #expect(try await runner.execute("w").status == .completed)
                }
            }
        }

        /// Times without an end, which PostgreSQL knows: no length of time can be told then, but nobody traps over it.
        @Test(arguments: [
            ("cloacina_pipelines", "started_at = '-infinity'"), ("cloacina_pipelines", "ended_at = 'infinity'"),
            ("cloacina_pipelines", "created_at = '-infinity', started_at = NULL"),
            ("cloacina_pipelines", "started_at = 'infinity', ended_at = '-infinity'"),
            ("cloacina_events", "started_at = '-infinity'"), ("cloacina_events", "at = 'infinity'"),
            ("cloacina_pipelines", "timeout_ms = 9223372036854775807"),
        ])
        func endlessTimesAreNoTrap(table: String, change: String) async throws {
            try await EngineFixture.with { fixture in
                let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                let runner = try fixture.runner(workflow)
                let id = try await runner.execute("w").id
                try await Self.dropChecks(of: fixture)
                try await TenantFixture.withSuperuser { connection in
                    let schema = PostgresIdentifier.quote(fixture.schema)
                    try await connection.script("UPDATE \(schema).\(table) SET \(change)")
                }
                // Whether it is told or shown is no matter here.
                let seen = try? await runner.snapshot(of: id)
                #expect(seen == nil || seen?.status == .completed)
                for task in seen?.tasks ?? [] { #expect(task.attempts.count == 1 && task.duration != .seconds(-1)) }
                if let stored = try? await fixture.store.load(id) {
                    #expect(PipelineReport(stored).duration != .seconds(-1))
                }
                #expect(try await runner.execute("w").status == .completed)
            }
        }

        /// From the start of the queue, and from where a slow claim has left off.
        @Test(arguments: [Duration.seconds(3_600), .zero])
        func othersTakeThePlaceOfThoseThatCantBeRead(slowClaim: Duration) async throws {
            try await EngineFixture.with { fixture in
                let store = PostgresWorkflowStore(pool: fixture.pool, label: fixture.label, slowClaim: slowClaim)
                _ = try await store.create((1...16).map { StoreConformance.new($0, owner: nil) })
                let schema = PostgresIdentifier.quote(fixture.schema)
                try await TenantFixture.withSuperuser { connection in
                    try await connection.script(
                        """
                        UPDATE \(schema).cloacina_pipelines SET input = '['
                        WHERE id IN (SELECT id FROM \(schema).cloacina_pipelines ORDER BY id OFFSET 3 LIMIT 7)
                        """)
                }
                var claims: [[UUID]] = []
                for _ in 0..<3 {
                    claims.append(try await store.claim(StoreConformance.claim(limit: 3)).map(\.id))
                }
                #expect(claims == [[1, 2, 3], [11, 12, 13], [14, 15, 16]].map { $0.map(StoreConformance.id) })
                #expect(try await store.list(PipelineQuery(statuses: [.paused])).count == 7)
                // And the reason can be read.
                let reasons = try await store.events(EventQuery(kinds: [.pipelinePaused]))
                #expect(reasons.map(\.pipeline) == (4...10).reversed().map(StoreConformance.id))
                #expect(
                    reasons.allSatisfy {
                        $0.event.detail?.hasPrefix("what is stored of it can't be read: ") == true
                    })
            }
        }

        /// A task is never given a part of what it should have been given.
        @Test(arguments: ["", "[]", "{\"a\":", "{\"set\":[]}"])
        func whatComesAfterADamagedChangeDoesNotRun(delta: String) async throws {
            try await EngineFixture.with { fixture in
                let workflow = try Workflow("w") {
                    WorkflowTask("a") { _ in Issue.record("it has completed before") }
                    WorkflowTask("b", after: "a") { context in
                        try context.set("seen", to: context.get("a", as: Int.self))
                    }
                }
                // Each has its first task behind it, and was given back.
                let news = (0..<3).map { _ in
                    NewPipeline(
                        id: .version7(), workflow: "w", version: workflow.contentVersion.hex, input: Context(),
                        owner: UUID(), at: Date())
                }
                _ = try await fixture.store.create(news)
                _ = try await fixture.store.apply(
                    news.map { new in
                        var transition = PipelineTransition(expectedRevision: 1)
                        transition.status = .queued
                        transition.dueAt = new.at
                        transition.events = [
                            PipelineEvent(
                                .taskCompleted, task: "a", attempt: 1, at: new.at, delta: ContextDelta(["a": .set(7)])),
                            PipelineEvent(.pipelineReleased, at: new.at),
                        ]
                        return PipelineChange(id: new.id, epoch: 1, at: new.at, transition: transition)
                    })
                try await TenantFixture.withSuperuser { connection in
                    _ = try await connection.query(
                        """
                        UPDATE \(identifier: fixture.schema).cloacina_events SET delta = \(delta)
                        WHERE pipeline_id = \(news[1].id) AND delta IS NOT NULL
                        """)
                }
                let runner = try fixture.runner(workflow)
                try await fixture.serving(runner) {
                    for number in [0, 2] {
                        let result = try await runner.result(of: news[number].id)
                        #expect(result.status == .completed && result.finalContext["seen"] == 7)
                    }
                    // All of them were claimed with the first of these.
                    #expect(try await runner.list(PipelineQuery(statuses: [.paused])).map(\.id) == [news[1].id])
                }
                let kinds: [String] = try await TenantFixture.withSuperuser { connection in
                    try await connection.query(
                        """
                        SELECT kind FROM \(identifier: fixture.schema).cloacina_events
                        WHERE pipeline_id = \(news[1].id) AND task IS NOT NULL
                        """
                    ).column("kind")
                }
                #expect(kinds == ["task completed"])
            }
        }

        private static func dropChecks(of fixture: EngineFixture) async throws {
            try await TenantFixture.withSuperuser { connection in
                let schema = PostgresIdentifier.quote(fixture.schema)
                let checks: [String] = try await connection.query(
                    """
                    SELECT format('ALTER DOMAIN %s DROP CONSTRAINT %I', contypid::regtype, conname) AS sql FROM pg_constraint
                    WHERE contypid <> 0 AND connamespace = \(schema)::regnamespace
                    """
                ).column("sql")
                for check in checks { try await connection.script(check) }
            }
        }

        /// Who may write to the tables is bound by their checks, the tenant too (security C1, C6).
        @Test(arguments: [
            "cloacina_pipelines SET state = 'teleported'", "cloacina_pipelines SET revision = 2147483647",
            "cloacina_pipelines SET epoch = 2147483647", "cloacina_pipelines SET recoveries = 2147483647",
            "cloacina_pipelines SET timeout_ms = -1", "cloacina_pipelines SET request = 'explode'",
            "cloacina_pipelines SET input = repeat('x', 16777217)", "cloacina_pipelines SET depth = -1",
            "cloacina_events SET attempt = 2147483647", "cloacina_events SET kind = 'pipeline teleported'",
            "cloacina_events SET revision = -1", "cloacina_events SET detail = repeat('x', 2000001)",
            "cloacina_events SET delta = repeat('x', 16777217)",
        ])
        func theTablesBindWhoWritesToThem(change: String) async throws {
            try await EngineFixture.with { fixture in
                let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                _ = try await fixture.runner(workflow).execute("w")
                let error = await #expect(throws: PostgresError.self) {
                    try await fixture.pool.withConnection(fixture.label) { lease in
                        _ = try await lease.query(PostgresStatement("UPDATE \(change)", [], prepared: false))
                    }
                }
                #expect(error?.sqlState == "23514")
            }
        }

        /// One bad row is one bad line.
        @Test func aListShowsAnUnknownStateAsThat() async throws {
            try await EngineFixture.with { fixture in
                let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                let runner = try fixture.runner(workflow)
                _ = try await runner.execute("w")
                try await Self.dropChecks(of: fixture)
                try await TenantFixture.withSuperuser { connection in
                    let schema = PostgresIdentifier.quote(fixture.schema)
                    try await connection.script("UPDATE \(schema).cloacina_pipelines SET state = 'teleported'")
                }
                let id = try await runner.execute("w").id
                let list = try await runner.list()
                #expect(list.map(\.status) == [.completed, .unknown] && list.first?.id == id)
            }
        }
    }
}
