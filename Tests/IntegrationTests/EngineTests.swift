import CloacinaPostgres
import CloacinaTenancy
import EngineTestSupport
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

extension ServerTests {
    /// Pipelines in real tenants' schemas, over one pool.
    @Suite struct EngineTests {
        /// Lends runners' means: a pool, and the labels of fresh tenants.
        private func withTenants<R>(
            _ count: Int = 1, isolation: TenantIsolation = .role, budget: Int = 4,
            _ body: (PostgresPool, [PostgresLabel]) async throws -> R
        ) async throws -> R {
            try await TenantFixture.withAdmin { admin in
                var labels: [PostgresLabel] = []
                var passwords: [String: String] = [:]
                for _ in 0..<count {
                    let name = TenantFixture.name()
                    var config = TenantConfig(name: name)
                    config.engineAccess = isolation == .login
                    let credentials = try await admin.createTenant(config)
                    passwords[credentials.username] = credentials.password
                    labels.append(try await admin.tenant(named: name).label(isolation))
                }
                // The service's login is the whole server's; a superuser may take on every tenant's role as well.
                var configuration = PostgresPoolConfiguration(try #require(TestDatabase.current).superuser)
                configuration.maximumConnections = budget
                let known = passwords
                configuration.password = { known[$0] ?? "" }
                return try await PostgresPool.withPool(configuration) { try await body($0, labels) }
            }
        }

        private static func chain() throws -> Workflow {
            try Workflow("chain") {
                WorkflowTask("a") { context in try context.set("a", to: 1) }
                WorkflowTask("b", after: "a") { context in try context.set("b", to: "\u{0} and ü") }
                WorkflowTask("c", after: "b") { context in context.remove("a") }
            }
        }

        @Test(arguments: [TenantIsolation.role, .login])
        func eachTenantsRunIsKeptInItsOwnSchema(isolation: TenantIsolation) async throws {
            try await self.withTenants(2, isolation: isolation) { pool, labels in
                for label in labels {
                    let runner = try DefaultRunner(pool: pool, label: label, workflows: [Self.chain()])
                    let result = try await runner.execute("chain", context: Context(["input": true]))
                    #expect(result.status == .completed)
                    #expect(result.finalContext.values == ["input": true, "b": "\u{0} and ü"])
                    let rows = try await TenantFixture.withSuperuser { connection in
                        try await connection.query(
                            """
                            SELECT p.id, p.state, p.revision, p.input, p.ended_at IS NOT NULL AS has_ended,
                                array_agg(e.kind ORDER BY e.revision, e.position) AS events,
                                array_agg(e.delta ORDER BY e.revision) FILTER (WHERE e.delta IS NOT NULL) AS deltas
                            FROM \(identifier: label.schema).cloacina_pipelines AS p
                            JOIN \(identifier: label.schema).cloacina_events AS e ON e.pipeline_id = p.id
                            GROUP BY p.id
                            """)
                    }
                    #expect(rows.count == 1)
                    #expect(try rows[0].value("id") == result.id)
                    #expect(try rows[0].value("state") == "completed")
                    #expect(try rows[0].value("revision") == 4)
                    #expect(try rows[0].value("has_ended") == true)
                    #expect(try rows[0].value("input") == #"{"input":true}"#)
                    #expect(
                        try rows[0].value("deltas", as: [String].self) == [
                            #"{"set":{"a":1}}"#, #"{"set":{"b":"\u0000 and ü"}}"#, #"{"removed":["a"]}"#,
                        ])
                    #expect(
                        try rows[0].value("events", as: [String].self) == [
                            "pipeline started", "task completed", "task completed", "task completed",
                            "pipeline completed",
                        ])
                }
            }
        }

        @Test func oneCommitEndsATaskAndClaimsTheNext() async throws {
            try await self.withTenants { pool, labels in
                let runner = try DefaultRunner(pool: pool, label: labels[0], workflows: [Self.chain()])
                _ = try await runner.execute("chain")
                // The start, and one commit for each task.
                #expect(runner.writeStatistics == WriteStatistics(writes: 4, commits: 4))
            }
        }

        @Test func aFailedRunKeepsErrorsAndReasons() async throws {
            struct Broken: Error, CustomStringConvertible { let description = "it broke\0 badly" }
            try await self.withTenants { pool, labels in
                let workflow = try Workflow("w") {
                    WorkflowTask("'; DROP TABLE cloacina_events; --") { _ in throw Broken() }
                    WorkflowTask("behind", after: "'; DROP TABLE cloacina_events; --") { _ in }
                }
                let runner = try DefaultRunner(pool: pool, label: labels[0], workflows: [workflow])
                let result = try await runner.execute("w")
                #expect(result.status == .failed)
                let store = PostgresWorkflowStore(pool: pool, label: labels[0])
                let stored = try #require(try await store.load(result.id))
                #expect(stored.status == .failed)
                #expect(
                    stored.events.first { $0.task == "'; DROP TABLE cloacina_events; --" }?.detail
                        == "it broke\u{FFFD} badly")
                let behind = try #require(stored.events.first { $0.task == "behind" })
                #expect(behind.kind == .taskSkipped)
                #expect(behind.detail == "\"'; DROP TABLE cloacina_events; --\" failed")
                #expect(behind.startedAt == nil)
            }
        }

        /// Somebody else claims the task while it runs, as a recovery will: what it reports must not count.
        @Test func aStaleCompletionChangesNothing() async throws {
            try await self.withTenants { pool, labels in
                let label = labels[0]
                let workflow = try Workflow("w") {
                    WorkflowTask("robbed") { context, scope in
                        try context.set("x", to: 1)
                        try await scope.withConnection { lease in
                            _ = try await lease.pipeline([
                                "UPDATE cloacina_pipelines SET revision = revision + 1, epoch = 2, owner = gen_random_uuid()"
                            ])
                        }
                    }
                    WorkflowTask("next", after: "robbed") { _ in Issue.record("it ran") }
                }
                let runner = try DefaultRunner(pool: pool, label: label, workflows: [workflow])
                let error = await #expect(throws: PipelineError.self) { try await runner.execute("w") }
                #expect(error?.code == .takenOver, "\(error as Any)")
                let rows = try await pool.withConnection(label) { lease in
                    try await lease.query(
                        """
                        SELECT p.state, p.revision, (SELECT count(*) FROM cloacina_events) AS events FROM cloacina_pipelines AS p
                        """)
                }
                #expect(try rows[0].value("state") == "running")
                #expect(try rows[0].value("revision") == 2)
                #expect(try rows[0].value("events") == 1)
            }
        }

        @Test func aTaskReachesItsOwnTenantsTablesOnly() async throws {
            try await self.withTenants(2) { pool, labels in
                let other = labels[1].schema
                let workflow = try Workflow("w") {
                    WorkflowTask("spy") { context, scope in
                        let schema: String = try await scope.withConnection {
                            try await $0.query("SELECT current_schema()").single()
                        }
                        try context.set("schema", to: schema)
                        let refusal = await #expect(throws: PostgresError.self) {
                            try await scope.withConnection { lease in
                                _ = try await lease.query("SELECT * FROM \(identifier: other).cloacina_events")
                            }
                        }
                        try context.set("refusal", to: refusal?.sqlState ?? "")
                    }
                }
                let runner = try DefaultRunner(pool: pool, label: labels[0], workflows: [workflow])
                let result = try await runner.execute("w")
                #expect(result.finalContext["schema"] == .string(labels[0].schema))
                #expect(result.finalContext["refusal"] == "42501")
            }
        }

        @Test func hundredsOfRunsOfManyTenantsShareFourConnections() async throws {
            try await self.withTenants(10) { pool, labels in
                try await withThrowingTaskGroup(of: PipelineStatus.self) { group in
                    for label in labels {
                        let runner = try DefaultRunner(pool: pool, label: label, workflows: [Self.chain()])
                        for _ in 0..<20 { group.addTask { try await runner.execute("chain").status } }
                    }
                    for try await status in group { #expect(status == .completed) }
                }
                for label in labels {
                    let counts = try await pool.withConnection(label) { lease in
                        try await lease.query(
                            """
                            SELECT count(*) AS runs, count(*) FILTER (WHERE state = 'completed') AS completed
                            FROM cloacina_pipelines
                            """)
                    }
                    #expect(try counts[0].value("runs") == 20)
                    #expect(try counts[0].value("completed") == 20)
                }
                // And the one beside the budget that the engine has for itself.
                #expect(pool.statistics.opened <= 5)
            }
        }

        /// Cuts every connection, the pool's included, just before each commit.
        @Test func connectionsCutInTheMiddleOfARunLoseNothing() async throws {
            try await self.withTenants { pool, labels in
                let superuser = try #require(TestDatabase.current).superuser
                let runs = Mutex(0)
                let workflow = try Workflow("w") {
                    for number in 0..<10 {
                        WorkflowTask("t\(number)", dependencies: number == 0 ? [] : ["t\(number - 1)"]) { context, _ in
                            runs.withLock { $0 += 1 }
                            try await PostgresConnection.withConnection(superuser) { connection in
                                _ = try await connection.query(
                                    """
                                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                                    WHERE datname = current_database() AND pid <> pg_backend_pid()
                                    """)
                            }
                            try context.set("t", to: number)
                        }
                    }
                }
                let runner = try DefaultRunner(pool: pool, label: labels[0], workflows: [workflow])
                let result = try await runner.execute("w")
                #expect(result.status == .completed)
                #expect(result.finalContext["t"] == 9)
                #expect(runs.withLock { $0 } == 10)
                let events: Int = try await pool.withConnection(labels[0]) { lease in
                    try await lease.query("SELECT count(*) FROM cloacina_events").single()
                }
                #expect(events == 12)
            }
        }

        /// A new tenant's statements are planned while its tables are empty; those plans must serve full ones.
        @Test func noPlanScansATable() async throws {
            try await self.withTenants { pool, labels in
                let scans: Int = try await pool.withConnection(labels[0]) { lease in
                    try await lease.withTransaction { transaction in
                        // The server settles on one plan at the sixth use.
                        for number in 1...10 {
                            let id = UUID.version7()
                            let new = NewPipeline(
                                id: id, workflow: "w", version: "v", input: Context(),
                                options: ExecutionOptions(idempotencyKey: "\(number)"), owner: UUID(), at: Date())
                            var transition = PipelineTransition(expectedRevision: 1)
                            transition.events = [PipelineEvent(.taskCompleted, task: "t", attempt: 1, at: Date())]
                            let change = PipelineChange(id: id, epoch: 1, at: Date(), transition: transition)
                            for statement in [
                                PostgresWorkflowQueries.create([new]), PostgresWorkflowQueries.apply(change),
                                PostgresWorkflowQueries.load(id), PostgresWorkflowQueries.history(id),
                                PostgresWorkflowQueries.input(of: id, key: "\(number)"),
                                PostgresWorkflowQueries.ask(.pause, of: id), PostgresWorkflowQueries.byIndexes,
                                PostgresWorkflowQueries.claim(
                                    QueueClaim(runner: UUID(), workflows: ["w": "v"], limit: 3, at: Date())),
                            ] {
                                try await transaction.query(statement)
                            }
                        }
                        return try await transaction.query(
                            """
                            SELECT sum(seq_scan)::int8 FROM pg_stat_xact_user_tables
                            WHERE schemaname = current_schema() AND relname LIKE 'cloacina%' AND idx_scan > 0
                            """
                        ).single()
                    }
                }
                #expect(scans == 0)
            }
        }

        /// The same operations, by chance, on PostgreSQL and on the model: every answer and every row must agree. Five thousand
        /// histories, others on each major version of the server.
        @Test(arguments: 0..<20 as Range<UInt64>) func agreesWithTheModel(block: UInt64) async throws {
            try await self.withTenants { pool, labels in
                // Claims begin at the start of the queue, as the model's do, however slow the machine is.
                let store = PostgresWorkflowStore(pool: pool, label: labels[0], slowClaim: .seconds(3_600))
                let version: Int = try await pool.withConnection(labels[0]) { lease in
                    try await lease.query("SELECT current_setting('server_version_num')::int8 / 10000").single()
                }
                let first = UInt64(version) * 1_000_000 + block * 250
                for seed in first..<first + 250 {
                    var duel = StoreDuel(seed: seed, on: [store], rigor: .served)
                    try await duel.run()
                    try await pool.withConnection(labels[0]) { lease in
                        _ = try await lease.pipeline(
                            ["pipelines", "events", "runners"].map {
                                PostgresStatement(trusted: "DELETE FROM cloacina_\($0)")
                            })
                    }
                }
            }
        }

        /// Two sessions with the same transition: one is applied, the other one changes nothing.
        @Test func ofTwoEqualTransitionsOneIsApplied() async throws {
            try await self.withTenants { pool, labels in
                let store = PostgresWorkflowStore(pool: pool, label: labels[0])
                for batch in [1, 3] {
                    let new = (0..<batch).map { _ in
                        NewPipeline(
                            id: .version7(), workflow: "w", version: "v", input: Context(), owner: UUID(), at: Date())
                    }
                    #expect(try await store.create(new) == new.map { _ in .created })
                    let changes = new.map { new in
                        var transition = PipelineTransition(expectedRevision: 1)
                        transition.events = [PipelineEvent(.taskCompleted, task: "t", attempt: 1, at: new.at)]
                        return PipelineChange(id: new.id, epoch: 1, at: new.at, transition: transition)
                    }
                    let outcomes = try await withThrowingTaskGroup(of: [StoreOutcome].self) { group in
                        for _ in 0..<4 { group.addTask { try await store.apply(changes) } }
                        return try await group.reduce(into: []) { $0.append($1) }
                    }
                    for index in changes.indices {
                        #expect(outcomes.count { $0[index] == .applied(nil) } == 1)
                        #expect(try await store.load(changes[index].id)?.revision == 2)
                    }
                }
            }
        }
    }
}
