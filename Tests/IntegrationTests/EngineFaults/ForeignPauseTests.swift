import FoundationEssentials
import TestSupport
import Testing

@testable import Cloacina

extension ServerTests {
    /// What another runner asks of a pipeline that runs is heard by the runner that has it.
    @Suite(.timeLimit(.minutes(40))) struct ForeignPauseTests {
        private static func workflow(_ begun: Tally, _ mayEnd: Tally) throws -> Workflow {
            try Workflow("w") {
                WorkflowTask("a") { context in
                    begun.add()
                    await mayEnd.reached(1)
                    try context.set("a", to: 1)
                }
                WorkflowTask("b", after: "a") { context in
                    begun.add()
                    try context.set("b", to: 2)
                }
            }
        }

        /// Lends the owner of a pipeline whose first task runs, another runner, and the owner's heartbeats.
        private static func withTwo(
            _ fixture: EngineFixture, _ workflow: Workflow, begun: Tally,
            _ body: (PipelineExecution, DefaultRunner, Tally) async throws -> Void
        ) async throws {
            let beats = Tally()
            let watched = WatchedStore(fixture.store) { _, _ throws(PipelineError) in
            } after: { call, _ throws(PipelineError) in
                if call == .beat { beats.add() }
            }
            var configuration = EngineFixture.configuration
            configuration.heartbeatInterval = .milliseconds(5)
            let owner = try fixture.runner(workflow, store: watched, configuration: configuration)
            let other = try fixture.runner(workflow)
            let execution = try await owner.executeAsync("w")
            await begun.reached(1)
            try await body(execution, other, beats)
            await owner.shutDown(drain: .zero)
        }

        @Test func aPauseIsHeardBeforeTheNextTask() async throws {
            try await EngineFixture.with { fixture in
                let (begun, mayEnd) = (Tally(), Tally())
                let workflow = try Self.workflow(begun, mayEnd)
                try await Self.withTwo(fixture, workflow, begun: begun) { execution, other, beats in
                    try await other.pause(execution.id)
                    // The second heartbeat from now on has read it, the third has begun when the second was acted upon.
                    await beats.reached(beats.count + 3)
                    mayEnd.add()
                    _ = await execution.waitHere()
                    #expect(try await other.status(of: execution.id) == .paused)
                    #expect(begun.count == 1)
                    let seen = try await other.snapshot(of: execution.id)
                    #expect(seen.tasks.map(\.status) == [.completed, .ready] && seen.finalContext.values == ["a": 1])
                    // Nobody takes what is paused.
                    try await fixture.serving(other) {
                        let next = try await other.enqueue("w").id
                        #expect(try await other.result(of: next).status == .completed)
                        #expect(try await other.status(of: execution.id) == .paused)
                        try await other.resume(execution.id)
                        let result = try await other.result(of: execution.id)
                        #expect(result.status == .completed && result.finalContext.values == ["a": 1, "b": 2])
                        #expect(result.tasks.map(\.attempt) == [1, 1])
                    }
                    let kinds = try await other.history(of: execution.id).map(\.kind)
                    #expect(
                        kinds == [
                            .pipelineStarted, .taskCompleted, .pipelinePaused, .pipelineResumed, .pipelineStarted,
                            .taskCompleted, .pipelineCompleted,
                        ])
                }
            }
        }

        @Test func whoeverAskedLastIsHeard() async throws {
            try await EngineFixture.with { fixture in
                let (begun, mayEnd) = (Tally(), Tally())
                let workflow = try Self.workflow(begun, mayEnd)
                try await Self.withTwo(fixture, workflow, begun: begun) { execution, other, _ in
                    try await other.pause(execution.id)
                    try await other.cancel(execution.id)
                    // Its task is deaf to that, and is not waited for.
                    let result = try await execution.result()
                    #expect(result.status == .cancelled)
                    #expect(result.tasks.map(\.status) == [.failed, .skipped])
                    mayEnd.add()
                    #expect(begun.count == 1)
                }
            }
        }
    }
}
