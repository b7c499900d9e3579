import Cloacina
import Testing

extension ServerTests {
    /// A server that crashes while an engine works, and comes back. The limit includes waiting for a place.
    @Suite(.serialized, .privateServer, .timeLimit(.minutes(40))) struct RestartUnderLoadTests {
        /// The server stops as in a crash each time that so many more tasks have begun.
        @Test(arguments: [[1], [150], [50, 250, 450]])
        func whatAServersCrashInterruptsGoesOnWhenItIsBack(crashesAfter points: [Int]) async throws {
            try await withPrivateDatabase { server in
                try await EngineFixture.with { fixture in
                    let log = AttemptLog()
                    let runner = try fixture.runner(EngineFixture.chain(log))
                    let ids = try await fixture.enqueue(200, "chain", by: runner)
                    try await fixture.serving(runner) {
                        for point in points {
                            await log.reached(point)
                            try await server.stopImmediately()
                            try await server.startAgain()
                        }
                        try await PipelineAudit.waitForEnds(200, in: fixture.schema)
                    }
                    try await PipelineAudit.check(ids, in: fixture.schema, tasks: 3)
                    try await PipelineAudit.check(log, in: fixture.schema)
                }
            }
        }

        /// Patience is for who calls: what tasks came to is stored when the server is back, and none of them runs again.
        @Test func whatTasksCameToIsStoredWhenTheServerIsBackWithoutPatienceToo() async throws {
            try await withPrivateDatabase { server in
                try await EngineFixture.with { fixture in
                    let log = AttemptLog()
                    var configuration = EngineFixture.configuration
                    configuration.databasePatience = .zero
                    let store = WatchedStore(fixture.store)
                    let runner = try fixture.runner(
                        EngineFixture.chain(log), store: store, configuration: configuration)
                    let sender = try fixture.runner(EngineFixture.chain(log))
                    let ids = try await fixture.enqueue(200, "chain", by: sender)
                    try await fixture.serving(runner) {
                        await log.reached(100)
                        try await server.stopImmediately()
                        while store.failed(.apply) < 1 { await Task.yield() }
                        try await server.startAgain()
                        try await PipelineAudit.waitForEnds(200, in: fixture.schema)
                    }
                    #expect(log.entries.count == 600)
                    try await PipelineAudit.check(ids, in: fixture.schema, tasks: 3)
                    try await PipelineAudit.check(log, in: fixture.schema)
                }
            }
        }
    }
}
