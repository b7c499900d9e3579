import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Synchronization
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
                    let credentials = try await admin.createTenant(TenantConfig(name: name))
                    passwords[credentials.username] = credentials.password
                    labels.append(try await admin.tenant(named: name).label(isolation))
                }
                // The service's login is the whole server's; a superuser may take on every tenant's role as well.
                var configuration = PostgresPoolConfiguration(try #require(TestDatabase.current).superuser)
                configuration.maximumConnections = budget
                let known = passwords
                configuration.password = { known[$0] ?? "" }
                return try await withPool(configuration) { try await body($0, labels) }
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
                                array_agg(t.state ORDER BY t.task) AS tasks, array_agg(t.delta ORDER BY t.task) AS deltas,
                                (SELECT array_agg(kind ORDER BY revision, position)
                                 FROM \(identifier: label.schema).cloacina_events) AS events
                            FROM \(identifier: label.schema).cloacina_pipelines AS p
                            JOIN \(identifier: label.schema).cloacina_tasks AS t ON t.pipeline_id = p.id
                            GROUP BY p.id
                            """)
                    }
                    #expect(rows.count == 1)
                    #expect(try rows[0].value("id") == result.id)
                    #expect(try rows[0].value("state") == "completed")
                    #expect(try rows[0].value("revision") == 4)
                    #expect(try rows[0].value("has_ended") == true)
                    #expect(try rows[0].value("input") == #"{"input":true}"#)
                    #expect(try rows[0].value("tasks", as: [String].self) == ["completed", "completed", "completed"])
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
                let before = pool.statistics.checkouts
                _ = try await runner.execute("chain")
                // The start, and one commit for each task.
                #expect(pool.statistics.checkouts - before == 4)
            }
        }

        @Test func aFailedRunKeepsErrorsAndReasons() async throws {
            struct Broken: Error, CustomStringConvertible { let description = "it broke\0 badly" }
            try await self.withTenants { pool, labels in
                let workflow = try Workflow("w") {
                    WorkflowTask("'; DROP TABLE cloacina_tasks; --") { _ in throw Broken() }
                    WorkflowTask("behind", after: "'; DROP TABLE cloacina_tasks; --") { _ in }
                }
                let runner = try DefaultRunner(pool: pool, label: labels[0], workflows: [workflow])
                let result = try await runner.execute("w")
                #expect(result.status == .failed)
                let store = PostgresWorkflowStore(pool: pool, label: labels[0])
                let stored = try #require(try await store.load(result.id))
                #expect(stored.status == .failed)
                #expect(stored.tasks["'; DROP TABLE cloacina_tasks; --"]?.reason == "it broke\u{FFFD} badly")
                #expect(stored.tasks["behind"]?.record.status == .skipped)
                #expect(stored.tasks["behind"]?.reason == "\"'; DROP TABLE cloacina_tasks; --\" failed")
                #expect(stored.tasks["behind"]?.startedAt == nil)
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
                                "UPDATE cloacina_tasks SET epoch = 2, owner = gen_random_uuid() WHERE task = 'robbed'",
                                "UPDATE cloacina_pipelines SET revision = revision + 1",
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
                        SELECT t.state, t.delta, p.state AS pipeline, p.revision, (SELECT count(*) FROM cloacina_events) AS events
                        FROM cloacina_tasks AS t JOIN cloacina_pipelines AS p ON p.id = t.pipeline_id ORDER BY t.task DESC
                        """)
                }
                #expect(try rows.column("state", as: String.self) == ["running", "waiting"])
                #expect(try rows[0].value("delta", as: String?.self) == nil)
                #expect(try rows[0].value("pipeline") == "running")
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
                                _ = try await lease.query("SELECT * FROM \(identifier: other).cloacina_tasks")
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
                #expect(pool.statistics.opened <= 4)
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
                        for seed in 1...10 as ClosedRange<UInt64> {
                            let (pipeline, change) = try StoreDuel.start(seed: seed)
                            for queued in [[], ["t0"]] {
                                var change = change
                                change.transition.queued = queued
                                for statement in [
                                    PostgresWorkflowQueries.create(pipeline), PostgresWorkflowQueries.apply(change),
                                    PostgresWorkflowQueries.loadInput(pipeline.id),
                                    PostgresWorkflowQueries.loadTasks(pipeline.id),
                                ] {
                                    try await transaction.query(statement)
                                }
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

        /// The same operations, by chance, on PostgreSQL and on the model: every answer and every row must agree.
        @Test(arguments: 1...12 as ClosedRange<UInt64>)
        func agreesWithTheModel(seed: UInt64) async throws {
            try await self.withTenants { pool, labels in
                var duel = try StoreDuel(seed: seed, store: PostgresWorkflowStore(pool: pool, label: labels[0]))
                try await duel.fight()
            }
        }

        /// Two sessions with the same transition: one is applied, the other one changes nothing.
        @Test func ofTwoEqualTransitionsOneIsApplied() async throws {
            try await self.withTenants { pool, labels in
                let store = PostgresWorkflowStore(pool: pool, label: labels[0])
                for _ in 0..<20 {
                    var duel = try StoreDuel(seed: .random(in: 0...UInt64.max), store: store)
                    let change = try await duel.begin()
                    let outcomes = try await withThrowingTaskGroup(of: StoreOutcome.self) { group in
                        for _ in 0..<4 { group.addTask { try await store.apply(change) } }
                        return try await group.reduce(into: []) { $0.append($1) }
                    }
                    #expect(outcomes.count { $0 == .applied } == 1)
                    let stored = try #require(try await store.load(change.id))
                    #expect(stored.revision == change.transition.expectedRevision + 1)
                }
            }
        }
    }
}

/// One pipeline in two stores.
private struct StoreDuel {
    private var generator: SeededGenerator
    private let workflow: Workflow
    private let store: any WorkflowStore
    private let model = InMemoryWorkflowStore()
    private let id = UUID.version7()
    private let owner = UUID()
    private var machine: PipelineStateMachine
    private var running: [Int: Int] = [:]

    init(seed: UInt64, store: (any WorkflowStore)?) throws {
        var generator = SeededGenerator(seed: seed)
        let tasks = (0..<Int.random(in: 2...15, using: &generator)).map { index in
            let dependencies = (0..<index).filter { _ in Int.random(in: 0..<3, using: &generator) == 0 }
            return WorkflowTask("t\(index)", dependencies: dependencies.map { "t\($0)" }) { _, _ in }
        }
        self.workflow = try Workflow("duel", tasks: tasks)
        self.machine = PipelineStateMachine(ids: tasks.map(\.id), graph: self.workflow.graph, owner: self.owner)
        self.generator = generator
        self.store = store ?? self.model
    }

    /// A pipeline's first two statements, for nobody to answer.
    static func start(seed: UInt64) throws -> (NewPipeline, PipelineChange) {
        var duel = try StoreDuel(seed: seed, store: nil)
        return (try duel.pipeline(), try duel.next())
    }

    private mutating func pipeline() throws -> NewPipeline {
        let first = self.machine.commit(slots: 2)
        let pipeline = NewPipeline(
            id: self.id, workflow: "duel", input: try Context(["a": 0.1]), tasks: self.machine.ids, owner: self.owner,
            at: self.now(), first: try #require(first))
        for claim in pipeline.first.claimed { self.running[claim.position] = claim.epoch }
        return pipeline
    }

    /// Creates the pipeline and returns the first change after that.
    mutating func begin() async throws -> PipelineChange {
        let pipeline = try self.pipeline()
        for isNew in [true, false] {
            #expect(try await self.store.create(pipeline) == isNew)
            #expect(try await self.model.create(pipeline) == isNew)
        }
        try await self.compare()
        return try self.next()
    }

    mutating func fight() async throws {
        var change = try await self.begin()
        while true {
            for forged in try self.forgeries(of: change) {
                #expect(try await self.store.apply(forged) == .staleLease)
                #expect(try await self.model.apply(forged) == .staleLease)
            }
            try await self.compare()
            for outcome in [StoreOutcome.applied, .staleLease] {
                #expect(try await self.store.apply(change) == outcome)
                #expect(try await self.model.apply(change) == outcome)
            }
            try await self.compare()
            guard self.machine.status == .running else { return }
            change = try self.next()
        }
    }

    private mutating func next() throws -> PipelineChange {
        while true {
            if Int.random(in: 0..<20, using: &self.generator) == 0 { _ = self.machine.receive(.cancel) }
            for (position, epoch) in self.running.sorted(by: <) where Bool.random(using: &self.generator) {
                var delta = ContextDelta()
                if Bool.random(using: &self.generator) {
                    delta = ContextDelta(["\u{0}\"": .set(.double(.leastNonzeroMagnitude)), "r": .removed])
                }
                let isGood = Int.random(in: 0..<6, using: &self.generator) > 0
                let event = PipelineStateMachine.Event.ended(
                    position: position, epoch: epoch, outcome: isGood ? .completed(delta) : .failed("e'\"\\"),
                    at: self.now())
                if self.machine.receive(event) == .accepted { self.running[position] = nil }
            }
            guard let transition = self.machine.commit(slots: Int.random(in: 0...3, using: &self.generator)) else {
                continue
            }
            for claim in transition.claimed { self.running[claim.position] = claim.epoch }
            return PipelineChange(id: self.id, owner: self.owner, at: self.now(), transition: transition)
        }
    }

    /// The change as others would make it: another owner, an older claim, another pipeline.
    private func forgeries(of change: PipelineChange) throws -> [PipelineChange] {
        let transition = change.transition
        var older = PipelineTransition(expectedRevision: transition.expectedRevision)
        older.status = transition.status
        older.claimed = transition.claimed
        older.queued = transition.queued
        older.skipped = transition.skipped
        older.skipReason = transition.skipReason
        older.ended = transition.ended.map { ended in
            PipelineTransition.Ended(
                task: ended.task, epoch: ended.epoch - 1, attempt: ended.attempt, outcome: ended.outcome, at: ended.at)
        }
        let past = PipelineTransition(expectedRevision: transition.expectedRevision - 1)
        var forgeries = [
            PipelineChange(id: UUID(), owner: self.owner, at: change.at, transition: transition),
            PipelineChange(id: self.id, owner: self.owner, at: change.at, transition: past),
        ]
        if !transition.ended.isEmpty {
            forgeries += [
                PipelineChange(id: self.id, owner: UUID(), at: change.at, transition: transition),
                PipelineChange(id: self.id, owner: self.owner, at: change.at, transition: older),
            ]
        }
        return forgeries
    }

    private func compare() async throws {
        let stored = try #require(try await self.store.load(self.id))
        let modelled = try #require(try await self.model.load(self.id))
        #expect(stored.status == modelled.status)
        #expect(stored.revision == modelled.revision)
        #expect(stored.workflow == modelled.workflow)
        #expect(stored.input == modelled.input)
        #expect((stored.endedAt == nil) == (modelled.endedAt == nil))
        for (task, mine) in modelled.tasks {
            let theirs = try #require(stored.tasks[task])
            #expect(theirs.record == mine.record, "\(task)")
            #expect(theirs.delta == mine.delta, "\(task)")
            #expect(theirs.reason == mine.reason, "\(task)")
            #expect(theirs.startedAt == mine.startedAt, "\(task)")
            #expect(theirs.endedAt == mine.endedAt, "\(task)")
        }
        #expect(stored.tasks.count == modelled.tasks.count)
    }

    /// Whole seconds survive every database's precision.
    private mutating func now() -> Date {
        Date(timeIntervalSince1970: TimeInterval(Int.random(in: 0..<2_000_000_000, using: &self.generator)))
    }
}

extension TaskRecord {
    fileprivate var status: TaskStatus { self.state.status }
}

/// SplitMix64: the same numbers for the same seed.
private struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
