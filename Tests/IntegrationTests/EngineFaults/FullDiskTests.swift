import CloacinaPostgres
import FoundationEssentials
import Testing

@testable import Cloacina
@testable import cloacina_admin

extension ServerTests {
    /// A server whose disk is full while an engine works.
    @Suite(
        .serialized,
        .enabled("needs root and the right to mount a file system in memory") { await SmallDisk.isPossible() },
        .smallDisk,
        .privateServer { place in
            try await SmallDisk.current?.mount(at: place.directory + "/server")
            // The log of changes has its place beforehand: it is the tables that can't grow.
            return [ServerSetting("max_wal_size", "64MB"), ServerSetting("min_wal_size", "64MB")]
        }, .timeLimit(.minutes(40)))
    struct FullDiskTests {
        /// Three tasks that leave much behind; the second one waits.
        private static func heavy(_ log: AttemptLog, until goOn: Gate) throws -> Workflow {
            try Workflow("heavy") {
                for (number, id) in ["a", "b", "c"].enumerated() {
                    WorkflowTask(id, dependencies: number == 0 ? [] : [["a", "b"][number - 1]]) { context, scope in
                        log.note(scope)
                        if number == 1 { await goOn.wait() }
                        try context.set(id, to: Self.noise())
                    }
                }
            }
        }

        /// Some kilobytes that can't be made smaller.
        private static func noise() -> String { (0..<150).map { _ in UUID().uuidString }.joined() }

        /// Puts pipelines into the queue until the server has no room for another.
        private func enqueueUntilFull(_ runner: DefaultRunner) async throws -> (ids: [UUID], error: PipelineError) {
            var ids: [UUID] = []
            while true {
                let noise = try Context(["noise": .string(Self.noise())])
                do throws(PipelineError) {
                    ids.append(try await runner.enqueue("heavy", context: noise).id)
                } catch {
                    return (ids, error)
                }
            }
        }

        @Test(arguments: [Duration.seconds(300), .zero])
        func whatAFullDiskHoldsUpGoesOnWhenThereIsRoom(patience: Duration) async throws {
            let disk = try #require(SmallDisk.current)
            try await withPrivateDatabase { _ in
                try await EngineFixture.with { fixture in
                    let (log, goOn) = (AttemptLog(), Gate())
                    let workflow = try Self.heavy(log, until: goOn)
                    var configuration = EngineFixture.configuration
                    configuration.databasePatience = patience
                    configuration.maximumConcurrentTasks = 64
                    configuration.maximumQueuedPipelines = 64
                    let store = WatchedStore(fixture.store)
                    let runner = try fixture.runner(workflow, store: store, configuration: configuration)
                    configuration.databasePatience = .zero
                    let impatient = try fixture.runner(workflow, configuration: configuration)
                    var ids = try await fixture.enqueue(50, "heavy", by: runner)
                    try await fixture.serving(runner) {
                        await log.reached(100)
                        try await TenantFixture.withSuperuser { connection in
                            _ = try await connection.query("SELECT pg_switch_wal()")
                            _ = try await connection.query("CHECKPOINT")
                        }
                        try await disk.fill()
                        let (more, error) = try await self.enqueueUntilFull(impatient)
                        ids += more
                        #expect(error.code == .storageFailed)
                        let cause = error.underlying as? PostgresError
                        #expect(cause?.code == .rejectedByServer)
                        #expect(cause?.sqlState == "53100")
                        goOn.open()
                        while store.failed(.apply) < 3 { await Task.yield() }
                        #expect(try await runner.list(PipelineQuery(statuses: [.failed])).isEmpty)
                        try disk.free()
                        try await PipelineAudit.waitForEnds(ids.count, in: fixture.schema)
                    }
                    try await PipelineAudit.check(ids, in: fixture.schema, tasks: 3)
                    try await PipelineAudit.check(log, in: fixture.schema)
                }
            }
        }
    }
}
