import CloacinaPostgres
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// Tasks that lease every connection of the pool for longer than a lease of the runner's lasts.
    @Suite(.timeLimit(.minutes(40))) struct BusyPoolTests {
        @Test func aRunnerIsHeardAlthoughItsTasksHaveLeasedEveryConnection() async throws {
            try await EngineFixture.with { fixture in
                let (begun, began) = AsyncStream.makeStream(of: Void.self)
                let (gate, opener) = AsyncStream.makeStream(of: Void.self)
                let workflow = try Workflow("w") {
                    WorkflowTask("greedy") { _, scope in
                        try await scope.withConnection { _ in
                            began.yield()
                            for await _ in gate { break }
                        }
                    }
                }
                var configuration = PostgresPoolConfiguration(fixture.connection)
                configuration.maximumConnections = 1
                try await PostgresPool.withPool(configuration) { pool in
                    var settings = RunnerConfiguration()
                    settings.heartbeatInterval = .milliseconds(20)
                    settings.leaseDuration = .milliseconds(500)
                    let owner = try DefaultRunner(
                        pool: pool, label: fixture.label, workflows: [workflow], configuration: settings)
                    let watcher = try fixture.runner(workflow, configuration: settings)
                    let execution = try await owner.executeAsync("w")
                    _ = await begun.first { _ in true }
                    // As many leases' worth of beats are heard, and nothing is taken.
                    let first = try await fixture.store.beats(everyOwner: false)[owner.id] ?? 0
                    while try await fixture.store.beats(everyOwner: false)[owner.id] ?? 0 < first + 60 {
                        await watcher.serveOnce()
                    }
                    opener.yield()
                    let result = try await execution.result()
                    #expect(result.status == .completed && result.task("greedy")?.attempt == 1)
                    let stored = try #require(try await fixture.store.load(execution.id))
                    #expect(stored.epoch == 1 && stored.recoveries == 0)
                    await watcher.shutDown(drain: .zero)
                    await owner.shutDown(drain: .zero)
                }
            }
        }

        /// A6: more tasks than connections, each of which holds one for longer than others wait for one.
        @Test func aTaskThatWaitsForAConnectionHasNotFailed() async throws {
            try await EngineFixture.with { fixture in
                var configuration = PostgresPoolConfiguration(fixture.connection)
                configuration.maximumConnections = 1
                configuration.checkoutTimeout = .milliseconds(200)
                try await PostgresPool.withPool(configuration) { pool in
                    let workflow = try Workflow("w") {
                        for number in 0..<4 {
                            WorkflowTask("t\(number)") { _, scope in
                                try await scope.withConnection { _ = try await $0.query("SELECT pg_sleep(0.3)") }
                            }
                        }
                    }
                    let runner = try DefaultRunner(pool: pool, label: fixture.label, workflows: [workflow])
                    let result = try await runner.execute("w")
                    #expect(result.tasks.map(\.status) == Array(repeating: .completed, count: 4), "\(result)")
                }
            }
        }

        /// What is in the queue and can't be read, on PostgreSQL.
        @Test func anUnreadableRowHoldsUpNoOther() async throws {
            try await EngineFixture.with { fixture in
                let log = AttemptLog()
                let runner = try fixture.runner(EngineFixture.chain(log))
                let ids = try await fixture.enqueue(3, "chain", by: runner)
                try await TenantFixture.withSuperuser { connection in
                    _ = try await connection.query(
                        """
                        UPDATE \(identifier: fixture.schema).cloacina_pipelines SET input = '['
                        WHERE id = \(ids[1])
                        """)
                }
                try await fixture.serving(runner) { try await PipelineAudit.waitForEnds(2, in: fixture.schema) }
                #expect(try await runner.list(PipelineQuery(statuses: [.completed])).count == 2)
                #expect(try await runner.status(of: ids[0]) == .completed)
                #expect(try await runner.list(PipelineQuery(statuses: [.paused])).map(\.id) == [ids[1]])
            }
        }
    }
}
