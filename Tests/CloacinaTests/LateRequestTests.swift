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
}
