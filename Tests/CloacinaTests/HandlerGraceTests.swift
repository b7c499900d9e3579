import FoundationEssentials
import TestSupport
import Testing

@testable import Cloacina

/// Handlers that never return hold nobody up.
@Suite(.timeLimit(.minutes(5))) struct HandlerGraceTests {
    private struct Broken: Error {}

    /// A handler that only a test lets go on; counts whether it has begun and whether it was cancelled.
    private final class Handler: Sendable {
        let begun = Tally()
        let cancelled = Tally()
        let mayEnd = Tally()

        func handle() async {
            await withTaskCancellationHandler {
                self.begun.add()
                await self.mayEnd.reached(1)
            } onCancel: {
                self.cancelled.add()
            }
        }

        /// A workflow whose first task calls it, and another task behind that.
        func workflow(failing: Bool = false) throws -> Workflow {
            try Workflow("w") {
                WorkflowTask(
                    "t", onSuccess: { _, _ in await self.handle() }, onFailure: { _, _ in await self.handle() }
                ) { _ in if failing { throw Broken() } }
                WorkflowTask("u", after: "t") { _ in }
            }
        }
    }

    private let clock = HandClock()
    private let handler = Handler()
    private let store = InMemoryWorkflowStore()

    @Test(arguments: [false, true]) func theyAreCancelledAfterTheGrace(failing: Bool) async throws {
        let runner = try self.clock.runner(self.handler.workflow(failing: failing), store: self.store)
        let ended = Tally()
        self.clock.begin {
            _ = try await runner.execute("w")
            ended.add()
        }
        await self.clock.settle()
        #expect(try await runner.list().map(\.status) == [failing ? .failed : .completed])
        #expect(self.handler.begun.count == 1 && runner.activePipelines == 0)
        await self.clock.advance(by: runner.configuration.cancellationGrace - .seconds(1))
        #expect(self.handler.cancelled.count == 0 && ended.count == 0)
        await self.clock.advance(by: .seconds(1))
        #expect(self.handler.cancelled.count == 1 && ended.count == 1)
        self.handler.mayEnd.add()
    }

    @Test func theyTakeUpNoPlace() async throws {
        let runner = try self.clock.runner(self.handler.workflow(), store: self.store) {
            $0.maximumQueuedPipelines = 1
        }
        for _ in 0..<3 { try await runner.enqueue("w") }
        await runner.serveOnce()
        await self.clock.settle()
        #expect(self.handler.begun.count == 3)
        #expect(try await runner.list(PipelineQuery(statuses: [.completed])).count == 3)
        self.handler.mayEnd.add()
    }

    @Test func theyDoNotHoldUpAShutdown() async throws {
        let runner = try self.clock.runner(self.handler.workflow(), store: self.store)
        _ = try await runner.executeAsync("w")
        let ended = Tally()
        self.clock.begin {
            await runner.shutDown(drain: .zero)
            ended.add()
        }
        await self.clock.advance(by: runner.configuration.cancellationGrace)
        #expect(self.handler.begun.count == 1 && ended.count == 1)
        self.handler.mayEnd.add()
    }

    /// The pipeline stands still, and nobody reads its run's mail any more.
    @Test func aCancelIsHeardWhileTheyRun() async throws {
        let mayEnd = Tally()
        let workflow = try Workflow("w") {
            WorkflowTask("t", onSuccess: { _, _ in await self.handler.handle() }) { _ in await mayEnd.reached(1) }
            WorkflowTask("u", after: "t") { _ in Issue.record("it began") }
        }
        let runner = try self.clock.runner(workflow, store: self.store)
        let execution = try await runner.executeAsync("w")
        await self.clock.settle()
        try await execution.pause()
        mayEnd.add()
        await self.clock.settle()
        #expect(self.handler.begun.count == 1)
        #expect(try await execution.status() == .paused)
        try await execution.cancel()
        #expect(try await execution.status() == .cancelled)
        self.handler.mayEnd.add()
    }
}
