import CloacinaPostgres
import FoundationEssentials
import Synchronization
import Testing

@testable import Cloacina

extension ServerTests {
    /// Answers of the database that one runner, alone on the queue, never gets.
    @Suite(.timeLimit(.minutes(40))) struct LostAnswerTests {
        /// Loses the answers of the first calls of a kind, though what was asked for is done.
        private func losing(_ call: WatchedStore.Call, first count: Int, _ store: any WorkflowStore) -> WatchedStore {
            WatchedStore(
                store,
                after: { answered, number throws(PipelineError) in
                    if answered == call, number <= count { throw WatchedStore.answerLost }
                })
        }

        /// Nobody else is there to find out that the runner has pipelines that it doesn't know of, and it lives.
        @Test(arguments: [1, 3]) func whatARunnerClaimedWithoutLearningOfItIsNotLost(lost: Int) async throws {
            try await EngineFixture.with { fixture in
                let log = AttemptLog()
                let store = self.losing(.claim, first: lost, fixture.store)
                var configuration = EngineFixture.configuration
                configuration.heartbeatInterval = .milliseconds(1)
                configuration.leaseDuration = .milliseconds(50)
                configuration.maximumQueuedPipelines = 4
                let runner = try fixture.runner(
                    EngineFixture.chain(log), store: store, configuration: configuration)
                let ids = try await fixture.enqueue(20, "chain", by: runner)
                for _ in 0..<1_000 {
                    await runner.serveOnce()
                    if try await runner.list(PipelineQuery(statuses: [.queued, .running])).isEmpty { break }
                }
                try await PipelineAudit.check(ids, in: fixture.schema, tasks: 3)
                try await PipelineAudit.check(log, in: fixture.schema)
                await runner.shutDown()
            }
        }

        /// The second try finds the pipeline there; it has to be called for all the same, and not left to the next sweep.
        @Test func whatWasEnqueuedWithoutLearningOfItIsCalledFor() async throws {
            try await EngineFixture.with { fixture in
                let log = AttemptLog()
                let store = self.losing(.create, first: 1, fixture.store)
                let runner = try fixture.runner(EngineFixture.chain(log), store: store)
                await runner.serveOnce()
                while runner.state.withLock({ $0.isPumping }) { await Task.yield() }
                let id = try await runner.enqueue("chain").id
                let isLooking = runner.state.withLock { $0.isPumping }
                #expect(isLooking || store.answered(.claim) > 0, "nobody was called")
                await runner.serveOnce()
                try await PipelineAudit.waitForEnds(1, in: fixture.schema)
                try await PipelineAudit.check([id], in: fixture.schema, tasks: 3)
                await runner.shutDown()
            }
        }

        @Test(arguments: [WatchedStore.Call.apply, .beat, .create], [1, 5])
        func whatWasWrittenWithoutLearningOfItIsNotWrittenTwice(call: WatchedStore.Call, lost: Int) async throws {
            try await EngineFixture.with { fixture in
                let log = AttemptLog()
                let store = self.losing(call, first: lost, fixture.store)
                let runner = try fixture.runner(EngineFixture.chain(log), store: store)
                let ids = try await fixture.serving(runner) {
                    async let queued = fixture.enqueue(10, "chain", by: runner)
                    async let direct = runner.execute("chain").id
                    let ids = try await queued + [direct]
                    try await PipelineAudit.waitForEnds(11, in: fixture.schema)
                    return ids
                }
                try await PipelineAudit.check(ids, in: fixture.schema, tasks: 3)
                try await PipelineAudit.check(log, in: fixture.schema)
            }
        }
    }
}
