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
}
