import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// What is asked of a pipeline just as its runner is done with it, and what is taken back.
@Suite(.timeLimit(.minutes(5))) struct LateRequestTests {
    private let clock = HandClock()
    private let shared = InMemoryWorkflowStore()
    private let begun = Tally()
    private let mayEnd = Tally()

    /// A task that waits for the test, and one behind it.
    private func workflow() throws -> Workflow {
        try Workflow("w") {
            WorkflowTask("t") { _ in
                self.begun.add()
                await self.mayEnd.reached(1)
            }
            WorkflowTask("u", after: "t") { _ in }
        }
    }

    private func ask(_ request: PipelineRequest, of id: UUID, by runner: DefaultRunner) async throws {
        switch request {
        case .cancel: try await runner.cancel(id)
        case .pause: try await runner.pause(id)
        case .resume: try await runner.resume(id)
        }
    }

    /// Asked while the last write is on its way: nothing takes back a cancel, and a pause is taken back.
    @Test(arguments: [
        ([PipelineRequest.cancel], PipelineStatus.cancelled), ([.pause], .paused), ([.pause, .resume], .queued),
        ([.pause, .cancel], .cancelled), ([.cancel, .pause], .cancelled), ([.cancel, .resume], .cancelled),
    ])
    func whatCameTooLateForARunIsPassedOn(requests: [PipelineRequest], status: PipelineStatus) async throws {
        let mayWrite = Tally()
        let store = HookedStore(
            self.shared, before: { call throws(PipelineError) in if call == .apply { await mayWrite.reached(1) } })
        let runner = try self.clock.runner(self.workflow(), store: store)
        let execution = try await runner.executeAsync("w")
        await self.clock.settle()
        let end = self.clock.begin { await runner.shutDown() }
        await self.clock.settle()
        self.mayEnd.add()
        await self.clock.settle()
        for request in requests { try await self.ask(request, of: execution.id, by: runner) }
        mayWrite.add()
        try await end.value
        #expect(try await runner.status(of: execution.id) == status)
    }

    /// A runner wrote that a pipeline stands still and died, before it could see to what it was asked meanwhile.
    @Test(arguments: [
        ([PipelineRequest.resume], [], PipelineStatus.completed), ([.cancel], [], .cancelled),
        ([.resume], [PipelineRequest.pause], .paused), ([.resume], [.pause, .resume], .completed),
        ([.resume], [.cancel], .cancelled), ([.cancel], [.pause], .cancelled), ([], [], .paused),
    ])
    func whatADeadRunnerWasAskedASweepCarriesOut(
        asked: [PipelineRequest], since: [PipelineRequest], status: PipelineStatus
    ) async throws {
        self.mayEnd.add()
        let workflow = try self.workflow()
        let new = NewPipeline(workflow, owner: UUID(), at: self.clock.now())
        _ = try await self.shared.create([new])
        for request in asked { try await self.shared.ask(request, of: new.id) }
        var transition = PipelineTransition(expectedRevision: 1)
        transition.status = .paused
        transition.events = [PipelineEvent(.pipelinePaused, worker: new.owner, at: self.clock.now())]
        let change = PipelineChange(id: new.id, epoch: 1, at: self.clock.now(), transition: transition)
        #expect(try await self.shared.apply([change]) == [.applied(asked.last)])
        let runner = try self.clock.runner(workflow, store: self.shared)
        for request in since { try await self.ask(request, of: new.id, by: runner) }
        await runner.serveOnce()
        await self.clock.settle()
        #expect(try await runner.status(of: new.id) == status)
    }

    /// A store that can't write anything of one pipeline.
    private final class DeafStore: ForwardingWorkflowStore {
        let underlying: any WorkflowStore
        private let stuck: UUID

        init(_ store: any WorkflowStore, stuck: UUID) {
            self.underlying = store
            self.stuck = stuck
        }

        func apply(_ changes: [PipelineChange]) async throws(PipelineError) -> [StoreOutcome] {
            if changes.contains(where: { $0.id == self.stuck }) { throw HookedStore.fault }
            return try await self.underlying.apply(changes)
        }
    }

    /// What stands still and can't be told stops nobody.
    @Test func whatCannotBeCarriedOutStopsNothing() async throws {
        self.mayEnd.add()
        let workflow = try self.workflow()
        let stuck = NewPipeline(workflow, owner: UUID(), at: self.clock.now())
        _ = try await self.shared.create([stuck])
        try await self.shared.ask(.resume, of: stuck.id)
        var transition = PipelineTransition(expectedRevision: 1)
        transition.status = .paused
        _ = try await self.shared.apply([
            PipelineChange(id: stuck.id, epoch: 1, at: self.clock.now(), transition: transition)
        ])
        let runner = try self.clock.runner(workflow, store: DeafStore(self.shared, stuck: stuck.id))
        let due = try await runner.enqueue("w").id
        await runner.serveOnce()
        await self.clock.settle()
        #expect(try await runner.status(of: due) == .completed)
        #expect(try await runner.status(of: stuck.id) == .paused)
    }

    /// The runner can't go on with it, and what it was asked is stored nowhere.
    @Test(arguments: [(PipelineRequest.cancel, PipelineStatus.cancelled), (.pause, .paused)])
    func whatABrokenRunWasAskedTheNextOneIs(request: PipelineRequest, status: PipelineStatus) async throws {
        let isFailing = Mutex(true)
        let store = HookedStore(
            self.shared,
            before: { call throws(PipelineError) in
                if call == .apply, isFailing.withLock({ $0 }) { throw HookedStore.fault }
            })
        let runner = try self.clock.runner(self.workflow(), store: store)
        let execution = try await runner.executeAsync("w")
        await self.clock.settle()
        try await self.ask(request, of: execution.id, by: runner)
        await self.clock.settle()
        self.mayEnd.add()
        await self.clock.settle()
        try #require(runner.activePipelines == 0)
        isFailing.withLock { $0 = false }
        await self.clock.advance(by: runner.configuration.heartbeatInterval)
        let stored = try #require(try await self.shared.load(execution.id))
        #expect(stored.status == .queued && stored.request == request)
        let next = try self.clock.runner(self.workflow(), store: self.shared)
        await next.serveOnce()
        await self.clock.settle()
        #expect(try await next.status(of: execution.id) == status)
        #expect(self.begun.count == 1)
    }

    /// By the runner that has it, or by another one, whom it hears with its heartbeats.
    @Test(arguments: [false, true]) func aPauseIsTakenBackWhileTasksRun(byAnother: Bool) async throws {
        let runner = try self.clock.runner(self.workflow(), store: self.shared)
        let other = try self.clock.runner(self.workflow(), store: self.shared)
        let execution = try await runner.executeAsync("w")
        await self.clock.settle()
        for request in [PipelineRequest.pause, .resume] {
            try await self.ask(request, of: execution.id, by: byAnother ? other : runner)
            await self.clock.advance(by: runner.configuration.heartbeatInterval)
        }
        self.mayEnd.add()
        await self.clock.settle()
        #expect(
            try await runner.history(of: execution.id).map(\.kind) == [
                .pipelineStarted, .taskCompleted, .taskCompleted, .pipelineCompleted,
            ])
    }

    /// Going back to the queue would begin it again.
    @Test(arguments: [false, true]) func aShutdownLeavesStandingWhatIsToStandStill(isTakenBack: Bool) async throws {
        let runner = try self.clock.runner(self.workflow(), store: self.shared)
        let execution = try await runner.executeAsync("w")
        await self.clock.settle()
        try await execution.pause()
        if isTakenBack { try await execution.resume() }
        await self.clock.settle()
        let end = self.clock.begin { await runner.shutDown() }
        await self.clock.settle()
        self.mayEnd.add()
        try await end.value
        #expect(try await runner.status(of: execution.id) == (isTakenBack ? .queued : .paused))
    }

    // MARK: What is stored

    /// It stays there while the pipeline runs, and every heartbeat and every write reads it again.
    @Test func aStoredRequestCountsOnce() async throws {
        let runner = try self.clock.runner(self.workflow(), store: self.shared)
        let execution = try await runner.executeAsync("w")
        await self.clock.settle()
        try await execution.resume()
        try await execution.pause()
        for _ in 0..<3 { await self.clock.advance(by: runner.configuration.heartbeatInterval) }
        self.mayEnd.add()
        await self.clock.settle()
        #expect(try await self.kinds(of: execution.id) == [.pipelineStarted, .taskCompleted, .pipelinePaused])
    }

    /// What another runner asks is what is stored already, and yet it is news.
    @Test func aResumeAfterALaterPauseIsHeard() async throws {
        let runner = try self.clock.runner(self.workflow(), store: self.shared)
        let other = try self.clock.runner(self.workflow(), store: self.shared)
        let execution = try await runner.executeAsync("w")
        await self.clock.settle()
        for (request, asking) in [(PipelineRequest.resume, runner), (.pause, runner), (.resume, other)] {
            try await self.ask(request, of: execution.id, by: asking)
            await self.clock.advance(by: runner.configuration.heartbeatInterval)
        }
        self.mayEnd.add()
        await self.clock.settle()
        #expect(try await runner.status(of: execution.id) == .completed)
    }

    /// Of another runner, which says what it wants by way of the store: each time anew.
    @Test(arguments: 1...4) func eachChangeOfMindOfAnotherRunnerIsHeard(count: Int) async throws {
        let runner = try self.clock.runner(self.workflow(), store: self.shared)
        let other = try self.clock.runner(self.workflow(), store: self.shared)
        let execution = try await runner.executeAsync("w")
        await self.clock.settle()
        for request in [PipelineRequest.pause, .resume, .pause, .resume].prefix(count) {
            try await self.ask(request, of: execution.id, by: other)
            for _ in 0..<2 { await self.clock.advance(by: runner.configuration.heartbeatInterval) }
        }
        self.mayEnd.add()
        await self.clock.settle()
        #expect(try await runner.status(of: execution.id) == (count.isMultiple(of: 2) ? .completed : .paused))
    }

    /// It has read what was asked before.
    @Test func aHeartbeatThatIsUnderWayDoesNotUndoAResume() async throws {
        let isHeld = Mutex(false)
        let mayAnswer = Tally()
        let store = HookedStore(
            self.shared,
            after: { call throws(PipelineError) in
                if call == .beat, isHeld.withLock({ $0 }) { await mayAnswer.reached(1) }
            })
        let runner = try self.clock.runner(self.workflow(), store: store)
        let other = try self.clock.runner(self.workflow(), store: self.shared)
        let execution = try await runner.executeAsync("w")
        await self.clock.settle()
        try await other.pause(execution.id)
        isHeld.withLock { $0 = true }
        await self.clock.advance(by: runner.configuration.heartbeatInterval)
        try await execution.resume()
        mayAnswer.add()
        await self.clock.settle()
        self.mayEnd.add()
        await self.clock.settle()
        #expect(try await runner.status(of: execution.id) == .completed)
    }

    // MARK: Shutting down

    /// Whoever asks last is heard, and nothing begins: neither while what runs is waited for, nor after that.
    @Test(
        arguments: [
            ([PipelineRequest.pause], [PipelineRequest.resume], PipelineStatus.queued), ([], [.pause], .paused),
            ([], [.pause, .resume], .queued), ([.pause], [.resume, .pause], .paused), ([], [.resume], .queued),
            ([.pause], [.cancel], .cancelled),
        ], [false, true])
    func whatIsAskedDuringAShutdownIsHeard(
        _ requests: ([PipelineRequest], [PipelineRequest], PipelineStatus), isInterrupted: Bool
    ) async throws {
        let (before, during, status) = requests
        let runner = try self.clock.runner(self.workflow(), store: self.shared)
        let execution = try await runner.executeAsync("w")
        await self.clock.settle()
        for request in before { try await self.ask(request, of: execution.id, by: runner) }
        let ended = Tally()
        self.clock.begin {
            await runner.shutDown(drain: isInterrupted ? .zero : .seconds(30))
            ended.add()
        }
        await self.clock.settle()
        for request in during { try await self.ask(request, of: execution.id, by: runner) }
        await self.clock.settle()
        if !isInterrupted { self.mayEnd.add() }
        await self.clock.advance(by: runner.configuration.cancellationGrace)
        #expect(ended.count == 1)
        #expect(try await runner.status(of: execution.id) == status)
        // The first task was given up, or came to its end; the second one did not begin.
        let stored = try await self.kinds(of: execution.id)
        #expect(stored.count { $0 == .taskCompleted } == (isInterrupted ? 0 : 1))
        self.mayEnd.add()
    }

    // MARK: While it is written that it stands still

    /// By the runner that writes it, or by another one.
    @Test(
        arguments: [
            ([PipelineRequest.resume], PipelineStatus.queued), ([.resume, .pause], .paused),
            ([.resume, .cancel], .cancelled), ([.cancel], .cancelled),
        ], [false, true])
    func whatIsAskedWhileAPauseIsWrittenIsHeard(
        _ requests: ([PipelineRequest], PipelineStatus), byAnother: Bool
    ) async throws {
        let mayWrite = Tally()
        let store = HookedStore(
            self.shared, before: { call throws(PipelineError) in if call == .apply { await mayWrite.reached(1) } })
        let runner = try self.clock.runner(self.workflow(), store: store)
        let other = try self.clock.runner(self.workflow(), store: self.shared)
        let execution = try await runner.executeAsync("w")
        await self.clock.settle()
        try await execution.pause()
        self.mayEnd.add()
        await self.clock.settle()
        for request in requests.0 { try await self.ask(request, of: execution.id, by: byAnother ? other : runner) }
        mayWrite.add()
        await self.clock.settle()
        #expect(try await runner.status(of: execution.id) == requests.1)
        let next = try self.clock.runner(self.workflow(), store: self.shared)
        await next.serveOnce()
        await self.clock.settle()
        #expect(try await runner.status(of: execution.id) == (requests.1 == .queued ? .completed : requests.1))
        #expect(self.begun.count == 1)
    }

    private func kinds(of id: UUID) async throws -> [PipelineEvent.Kind] {
        try #require(try await self.shared.load(id)).events.map(\.kind)
    }
}
