import CloacinaPostgres
import Dispatch
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// Where two of the engine's promises meet.
@Suite(.timeLimit(.minutes(5))) struct CrossedFeatureTests {
    private let clock = HandClock()
    private let store = InMemoryWorkflowStore()
    private let begun = Tally()
    private let mayEnd = Tally()

    /// Takes a pipeline from its runner, as a rescuer does, and leaves its children alone.
    private func takeAway(_ id: UUID) async throws {
        let stored = try #require(try await self.store.load(id))
        var transition = PipelineTransition(expectedRevision: stored.revision)
        transition.status = .queued
        transition.dueAt = self.clock.now()
        transition.events = [PipelineEvent(.pipelineRecovered, at: self.clock.now(), reason: .runnerDied)]
        let change = PipelineChange(id: id, epoch: stored.epoch, at: self.clock.now(), transition: transition)
        #expect(try await self.store.apply([change]) == [.applied(nil)])
    }

    /// A lost claim × a child: the next owner's task waits for the child, so the last owner must not cancel it.
    @Test func aChildOutlivesTheClaimThatItsParentsRunnerLost() async throws {
        let child = try Workflow("child") {
            WorkflowTask("t") { _ in
                self.begun.add()
                await self.mayEnd.reached(1)
            }
        }
        let parent = try Workflow("parent") {
            WorkflowTask("p") { _, scope in try await scope.execute("child").completed() }
        }
        let first = try self.clock.runner(parent, child, store: self.store)
        let other = try self.clock.runner(parent, child, store: self.store)
        let running = self.clock.begin { try await first.execute("parent") }
        await self.clock.settle()
        #expect(self.begun.count == 1)
        let id = try #require(try await self.store.list(PipelineQuery(workflow: "parent")).first).id
        try await self.takeAway(id)
        await other.serveOnce()
        await self.clock.settle()
        #expect(other.activePipelines == 1)
        await self.clock.advance(by: first.configuration.heartbeatInterval + .seconds(30))
        let error = await #expect(throws: PipelineError.self) { try await running.value }
        #expect(error?.code == .takenOver)
        self.mayEnd.add()
        await self.clock.advance(by: .seconds(2))
        #expect(try await self.store.load(id)?.status == .completed)
        let children = try await self.store.list(PipelineQuery(workflow: "child"))
        #expect(children.map(\.status) == [.completed])
        #expect(self.begun.count == 1)
    }

    /// A refusal × a cancel that comes while the pipeline is being paused for it.
    @Test func aCancelThatComesWhileARefusedPipelineIsPausedIsNotLost() async throws {
        let (writes, mayPause) = (Tally(), Tally())
        let store = HookedStore(
            self.store,
            before: { call throws(PipelineError) in
                guard call == .apply else { return }
                writes.add()
                switch writes.count {
                case 1:
                    throw PipelineError(
                        .storageFailed, "on demand", underlying: PostgresError(.rejectedByServer, sqlState: "22P05"))
                case 2: await mayPause.reached(1)
                default: break
                }
            })
        let workflow = try Workflow("w") {
            WorkflowTask("a") { _ in }
            WorkflowTask("b", after: "a") { _ in self.begun.add() }
        }
        let runner = try self.clock.runner(workflow, store: store)
        let execution = try await runner.executeAsync("w")
        await self.clock.settle()
        #expect(writes.count == 2)
        try await runner.cancel(execution.id)
        mayPause.add()
        await self.clock.settle()
        #expect(try await self.store.load(execution.id)?.status == .cancelled)
        #expect(self.begun.count == 0)
    }

    /// An own commit × a pipeline that is given back: what it was not seen to have is what pins it to its version.
    @Test func aPipelineIsNotUnbegunByOneWhoDidNotSeeItsTasksCommit() async throws {
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in } }
        let new = NewPipeline(workflow, owner: UUID(), at: self.clock.date(0))
        _ = try await self.store.create([new])
        let event = PipelineEvent(.taskCompleted, task: "a", attempt: 1, at: self.clock.date(1))
        #expect(self.store.commit(event, of: new.id, epoch: 1))
        var transition = PipelineTransition(expectedRevision: 1)
        transition.status = .queued
        transition.dueAt = self.clock.date(2)
        transition.foldsEverything = true
        transition.isUntouched = true
        transition.events = [PipelineEvent(.pipelineRecovered, at: self.clock.date(2), reason: .givenBack)]
        let change = PipelineChange(id: new.id, epoch: 1, at: self.clock.date(2), transition: transition)
        #expect(try await self.store.apply([change]) == [.applied(nil)])
        let stored = try #require(try await self.store.load(new.id))
        #expect(stored.startedAt != nil && stored.isTouched)
    }

    /// Another version × a skip: a task that was skipped and that the new version runs is not skipped without a word.
    @Test func aPipelineDoesNotGoOnWithAVersionThatWouldRunWhatItSkipped() async throws {
        func workflow(_ rule: TriggerRule?) throws -> Workflow {
            try Workflow("w") {
                WorkflowTask("charge") { _ in }
                WorkflowTask("refund", after: "charge", triggerRule: rule) { _ in self.begun.add() }
                WorkflowTask("report") { _ in }
            }
        }
        let old = try workflow(nil)
        let new = NewPipeline(old, owner: UUID(), at: self.clock.date(0))
        _ = try await self.store.create([new])
        var transition = PipelineTransition(expectedRevision: 1)
        transition.status = .queued
        transition.dueAt = self.clock.date(0)
        transition.events = [
            PipelineEvent(.taskFailed, task: "charge", attempt: 1, at: self.clock.date(0), detail: "no"),
            PipelineEvent(
                .taskSkipped, task: "refund", at: self.clock.date(0), reason: .dependencyFailed,
                detail: "\"charge\" failed"),
            PipelineEvent(.pipelineReleased, at: self.clock.date(0)),
        ]
        let change = PipelineChange(id: new.id, epoch: 1, at: self.clock.date(0), transition: transition)
        #expect(try await self.store.apply([change]) == [.applied(nil)])
        let compensating = try self.clock.runner(workflow(.taskFailed("charge")), store: self.store)
        let error = await #expect(throws: PipelineError.self) {
            try await compensating.continueWithCurrentVersion(new.id)
        }
        #expect(error?.code == .versionMismatch)
        #expect(error?.message.contains("line 3 of its history (task skipped of \"refund\")") == true)
        // Where the rule does not hold either, the skip is the new version's too.
        let agreeing = try self.clock.runner(workflow(.taskSucceeded("charge")), store: self.store)
        try await agreeing.continueWithCurrentVersion(new.id)
        #expect(try await self.store.load(new.id)?.status == .queued)
    }

    /// A timeout × code that blocks: who is not waited for any more keeps no other task from running.
    @Test func bodiesThatBlockAfterTheirTimeoutHoldUpNoOtherTask() async throws {
        let gate = DispatchSemaphore(value: 0)
        let stuck = try Workflow("stuck") {
            WorkflowTask("t", timeout: .milliseconds(1)) { _ in
                self.begun.add()
                Self.block(gate)
            }
        }
        let quick = try Workflow("quick") { WorkflowTask("t") { _ in } }
        var configuration = RunnerConfiguration()
        configuration.maximumConcurrentTasks = 1
        let runner = try DefaultRunner(store: self.store, workflows: [stuck, quick], configuration: configuration)
        #expect(try await runner.execute("stuck").status == .failed)
        await self.begun.reached(1)
        #expect(try await runner.execute("quick").status == .completed)
        gate.signal()
    }

    private static func block(_ gate: DispatchSemaphore) { gate.wait() }

    /// A failover that lost the last commits × a claim: the counters are given again, and only one of the two runners has the
    /// pipeline.
    @Test func aClaimThatTheDatabaseHasForgottenWritesNothing() async throws {
        let (mayEndFirst, mayEndSecond) = (Tally(), Tally())
        let workflow = try Workflow("w") {
            WorkflowTask.numbering("a", self.begun, mayEnd: [mayEndFirst, mayEndSecond])
            WorkflowTask("b", after: "a") { _ in }
        }
        let new = NewPipeline(workflow, at: self.clock.now())
        _ = try await self.store.create([new])
        let first = try self.clock.runner(workflow, store: self.store)
        let other = try self.clock.runner(workflow, store: self.store)
        await first.serveOnce()
        await self.clock.settle()
        #expect(self.begun.count == 1)
        // The promoted standby has the pipeline as it was before the claim: queued, revision 1, epoch 0.
        self.store.delete(new.id)
        _ = try await self.store.create([new])
        await other.serveOnce()
        await self.clock.settle()
        #expect(self.begun.count == 2)
        #expect(try await self.store.load(new.id)?.owner == other.id)
        mayEndFirst.add()
        await self.clock.settle()
        // Revision 2 and epoch 1 are what the first runner's claim had, too.
        let stored = try #require(try await self.store.load(new.id))
        #expect(!stored.events.contains { $0.kind == .taskCompleted })
        #expect(stored.status == .running && stored.owner == other.id)
        mayEndSecond.add()
        await self.clock.settle()
        #expect(try await other.result(of: new.id).finalContext["by"] == 2)
    }

    /// A lost claim × a cancel: who is told has lost the pipeline and does not know it yet.
    @Test func aCancelThatARunnerWithoutItsClaimIsToldIsNotLost() async throws {
        let workflow = try Workflow("w") {
            WorkflowTask("t") { _ in
                self.begun.add()
                await self.mayEnd.reached(1)
            }
        }
        let first = try self.clock.runner(workflow, store: self.store)
        let other = try self.clock.runner(workflow, store: self.store)
        let running = self.clock.begin { try await first.execute("w") }
        await self.clock.settle()
        let id = try #require(try await self.store.list(PipelineQuery()).first).id
        try await self.takeAway(id)
        await other.serveOnce()
        await self.clock.settle()
        #expect(other.activePipelines == 1 && first.activePipelines == 1)
        // Returns without an error.
        try await first.cancel(id)
        await self.clock.advance(by: .seconds(60))
        #expect(try await self.store.load(id)?.status == .cancelled)
        self.mayEnd.add()
        await self.clock.settle()
        _ = await running.result
    }

    /// Priority × children: what an urgent task waits for is as urgent.
    @Test func aChildIsAsUrgentAsItsParent() async throws {
        let order = Mutex<[String]>([])
        let mayBegin = Tally()
        let parent = try Workflow("parent") {
            WorkflowTask("p") { _, scope in
                await mayBegin.reached(1)
                try await scope.execute("child").completed()
            }
        }
        let child = try Workflow("child") { WorkflowTask("t") { _ in order.withLock { $0.append("child") } } }
        let busy = try Workflow("busy") { WorkflowTask("t") { _ in order.withLock { $0.append("busy") } } }
        let runner = try self.clock.runner(parent, child, busy, store: self.store) { $0.maximumConcurrentTasks = 1 }
        _ = try await runner.executeAsync("parent", options: ExecutionOptions(priority: 10))
        await self.clock.settle()
        for _ in 0..<5 { _ = try await runner.executeAsync("busy", options: ExecutionOptions(priority: 5)) }
        await self.clock.settle()
        mayBegin.add()
        await self.clock.settle()
        // One may have been handed the slot just when it was lent.
        let place = try #require(order.withLock { $0.firstIndex(of: "child") })
        #expect(place <= 1)
    }

    /// A failover × one runner: it claims anew what it still drives, under the numbers of the first claim.
    @Test func aRunnerThatClaimsAnewWhatItDrivesDrivesItOnce() async throws {
        let (mayEndFirst, mayEndSecond) = (Tally(), Tally())
        let workflow = try Workflow("w") {
            WorkflowTask.numbering("a", self.begun, mayEnd: [mayEndFirst, mayEndSecond])
        }
        let new = NewPipeline(workflow, at: self.clock.now())
        _ = try await self.store.create([new])
        let runner = try self.clock.runner(workflow, store: self.store)
        await runner.serveOnce()
        await self.clock.settle()
        self.store.delete(new.id)
        _ = try await self.store.create([new])
        await runner.serveOnce()
        await self.clock.settle()
        #expect(self.begun.count == 2)
        mayEndFirst.add()
        await self.clock.settle()
        #expect(try await self.store.load(new.id)?.status == .running)
        mayEndSecond.add()
        await self.clock.settle()
        #expect(try await runner.result(of: new.id).finalContext["by"] == 2)
        #expect(try await self.store.load(new.id)?.events.count { $0.kind == .taskCompleted } == 1)
    }

    /// A failover × a busy runner: what the database calls its own again, and it has ended with, goes back into the queue.
    @Test func aRunnerGivesBackWhatOnlyTheDatabaseCallsItsOwn() async throws {
        let workflow = try Workflow("w") {
            WorkflowTask("a") { _ in
                self.begun.add()
                await self.mayEnd.reached(1)
            }
        }
        let runner = try self.clock.runner(workflow, store: self.store)
        let busy = self.clock.begin { try await runner.execute("w") }
        await self.clock.settle()
        // As it was before its last transition, which the promoted standby doesn't have.
        let new = NewPipeline(
            id: .version7(), workflow: "w", version: workflow.contentVersion.hex, input: Context(), owner: runner.id,
            at: self.clock.now())
        _ = try await self.store.create([new])
        let change = PipelineChange(
            id: new.id, owner: runner.id, epoch: 1, at: self.clock.now(),
            transition: PipelineTransition(expectedRevision: 1))
        #expect(try await self.store.apply([change]) == [.applied(nil)])
        await self.clock.advance(by: runner.configuration.heartbeatInterval * 15)
        let stored = try #require(try await self.store.load(new.id))
        #expect(stored.status == .queued && stored.owner == nil)
        #expect(stored.events.last?.reason == .claimLost)
        #expect(runner.activePipelines == 1)
        self.mayEnd.add()
        #expect(try await busy.value.status == .completed)
    }

    /// Versions × a cancel: what no task has begun ends as a runner would have begun it, also where its first version is known.
    @Test func whatHasNotBegunIsCancelledWithTheCurrentVersion() async throws {
        let old = try Workflow("w") { WorkflowTask("a") { _ in } }
        let new = try Workflow("w") {
            WorkflowTask("a") { _ in }
            WorkflowTask("b", after: "a") { _ in }
        }
        let pipeline = NewPipeline(old, at: self.clock.now())
        _ = try await self.store.create([pipeline])
        let runner = try self.clock.runner(new, store: self.store)
        runner.registerEarlier(old)
        try await runner.cancel(pipeline.id)
        let stored = try #require(try await self.store.load(pipeline.id))
        #expect(stored.version == new.contentVersion.hex)
        #expect(stored.events.compactMap(\.task) == ["a", "b"])
    }

    /// A cancel × children of children, however deep they lie.
    @Test func aCancelReachesChildrenAtEveryDepth() async throws {
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in } }
        let runner = try self.clock.runner(workflow, store: self.store)
        var ids: [UUID] = []
        for depth in 0..<3_000 {
            var pipeline = NewPipeline(workflow, at: self.clock.now())
            (pipeline.parent, pipeline.depth) = (ids.last, depth)
            _ = try await self.store.create([pipeline])
            ids.append(pipeline.id)
        }
        try await runner.cancel(ids[0])
        let cancelled = try await self.store.list(PipelineQuery(statuses: [.cancelled], limit: 10_000))
        #expect(cancelled.count == ids.count)
    }
}
