import CloacinaPostgres
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// A creation that the server commits after its caller was told that it failed: the pipeline is its runner's, which lives, so
/// nobody else would ever find it.
@Suite(.timeLimit(.minutes(2))) struct LateCreationTests {
    /// A store whose server has lost sight of who creates pipelines, and holds on to them.
    private final class LateStore: ForwardingWorkflowStore {
        let underlying: any WorkflowStore = InMemoryWorkflowStore()
        private let held = Mutex<[NewPipeline]>([])

        var ids: [UUID] { self.held.withLock { $0.map(\.id) } }

        func create(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [Creation] {
            self.held.withLock { $0 += pipelines }
            throw PipelineError(.storageFailed, "on demand", underlying: PostgresError(.connectionLost))
        }

        func commit() async throws { _ = try await self.underlying.create(self.held.withLock { $0 }) }
    }

    private let clock = HandClock()
    private let store = LateStore()

    /// A runner that has just been told that its creation failed.
    private func runner() async throws -> DefaultRunner {
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
        let runner = try self.clock.runner(workflow, store: self.store) { $0.databasePatience = .zero }
        let creating = self.clock.begin { try await runner.executeAsync("w").id }
        let error = await #expect(throws: PipelineError.self) { try await creating.value }
        #expect(error?.code == .storageFailed)
        await self.clock.settle()
        return runner
    }

    private func beats() async throws -> [UUID: Int] { try await self.store.underlying.beats(everyOwner: false) }

    /// It goes back into the queue, of which this runner takes it where it serves that; where nobody may, this runner drives it.
    @Test(arguments: [0, 1, 2], [false, true]) func whatIsCommittedLaterRuns(heartbeats: Int, serves: Bool) async throws
    {
        let runner = try await self.runner()
        if serves { await runner.serveOnce() }
        await self.clock.advance(by: runner.configuration.heartbeatInterval * heartbeats)
        let id = try #require(self.store.ids.first)
        try await self.store.commit()
        #expect(try await runner.status(of: id) == .running)
        await self.clock.advance(by: runner.configuration.heartbeatInterval * 2)
        let stored = try #require(try await self.store.underlying.load(id))
        #expect(stored.status == .completed)
        #expect(stored.events.contains { $0.kind == .pipelineRecovered } == serves)
    }

    /// It isn't waited for for ever, and the runner says no longer that it lives.
    @Test func whatNeverComesIsForgottenAfterALease() async throws {
        let runner = try await self.runner()
        #expect(try await self.beats().keys.elementsEqual([runner.id]))
        await self.clock.advance(by: runner.configuration.leaseDuration + runner.configuration.heartbeatInterval * 4)
        #expect(try await self.beats().isEmpty)
        #expect(runner.state.withLock { $0.isIdle })
    }
}
