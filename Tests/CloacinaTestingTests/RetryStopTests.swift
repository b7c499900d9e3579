import Cloacina
import CloacinaTesting
import FoundationEssentials
import Testing

/// Stopping a task that waits for its next attempt.
@Suite(.timeLimit(.minutes(5))) struct RetryStopTests {
    private static func workflow() throws -> Workflow {
        try Workflow("w") {
            WorkflowTask("t", retry: .fixed(3, delay: .seconds(10))) { context, scope in
                if scope.attempt == 1 { throw Unreachable() }
                try context.set("attempt", to: scope.attempt)
            }
            WorkflowTask("u", after: "t") { _ in }
        }
    }

    /// A pipeline whose only task has failed once, by a clock that a test moves.
    private static func begin() async throws -> (TestRunner, PipelineExecution) {
        let runner = TestRunner(clock: TestClock(moving: .byHand))
        let execution = try await runner.start(try Self.workflow())
        #expect(runner.beginnings.map(\.attempt) == [1])
        #expect(try await runner.engine.snapshot(of: execution.id).task("t")?.status == .retrying)
        return (runner, execution)
    }

    /// Paused for shorter or longer than until the attempt is due, which then begins as soon as it may.
    @Test(arguments: [(0, 10), (4, 6), (10, 0), (3_600, 0)])
    func aPausedRetryStandsStillAndGoesOnWhenItIsDue(pause: Int, rest: Int) async throws {
        let (runner, execution) = try await Self.begin()
        try await execution.pause()
        await runner.clock.advance(by: .zero)
        #expect(try await execution.status() == .paused)
        await runner.clock.advance(by: .seconds(pause))
        #expect(runner.beginnings.count == 1)
        #expect(try await execution.status() == .paused)
        try await execution.resume()
        #expect(try await execution.status() == .queued)
        await runner.engine.serveOnce()
        await runner.clock.advance(by: .zero)
        if rest > 0 {
            #expect(try await execution.status() == .running)
            await runner.clock.advance(by: .seconds(rest) - .nanoseconds(1))
            #expect(runner.beginnings.count == 1)
            await runner.clock.advance(by: .nanoseconds(1))
        }
        let run = try await runner.end(of: execution)
        try run.result.expect(.completed).expectAttempts("t", 2).expectContext("attempt", equals: 2)
        try run.expectOrder("t", "t", "u")
        let seconds = run.beginnings.map { Int($0.at.timeIntervalSinceReferenceDate.rounded()) }
        #expect(seconds == [0, pause + rest, pause + rest])
        #expect(
            run.history.map(\.kind) == [
                .pipelineStarted, .taskRetrying, .pipelinePaused, .pipelineResumed, .pipelineStarted, .taskCompleted,
                .taskCompleted, .pipelineCompleted,
            ])
    }

    @Test func aCancelledRetryNeverBegins() async throws {
        let (runner, execution) = try await Self.begin()
        await runner.clock.advance(by: .seconds(9))
        try await execution.cancel()
        await runner.clock.advance(by: .zero)
        #expect(try await execution.status() == .cancelled)
        await runner.clock.advance(by: .seconds(3_600))
        let run = try await runner.end(of: execution)
        #expect(run.beginnings.map(\.attempt) == [1])
        try run.result.expect(.cancelled).expectAttempts("t", 1)
            .expectSkipped("t", because: "the pipeline was cancelled")
            .expectSkipped("u", because: "the pipeline was cancelled")
        #expect(run.result.duration == .seconds(9))
    }

    @Test func aRetryThatIsCancelledWhilePausedNeverBegins() async throws {
        let (runner, execution) = try await Self.begin()
        try await execution.pause()
        await runner.clock.advance(by: .seconds(20))
        try await execution.cancel()
        await runner.engine.serveOnce()
        await runner.clock.advance(by: .seconds(3_600))
        let run = try await runner.end(of: execution)
        #expect(run.beginnings.count == 1)
        try run.result.expect(.cancelled).expectSkipped("t", because: "the pipeline was cancelled")
        #expect(run.result.task("t")?.attempts.count == 1)
    }
}
