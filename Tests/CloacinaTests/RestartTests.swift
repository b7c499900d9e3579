import EngineTestSupport
import FoundationEssentials
import Synchronization
import Testing

@testable import Cloacina

/// A pipeline that is begun anew while somebody claims it (S21).
@Suite(.timeLimit(.minutes(2))) struct RestartTests {
    @Test func aRestartThatCrossesAClaimLeavesTheRunAlone() async throws {
        let (clock, shared) = (HandClock(), InMemoryWorkflowStore())
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
        let new = NewPipeline(workflow, at: clock.date(0))
        _ = try await shared.create([new])
        let other = UUID()
        let store = HookedStore(
            shared,
            before: { call throws(PipelineError) in
                // Just when the restart would cancel what it read.
                guard call == .apply else { return }
                let claim = QueueClaim(runner: other, workflows: ["w": new.version], limit: 1, at: clock.date(1))
                _ = try await shared.claim(claim)
            })
        let runner = try clock.runner(workflow, store: store)
        let error = await #expect(throws: PipelineError.self) { try await runner.restart(new.id) }
        #expect(error?.code == .notPossible)
        let stored = try #require(try await shared.load(new.id))
        #expect(stored.status == .running && stored.owner == other && stored.request == nil)
        #expect(try await shared.list(PipelineQuery()).count == 1)
    }
}
