import FoundationEssentials
import Logging
import ServiceLifecycle
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// A runner that is shut down in good order, with time enough for what runs.
@Suite(.timeLimit(.minutes(5))) struct DrainTests {
    private static let drain = Duration.seconds(3_600)

    /// A task that waits for a test, and one behind it; counts what began, and notes whether the first was cancelled.
    private final class Subject: Sendable {
        let begun = Tally()
        let mayEnd = Tally()
        let clock = WatchedClock(watching: drain)
        let store = InMemoryWorkflowStore()
        private let cancelled = Mutex(false)

        var wasCancelled: Bool { self.cancelled.withLock { $0 } }

        func workflow() throws -> Workflow {
            try Workflow("w") {
                WorkflowTask("a") { context in
                    self.begun.add()
                    await self.mayEnd.reached(1)
                    let isCancelled = Task.isCancelled
                    self.cancelled.withLock { $0 = isCancelled }
                    try context.set("a", to: 1)
                }
                WorkflowTask("b", after: "a") { context in
                    self.begun.add()
                    try context.set("b", to: context.get("a", as: Int.self) + 1)
                }
            }
        }

        func runner() throws -> DefaultRunner {
            try DefaultRunner(store: self.store, workflows: [self.workflow()], clock: self.clock)
        }

        /// Checks that the first task ended as it wanted to and nothing else began; then has another runner go on.
        func check(_ id: UUID, _ history: [PipelineEvent.Kind], by runner: DefaultRunner) async throws {
            #expect(!self.wasCancelled)
            #expect(self.begun.count == 1)
            let stored = try #require(try await self.store.load(id))
            #expect(stored.status == .queued && stored.owner == nil && stored.recoveries == 0)
            #expect(stored.events.map(\.kind) == history)
            #expect(stored.events.last?.worker == runner.id)
            #expect(try await self.store.beats(everyOwner: true).isEmpty)
            let next = try self.runner()
            await next.serveOnce()
            let result = try await next.result(of: id)
            #expect(result.status == .completed && result.finalContext.values == ["a": 1, "b": 2])
            #expect(result.tasks.map(\.attempt) == [1, 1])
        }
    }

    @Test func whatRunsEndsAndNothingNewBegins() async throws {
        let subject = Subject()
        let runner = try subject.runner()
        let execution = try await runner.executeAsync("w")
        await subject.begun.reached(1)
        async let end: Void = runner.shutDown(drain: Self.drain)
        // By then everything that runs was told.
        await subject.clock.waits.reached(1)
        let refused = await #expect(throws: PipelineError.self) { try await runner.execute("w") }
        #expect(refused?.code == .released)
        subject.mayEnd.add()
        await end
        let told = await #expect(throws: PipelineError.self) { try await execution.result() }
        #expect(told?.code == .released)
        try await subject.check(execution.id, [.pipelineStarted, .taskCompleted, .pipelineReleased], by: runner)
    }

    @Test func aGroupInAServiceGroupDrains() async throws {
        let subject = Subject()
        let runner = try subject.runner()
        let id = try await runner.enqueue("w")
        let group = RunnerGroup([runner], drain: Self.drain)
        let services = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [.init(service: group)], logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }))
        async let running: Void = services.run()
        await subject.begun.reached(1)
        await services.triggerGracefulShutdown()
        await subject.clock.waits.reached(1)
        // What is put into the queue now waits for another runner.
        let late = try await runner.enqueue("w")
        await runner.ring()
        subject.mayEnd.add()
        try await running
        #expect(try await subject.store.load(late)?.status == .queued)
        #expect(runner.activePipelines == 0)
        try await subject.check(
            id, [.pipelineQueued, .pipelineStarted, .taskCompleted, .pipelineReleased], by: runner)
    }
}
