import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// What a runner is told to stop while it begins something, or while it stops already.
@Suite(.timeLimit(.minutes(5))) struct ShutdownTests {
    private struct Broken: Error {}

    private let clock = HandClock()
    private let shared = InMemoryWorkflowStore()

    private static func untouched() throws -> Workflow {
        try Workflow("w") { WorkflowTask("t") { _ in Issue.record("it began") } }
    }

    // MARK: Cancelled and interrupted

    @Test func whatWasCancelledAndIsInterruptedHasEnded() throws {
        var machine = PipelineStateMachine(workflow: try Self.untouched(), input: Context(), worker: UUID())
        let now = self.clock.now()
        _ = machine.begin(upTo: 1, at: now)
        for event in [PipelineStateMachine.Event.cancel(at: now), .release] { machine.receive(event) }
        machine.receive(
            .ended(position: 0, attempt: 1, outcome: .interrupted, startedAt: now, at: now, random: 0))
        let transition = machine.commit(at: now)
        #expect(transition?.events.map(\.kind) == [.pipelineCancelling, .taskFailed, .pipelineCancelled])
        #expect(transition?.status == .cancelled)
    }

    @Test func aShutdownEndsWhatWasCancelledBefore() async throws {
        let (mayEnd, ended) = (Tally(), Tally())
        let workflow = try Workflow("w") {
            WorkflowTask("t") { _ in
                await mayEnd.reached(1)
                throw Broken()
            }
        }
        let runner = try self.clock.runner(workflow, store: self.shared)
        let execution = try await runner.executeAsync("w")
        await self.clock.settle()
        try await execution.cancel()
        self.clock.begin {
            await runner.shutDown(drain: .seconds(1))
            ended.add()
        }
        await self.clock.advance(by: .seconds(1))
        mayEnd.add()
        await self.clock.settle()
        #expect(ended.count == 1)
        #expect(try await runner.history(of: execution.id).last?.kind == .pipelineCancelled)
    }

    // MARK: Children

    /// A child of what was cancelled is cancelled, whereas what is interrupted goes on elsewhere, and its children do.
    @Test(arguments: [false, true]) func aCancelDuringAShutdownReachesTheChildren(isInterrupted: Bool) async throws {
        let mayEnd = Tally()
        let ids = Mutex<[UUID]>([])
        let child = try Workflow("child") {
            WorkflowTask("t") { _, scope in
                ids.withLock { $0.append(scope.executionID) }
                await withTaskCancellationHandler {
                    await mayEnd.reached(1)
                } onCancel: {
                    mayEnd.add()
                }
                try Task.checkCancellation()
            }
        }
        let parent = try Workflow("parent") {
            WorkflowTask("p") { _, scope in _ = try await scope.execute("child") }
        }
        let runner = try self.clock.runner(child, parent, store: self.shared)
        let execution = try await runner.executeAsync("parent")
        await self.clock.settle()
        let id = try #require(ids.withLock { $0.first })
        let end = self.clock.begin { await runner.shutDown(drain: isInterrupted ? .zero : .seconds(30)) }
        await self.clock.settle()
        if !isInterrupted { try await execution.cancel() }
        // Its part is over once the child has been told.
        _ = await execution.waitHere()
        await self.clock.settle()
        let stored = try #require(try await self.shared.load(id))
        #expect(stored.status == (isInterrupted ? .queued : .cancelled))
        #expect(try await execution.status() == (isInterrupted ? .queued : .cancelled))
        mayEnd.add()
        try await end.value
    }

    // MARK: Before it began

    @Test(arguments: [
        (Mailbox.Mail.cancel, PipelineStatus.cancelled), (.pause, .paused), (.release, .queued), (.interrupt, .queued),
    ])
    func whatIsSaidBeforeARunBeginsKeepsTasksFromBeginning(mail: Mailbox.Mail, status: PipelineStatus) async throws {
        let workflow = try Self.untouched()
        let runner = try self.clock.runner(workflow, store: self.shared)
        let new = NewPipeline(workflow, owner: runner.id, at: self.clock.now())
        _ = try await self.shared.create([new])
        let mailbox = Mailbox()
        mailbox.post(mail)
        var run = PipelineRun(
            StoredPipeline(new), workflow: workflow, worker: runner.id, means: runner.means, mailbox: mailbox)
        _ = await run.run()
        #expect(try await self.shared.load(new.id)?.status == status)
    }

    @Test(arguments: [(PipelineRequest.cancel, PipelineStatus.cancelled), (.pause, .paused)])
    func whatWasAskedOfADeadRunnerKeepsTasksFromBeginning(request: PipelineRequest, status: PipelineStatus) async throws
    {
        let workflow = try Self.untouched()
        let (dead, now) = (UUID(), self.clock.now())
        let new = NewPipeline(workflow, owner: dead, at: now)
        _ = try await self.shared.create([new])
        try await self.shared.ask(request, of: new.id)
        _ = try await self.shared.recover(dead, beats: 0, by: UUID(), at: now)
        await (try self.clock.runner(workflow, store: self.shared)).serveOnce()
        await self.clock.settle()
        #expect(try await self.shared.load(new.id)?.status == status)
    }

    // MARK: Under way

    @Test(arguments: [HookedStore.Call.create, .claim])
    func aShutdownWaitsForWhatIsBeingBegun(call: HookedStore.Call) async throws {
        let (mayLearn, ended) = (Tally(), Tally())
        let store = HookedStore(
            self.shared, after: { made throws(PipelineError) in if made == call { await mayLearn.reached(1) } })
        let workflow = try Self.untouched()
        let runner = try self.clock.runner(workflow, store: store)
        if call == .create {
            self.clock.begin { try await runner.executeAsync("w") }
        } else {
            _ = try await self.shared.create([NewPipeline(workflow, at: self.clock.now())])
            await runner.serveOnce()
        }
        await self.clock.settle()
        #expect(try await runner.list().map(\.status) == [.running])
        self.clock.begin {
            await runner.shutDown(drain: .zero)
            ended.add()
        }
        await self.clock.settle()
        #expect(ended.count == 0)
        mayLearn.add()
        await self.clock.settle()
        #expect(ended.count == 1)
        #expect(try await runner.list().map(\.status) == [.queued])
        #expect(try await self.shared.beats(everyOwner: true).isEmpty)
    }

    @Test func aShutdownGivesBackWhatItClaimedWithoutLearningOfIt() async throws {
        let store = HookedStore(
            self.shared, after: { call throws(PipelineError) in if call == .claim { throw HookedStore.fault } })
        let workflow = try Self.untouched()
        let runner = try self.clock.runner(workflow, store: store)
        let id = try await runner.enqueue("w").id
        await runner.serveOnce()
        await self.clock.settle()
        #expect(try await runner.status(of: id) == .running)
        await runner.shutDown(drain: .zero)
        let stored = try #require(try await self.shared.load(id))
        #expect(stored.status == .queued && stored.owner == nil)
        #expect(stored.events.last?.reason == .claimLost)
        await self.clock.settle()
        #expect(try await self.shared.beats(everyOwner: true).isEmpty)
    }
}
