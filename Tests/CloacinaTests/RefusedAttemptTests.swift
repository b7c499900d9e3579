import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// Attempts of which the database refused what they came to (S22).
@Suite(.timeLimit(.minutes(2))) struct RefusedAttemptTests {
    private static let refusal = PipelineError(
        .storageFailed, "on demand", underlying: PostgresError(.rejectedByServer, sqlState: "22P05"))

    /// Whoever counts on an attempt's number, such as for a key of another system's, must not be given it twice.
    @Test(arguments: [false, true]) func noAttemptsNumberIsGivenTwice(refusesLines: Bool) async throws {
        let (clock, shared) = (HandClock(), InMemoryWorkflowStore())
        let attempts = Mutex<[Int]>([])
        let writes = Tally()
        let store = HookedStore(
            shared,
            before: { call throws(PipelineError) in
                guard call == .apply else { return }
                writes.add()
                if writes.count <= (refusesLines ? 2 : 1) { throw Self.refusal }
            })
        let workflow = try Workflow("w") {
            WorkflowTask("a") { _, scope in attempts.withLock { $0.append(scope.attempt) } }
            WorkflowTask("b", after: "a") { _ in }
        }
        let runner = try clock.runner(workflow, store: store)
        let execution = try await runner.executeAsync("w")
        await clock.settle()
        let paused = try #require(try await shared.load(execution.id))
        #expect(paused.status == .paused)
        // Where those lines are refused too, the pipeline stands still all the same. What depends on the task has not begun.
        #expect(
            paused.events.map(\.kind)
                == (refusesLines
                    ? [.pipelineStarted, .pipelinePaused] : [.pipelineStarted, .taskInterrupted, .pipelinePaused]))
        #expect(paused.events.last?.reason == .refused)
        try await runner.resume(execution.id)
        await runner.serveOnce()
        await clock.settle()
        #expect(try await shared.load(execution.id)?.status == .completed)
        #expect(attempts.withLock { $0 } == (refusesLines ? [1, 1] : [1, 2]))
    }

    /// The attempt may commit itself just when the pipeline is paused: that line comes first, and still fits every version.
    @Test func anAttemptThatCommittedItselfMeanwhileHasCompleted() throws {
        let workflow = try Workflow("w") {
            WorkflowTask("a") { _ in }
            WorkflowTask("b", after: "a") { _ in }
        }
        let at = StoreConformance.at(1)
        var stored = StoredPipeline(NewPipeline(workflow, owner: UUID(), at: at))
        stored.events += [
            PipelineEvent(.taskCompleted, task: "a", attempt: 1, at: at, delta: ContextDelta()),
            PipelineEvent(.taskInterrupted, task: "a", attempt: 1, at: at, reason: .refused),
            PipelineEvent(.pipelinePaused, at: at, reason: .refused),
        ]
        let machine = PipelineStateMachine(
            workflow: workflow, input: Context(), worker: UUID(), resuming: stored, maximumRecoveries: 1, at: at)
        #expect(machine.misfit == nil)
        #expect(machine.tasks.map(\.state) == [.completed, .ready])
    }
}
