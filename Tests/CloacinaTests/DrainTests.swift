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
        let id = try await runner.enqueue("w").id
        let group = RunnerGroup([runner], drain: Self.drain)
        let services = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [.init(service: group)], logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }))
        async let running: Void = services.run()
        await subject.begun.reached(1)
        await services.triggerGracefulShutdown()
        await subject.clock.waits.reached(1)
        // What is put into the queue now waits for another runner.
        let late = try await runner.enqueue("w").id
        await runner.ring()
        subject.mayEnd.add()
        try await running
        #expect(try await subject.store.load(late)?.status == .queued)
        #expect(runner.activePipelines == 0)
        try await subject.check(
            id, [.pipelineQueued, .pipelineStarted, .taskCompleted, .pipelineReleased], by: runner)
    }

    // MARK: By default

    /// A clock in a test's hand that tells when somebody begins to wait for a certain while.
    private struct SignallingClock: EngineClock {
        let clock = HandClock()
        let watched: Duration
        let waits = Tally()

        var executor: (any TaskExecutor)? { self.clock.executor }

        func now() -> Date { self.clock.now() }

        func sleep(for duration: Duration) async throws {
            if duration == self.watched { self.waits.add() }
            try await self.clock.sleep(for: duration)
        }

        func random() -> UInt64 { self.clock.random() }
    }

    private static func services(_ group: RunnerGroup, limit: Duration? = nil) -> ServiceGroup {
        var configuration = ServiceGroupConfiguration(
            services: [.init(service: group)], logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        configuration.maximumGracefulShutdownDuration = limit
        return ServiceGroup(configuration: configuration)
    }

    /// Most supervisors kill a process 30 s after they have asked it to stop.
    @Test(arguments: [false, true]) func aDefaultShutdownTakesLessThanThirtySeconds(isService: Bool) async throws {
        let clock = SignallingClock(watched: .seconds(15))
        let (begun, mayEnd) = (Tally(), Tally())
        let store = InMemoryWorkflowStore()
        let workflow = try Workflow("w") {
            WorkflowTask("deaf") { _ in
                begun.add()
                await mayEnd.reached(1)
            }
        }
        let runner = try DefaultRunner(store: store, workflows: [workflow], clock: clock)
        let services = Self.services(RunnerGroup([runner]))
        let id = try await runner.enqueue("w").id
        let running = Task {
            if isService {
                try await services.run()
            } else {
                await runner.serveOnce()
                await begun.reached(1)
                await runner.shutDown()
            }
        }
        await begun.reached(1)
        if isService { await services.triggerGracefulShutdown() }
        await clock.waits.reached(1)
        await clock.clock.advance(by: .milliseconds(29_999))
        // It never ends when that was not enough.
        try await running.value
        #expect(try await store.status(of: id) == .queued)
        #expect(try await store.beats(everyOwner: true).isEmpty)
        mayEnd.add()
    }

    /// A service group that waits for less time than the drain.
    @Test func aServiceGroupThatHasWaitedLongEnoughCutsTheDrain() async throws {
        let (clock, begun, mayEnd) = (HandClock(), Tally(), Tally())
        let store = InMemoryWorkflowStore()
        let workflow = try Workflow("w") {
            WorkflowTask("t") { _ in
                begun.add()
                await withTaskCancellationHandler {
                    await mayEnd.reached(1)
                } onCancel: {
                    mayEnd.add()
                }
                try Task.checkCancellation()
            }
        }
        let runner = try clock.runner(workflow, store: store)
        let services = Self.services(RunnerGroup([runner]), limit: .milliseconds(1))
        let id = try await runner.enqueue("w").id
        let running = Task { try await services.run() }
        await begun.reached(1)
        await services.triggerGracefulShutdown()
        // Nobody moves the clock, so the drain never ends by itself.
        _ = await running.result
        let stored = try #require(try await store.load(id))
        #expect(stored.status == .queued && stored.recoveries == 0)
        #expect(stored.events.suffix(2).map(\.kind) == [.taskInterrupted, .pipelineReleased])
    }
}
