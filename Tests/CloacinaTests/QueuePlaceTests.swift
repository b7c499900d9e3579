import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// What goes back to the queue waits where it would have, had it never been claimed.
@Suite(.timeLimit(.minutes(5))) final class QueuePlaceTests: Sendable {
    enum Way: CaseIterable, Sendable { case released, resumed, givenBack, recovered }

    private let clock = HandClock()
    private let shared = InMemoryWorkflowStore()
    private let mayEnd = Tally()
    private let isFailing = Mutex(false)
    private let order = Mutex<[String]>([])

    private func workflow(_ name: String) throws -> Workflow {
        try Workflow(name) {
            WorkflowTask("t") { _ in await self.mayEnd.reached(1) }
            WorkflowTask("u", after: "t") { _, scope in self.order.withLock { $0.append(scope.workflow) } }
        }
    }

    private func runner(
        _ store: any WorkflowStore, _ change: (inout RunnerConfiguration) -> Void = { _ in }
    ) throws -> DefaultRunner {
        try self.clock.runner(self.workflow("early"), self.workflow("late"), store: store, change)
    }

    /// Has a pipeline that a runner began put back into the queue while its first task runs.
    private func putBack(_ execution: PipelineExecution, _ way: Way, by runner: DefaultRunner) async throws {
        switch way {
        case .released: self.clock.begin { await runner.shutDown() }
        case .resumed: try await execution.pause()
        case .givenBack: self.isFailing.withLock { $0 = true }
        case .recovered:
            _ = try await self.shared.recover(runner.id, beats: runner.beats, by: UUID(), at: self.clock.now())
        }
        await self.clock.settle()
        self.mayEnd.add()
        await self.clock.settle()
        if way == .resumed { try await execution.resume() }
        self.isFailing.withLock { $0 = false }
        await self.clock.advance(by: runner.configuration.heartbeatInterval)
    }

    @Test(arguments: Way.allCases) func whatHasBegunGoesBeforeWhatCameLater(way: Way) async throws {
        let store = HookedStore(
            self.shared,
            before: { call throws(PipelineError) in
                if call == .apply, self.isFailing.withLock({ $0 }) { throw HookedStore.fault }
            })
        let runner = try self.runner(store)
        let execution = try await runner.executeAsync("early")
        await self.clock.advance(by: .seconds(10))
        let next = try self.runner(self.shared) { $0.maximumQueuedPipelines = 1 }
        try await next.enqueue("late")
        await self.clock.advance(by: .seconds(10))
        try await self.putBack(execution, way, by: runner)
        let stored = try #require(try await self.shared.load(execution.id))
        #expect(stored.status == .queued && stored.dueAt == self.clock.date(0))
        await next.serveOnce()
        await self.clock.settle()
        #expect(self.order.withLock { $0 } == ["early", "late"])
    }

    /// One that was paused before it ever began waits since it was created.
    @Test func whatNeverBeganWaitsSinceItWasCreated() async throws {
        let runner = try self.runner(self.shared)
        let id = try await runner.enqueue("early").id
        try await runner.pause(id)
        await self.clock.advance(by: .seconds(10))
        try await runner.resume(id)
        #expect(try await self.shared.load(id)?.dueAt == self.clock.date(0))
    }

    /// And one that is not due yet when it is resumed, or long since, when it was due at first.
    @Test(arguments: [10, 7_200]) func whatNeverBeganKeepsItsDelay(seconds: Int) async throws {
        let runner = try self.runner(self.shared)
        let id = try await runner.enqueue("early", options: ExecutionOptions(delay: .seconds(3_600))).id
        try await runner.pause(id)
        await self.clock.advance(by: .seconds(seconds))
        try await runner.resume(id)
        let stored = try #require(try await self.shared.load(id))
        #expect(stored.status == .queued && stored.dueAt == self.clock.date(3_600))
    }

    /// It has nothing to do before its time, whoever has it.
    @Test func whatWaitsForARetryIsNotClaimedBefore() async throws {
        struct Broken: Error {}
        let workflow = try Workflow("w") {
            WorkflowTask("t", retry: .fixed(2, delay: .seconds(60))) { _ in throw Broken() }
        }
        let runner = try self.clock.runner(workflow, store: self.shared)
        let id = try await runner.executeAsync("w").id
        await self.clock.advance(by: .seconds(10))
        await runner.shutDown(drain: .zero)
        #expect(try await self.shared.load(id)?.dueAt == self.clock.date(60))
    }
}

extension DefaultRunner {
    /// The number that it said last.
    fileprivate var beats: Int { self.state.withLock { $0.beats } }
}
