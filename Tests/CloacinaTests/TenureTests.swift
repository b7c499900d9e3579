import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// A runner that has a pipeline twice, one time after the other: the second time is another matter.
@Suite(.timeLimit(.minutes(5))) struct TenureTests {
    private let clock = HandClock()
    private let shared = InMemoryWorkflowStore()

    private func stored(_ id: UUID) async throws -> StoredPipeline { try #require(try await self.shared.load(id)) }

    @Test func anEarlierRunDoesNotTakeTheLaterOnesPlace() async throws {
        let begun = Tally()
        let mayEnd = [Tally(), Tally()]
        let workflow = try Workflow("w") {
            WorkflowTask("t") { _, scope in
                begun.add()
                await mayEnd[scope.attempt - 1].reached(1)
            }
        }
        let runner = try self.clock.runner(workflow, store: self.shared)
        let id = try await runner.enqueue("w")
        await runner.serveOnce()
        await self.clock.settle()
        // Somebody takes it for dead, and it is the one to go on with what it had.
        #expect(try await self.shared.recover(runner.id, beats: 1, by: UUID(), at: self.clock.now()) == 1)
        await runner.serveOnce()
        await self.clock.settle()
        try #require(begun.count == 2)
        mayEnd[0].add()
        await self.clock.advance(by: runner.configuration.heartbeatInterval)
        #expect(runner.activePipelines == 1)
        let stored = try await self.stored(id)
        #expect(stored.status == .running && stored.epoch == 3 && stored.owner == runner.id)
        mayEnd[1].add()
        await self.clock.settle()
        #expect(runner.activePipelines == 0)
        #expect(
            try await self.stored(id).events.map(\.kind) == [
                .pipelineQueued, .pipelineStarted, .pipelineRecovered, .pipelineStarted, .taskStarted, .taskCompleted,
                .pipelineCompleted,
            ])
    }

    /// The runner knows of a claim that it lost, and not yet of the one that it has: the answer is on its way.
    @Test func whatIsGivenBackIsNotALaterClaim() async throws {
        let mayLearn = Tally()
        let store = HookedStore(
            self.shared,
            after: { call throws(PipelineError) in if call == .claim { await mayLearn.reached(1) } })
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
        let runner = try self.clock.runner(workflow, store: store)
        let new = NewPipeline(workflow, owner: runner.id, at: self.clock.now())
        _ = try await self.shared.create([new])
        _ = try await self.shared.recover(runner.id, beats: 0, by: UUID(), at: self.clock.now())
        await runner.serveOnce()
        await self.clock.settle()
        #expect(try await self.stored(new.id).epoch == 3)
        runner.setAdrift(new.id, DefaultRunner.Adrift(epoch: 1))
        await self.clock.settle()
        #expect(runner.state.withLock { $0.adrift.isEmpty })
        #expect(try await self.stored(new.id).status == .running)
        mayLearn.add()
        await self.clock.settle()
        let stored = try await self.stored(new.id)
        #expect(stored.status == .completed && stored.epoch == 3)
    }
}
