import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Synchronization
import Testing

@testable import Cloacina

extension ServerTests {
    /// Several runners on one tenant, the queue between them, and tasks whose writes commit with them.
    @Suite struct QueueTests {
        private func withTenant<R>(_ body: (PostgresPool, PostgresLabel) async throws -> R) async throws -> R {
            try await TenantFixture.withAdmin { admin in
                let name = TenantFixture.name()
                _ = try await admin.createTenant(TenantConfig(name: name))
                let label = try await admin.tenant(named: name).label(.role)
                var configuration = PostgresPoolConfiguration(try #require(TestDatabase.current).superuser)
                configuration.maximumConnections = 6
                return try await PostgresPool.withPool(configuration) { try await body($0, label) }
            }
        }

        /// Runs groups, one for each list of runners, as processes would, for as long as a closure runs.
        private func serving<R>(_ groups: [[DefaultRunner]], _ body: () async throws -> R) async throws -> R {
            let listener = try #require(TestDatabase.current).superuser
            let running = groups.map { runners in
                Task { try await RunnerGroup(runners, listeningOn: listener, drain: .zero).run() }
            }
            let result = try await body()
            for task in running {
                task.cancel()
                _ = await task.result
            }
            return result
        }

        @Test func twoRunnersShareAQueueAndEachPipelineRunsOnce() async throws {
            try await self.withTenant { pool, label in
                let ran = Mutex<[UUID: Int]>([:])
                let workflow = try Workflow("w") {
                    WorkflowTask("t") { _, scope in ran.withLock { $0[scope.executionID, default: 0] += 1 } }
                    WorkflowTask("u", after: "t") { _ in }
                }
                var configuration = RunnerConfiguration()
                configuration.maximumQueuedPipelines = 8
                let runners = try (0..<2).map { _ in
                    try DefaultRunner(pool: pool, label: label, workflows: [workflow], configuration: configuration)
                }
                let sender = try DefaultRunner(pool: pool, label: label, workflows: [workflow])
                try await self.serving(runners.map { [$0] }) {
                    let ids = try await withThrowingTaskGroup(of: UUID.self) { group in
                        for _ in 0..<200 { group.addTask { try await sender.enqueue("w").id } }
                        return try await group.reduce(into: []) { $0.append($1) }
                    }
                    for id in ids { #expect(try await sender.result(of: id).status == .completed) }
                    #expect(ran.withLock { $0.values.allSatisfy { $0 == 1 } && $0.count == 200 })
                }
            }
        }

        /// The other runner says that it lives and then nothing more, as after SIGKILL; its claims are a row's.
        @Test func whatADeadRunnerHadIsTakenOver() async throws {
            try await self.withTenant { pool, label in
                let workflow = try Workflow("w") {
                    WorkflowTask("a") { context in try context.set("a", to: 1) }
                    WorkflowTask("b", after: "a") { context, scope in try context.set("attempt", to: scope.attempt) }
                }
                let version = workflow.contentVersion.hex
                let store = PostgresWorkflowStore(pool: pool, label: label)
                let dead = UUID()
                var ids: [UUID] = []
                for saysSomething in [true, false] {
                    let owner = saysSomething ? dead : UUID()
                    let new = NewPipeline(
                        id: .version7(), workflow: "w", version: version, input: Context(), owner: owner, at: Date())
                    _ = try await store.create([new])
                    if saysSomething { _ = try await store.beat(owner, number: 1, pipelines: [], at: Date()) }
                    var transition = PipelineTransition(expectedRevision: 1)
                    transition.events = [
                        PipelineEvent(
                            .taskCompleted, task: "a", attempt: 1, worker: owner, at: Date(),
                            delta: ContextDelta(["a": .set(1)]))
                    ]
                    _ = try await store.apply([
                        PipelineChange(id: new.id, epoch: 1, at: Date(), transition: transition)
                    ])
                    ids.append(new.id)
                }
                var configuration = RunnerConfiguration()
                configuration.heartbeatInterval = .milliseconds(20)
                configuration.leaseDuration = .milliseconds(50)
                let runner = try DefaultRunner(
                    pool: pool, label: label, workflows: [workflow], configuration: configuration)
                try await self.serving([[runner]]) {
                    for id in ids {
                        let result = try await runner.result(of: id)
                        #expect(result.status == .completed)
                        #expect(result.finalContext.values == ["a": 1, "attempt": 2])
                    }
                    let history = try await runner.history(of: ids[0]).map(\.kind)
                    #expect(
                        history == [
                            .pipelineStarted, .taskCompleted, .pipelineRecovered, .pipelineStarted, .taskStarted,
                            .taskCompleted, .pipelineCompleted,
                        ])
                    // The dead one's own write comes too late.
                    let late = PipelineChange(
                        id: ids[0], epoch: 1, at: Date(), transition: PipelineTransition(expectedRevision: 2))
                    #expect(try await store.apply([late]) == [.stale])
                }
            }
        }

        @Test func aTransactionalTasksWritesCommitWithItsEndOrNotAtAll() async throws {
            struct Broken: Error {}
            try await self.withTenant { pool, label in
                try await TenantFixture.withSuperuser { connection in
                    _ = try await connection.query(
                        """
                        CREATE TABLE \(identifier: label.schema).account (cents int8 NOT NULL)
                        """)
                    _ = try await connection.query(
                        "GRANT SELECT, INSERT ON \(identifier: label.schema).account TO \(identifier: try #require(label.role))"
                    )
                }
                let tries = Mutex(0)
                let workflow = try Workflow("pay") {
                    WorkflowTask.transactional("pay", retry: .fixed(3, delay: .zero)) { context, _, transaction in
                        _ = try await transaction.query("INSERT INTO account (cents) VALUES (500)")
                        try context.set("paid", to: true)
                        let isFirst = tries.withLock { tries in
                            tries += 1
                            return tries == 1
                        }
                        if isFirst { throw Broken() }
                    }
                    WorkflowTask("after", after: "pay") { context in try context.set("after", to: true) }
                }
                let runner = try DefaultRunner(pool: pool, label: label, workflows: [workflow])
                let result = try await runner.execute("pay")
                #expect(result.status == .completed)
                #expect(result.finalContext.values == ["paid": true, "after": true])
                #expect(result.task("pay")?.attempts.map(\.succeeded) == [false, true])
                let count: Int = try await pool.withConnection(label) { lease in
                    try await lease.query("SELECT count(*) FROM account").single()
                }
                #expect(count == 1)
                // What is stored says the same.
                let stored = try await runner.snapshot(of: result.id)
                #expect(stored.finalContext == result.finalContext)
                #expect(stored.task("pay")?.attempts.map(\.succeeded) == [false, true])
            }
        }

        /// The process dies right after the task's transaction has committed and before anything else is written.
        @Test func aCommittedTaskIsNotRunAgainAfterACrash() async throws {
            try await self.withTenant { pool, label in
                let workflow = try Workflow("w") {
                    WorkflowTask.transactional("pay") { _, _, _ in Issue.record("it ran again") }
                    WorkflowTask("after", after: "pay") { context in
                        try context.set("seen", to: context.get("paid", as: Int.self))
                    }
                }
                let store = PostgresWorkflowStore(pool: pool, label: label)
                let dead = UUID()
                let new = NewPipeline(
                    id: .version7(), workflow: "w", version: workflow.contentVersion.hex, input: Context(),
                    owner: dead, at: Date())
                _ = try await store.create([new])
                _ = try await store.beat(dead, number: 1, pipelines: [], at: Date())
                let event = PipelineEvent(
                    .taskCompleted, task: "pay", attempt: 1, worker: dead, startedAt: Date(), at: Date(),
                    delta: ContextDelta(["paid": .set(7)]))
                let commit = PostgresWorkflowQueries.commit(
                    event, at: TaskPlace(pipeline: new.id, epoch: 1, task: "pay"))
                for isFirst in [true, false] {
                    let rows = try await pool.withConnection(label) { try await $0.query(commit) }
                    #expect(rows.isEmpty != isFirst)
                }
                var configuration = RunnerConfiguration()
                configuration.heartbeatInterval = .milliseconds(20)
                configuration.leaseDuration = .milliseconds(50)
                let runner = try DefaultRunner(
                    pool: pool, label: label, workflows: [workflow], configuration: configuration)
                try await self.serving([[runner]]) {
                    let result = try await runner.result(of: new.id)
                    #expect(result.status == .completed)
                    #expect(result.finalContext.values == ["paid": 7, "seen": 7])
                }
                // And under the old claim nobody commits anything any more.
                let late = PostgresWorkflowQueries.commit(
                    event, at: TaskPlace(pipeline: new.id, epoch: 1, task: "pay"))
                let rows = try await pool.withConnection(label) { try await $0.query(late) }
                #expect(rows.isEmpty)
            }
        }

        @Test func whatIsEnqueuedInATransactionIsThereWhenThatCommits() async throws {
            struct Broken: Error {}
            try await self.withTenant { pool, label in
                let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                let runner = try DefaultRunner(pool: pool, label: label, workflows: [workflow])
                for commits in [false, true] {
                    let id = Mutex<UUID?>(nil)
                    try? await pool.withConnection(label) { lease in
                        try await lease.withTransaction { transaction in
                            let new = try await runner.enqueue("w", in: transaction).id
                            id.withLock { $0 = new }
                            if !commits { throw Broken() }
                        }
                    }
                    let found = try await runner.list().map(\.id)
                    #expect(found == (commits ? [try #require(id.withLock { $0 })] : []))
                }
            }
        }

        @Test func othersCanCancelAndPauseWhatARunnerHas() async throws {
            try await self.withTenant { pool, label in
                let begun = AsyncStream.makeStream(of: Void.self)
                let workflow = try Workflow("w") {
                    WorkflowTask("long") { _ in
                        begun.continuation.yield()
                        try await Task.sleep(for: .seconds(3_600))
                    }
                    WorkflowTask("next", after: "long") { _ in Issue.record("it ran") }
                }
                var configuration = RunnerConfiguration()
                configuration.heartbeatInterval = .milliseconds(20)
                let owner = try DefaultRunner(
                    pool: pool, label: label, workflows: [workflow], configuration: configuration)
                let other = try DefaultRunner(pool: pool, label: label, workflows: [workflow])
                let execution = try await owner.executeAsync("w")
                for await _ in begun.stream { break }
                try await other.cancel(execution.id)
                let result = try await other.result(of: execution.id)
                #expect(result.status == .cancelled)
                #expect(result.task("next")?.error == "the pipeline was cancelled")
                try await other.cancel(execution.id)
                let error = await #expect(throws: PipelineError.self) { try await other.pause(execution.id) }
                #expect(error?.code == .notPossible)
            }
        }

        @Test func aKeyStandsForOnePipelineWhoeverAsks() async throws {
            try await self.withTenant { pool, label in
                let workflow = try Workflow("w") { WorkflowTask("t") { context in try context.set("x", to: 1) } }
                let runners = try (0..<2).map { _ in
                    try DefaultRunner(pool: pool, label: label, workflows: [workflow])
                }
                let options = ExecutionOptions(idempotencyKey: "order-'7'")
                let ids = try await withThrowingTaskGroup(of: UUID.self) { group in
                    for number in 0..<16 {
                        group.addTask {
                            try await runners[number % 2].execute("w", context: Context(), options: options).id
                        }
                    }
                    return try await group.reduce(into: Set()) { $0.insert($1) }
                }
                #expect(ids.count == 1)
                #expect(try await runners[0].list().count == 1)
            }
        }

        @Test func historiesOfTheEndedArePruned() async throws {
            try await self.withTenant { pool, label in
                let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                let runner = try DefaultRunner(pool: pool, label: label, workflows: [workflow])
                for _ in 0..<5 { _ = try await runner.execute("w") }
                let waiting = try await runner.enqueue("w").id
                #expect(try await runner.prune(endedBefore: Date().addingTimeInterval(60), limit: 3) == 3)
                #expect(try await runner.prune(endedBefore: Date().addingTimeInterval(60), limit: 3) == 2)
                #expect(try await runner.list().map(\.id) == [waiting])
                let events: Int = try await pool.withConnection(label) { lease in
                    try await lease.query("SELECT count(*) FROM cloacina_events").single()
                }
                #expect(events == 1)
            }
        }
    }
}
