import CloacinaPostgres
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// A database that is away for as long as it likes: what a runner's pipelines came to is stored when it is back, as long as
/// nobody else has them.
@Suite(.timeLimit(.minutes(5))) struct LongOutageTests {
    /// A store of which some calls fail while it is away, as a server's would.
    private final class AwayStore: InterceptingWorkflowStore {
        let underlying: any WorkflowStore
        private let fault = Mutex<(error: PostgresError, call: StoreWrite?)?>(nil)
        private let tries = Mutex(0)

        init(_ store: any WorkflowStore) { self.underlying = store }

        /// How many transitions were tried in vain.
        var failed: Int { self.tries.withLock { $0 } }

        func leave(with fault: PostgresError = PostgresError(.connectionLost), only call: StoreWrite? = nil) {
            self.fault.withLock { $0 = (fault, call) }
        }
        func comeBack() { self.fault.withLock { $0 = nil } }

        private func find(_ call: StoreWrite?) throws(PipelineError) {
            guard let (fault, only) = self.fault.withLock({ $0 }), only == nil || only == call else { return }
            if call == .apply { self.tries.withLock { $0 += 1 } }
            throw PipelineError(.storageFailed, "on demand", underlying: fault)
        }

        func writing<R>(
            _ call: StoreWrite, _ write: () async throws(PipelineError) -> R
        ) async throws(PipelineError) -> R {
            try self.find(call)
            return try await write()
        }

        func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
            try self.find(nil)
            return try await self.underlying.load(id)
        }

        func standing(of id: UUID) async throws(PipelineError) -> PipelineStanding? {
            try self.find(nil)
            return try await self.underlying.standing(of: id)
        }
    }

    private let clock = HandClock()
    private let shared = InMemoryWorkflowStore()
    private let begun = Tally()
    private let mayEnd = Tally()
    private let begunAfter = Tally()

    /// Lets the task end that runs, while the database is away, and ten minutes pass.
    private func endTask(whileAway store: AwayStore) async {
        await self.clock.settle()
        store.leave()
        self.mayEnd.add()
        await self.clock.advance(by: .seconds(600))
    }

    /// A task whose first run waits for the test, and one behind it.
    private func workflow() throws -> Workflow {
        try Workflow("w") {
            WorkflowTask("a") { context in
                self.begun.add()
                if self.begun.count == 1 { await self.mayEnd.reached(1) }
                try context.set("runs", to: self.begun.count)
            }
            WorkflowTask("b", after: "a") { _ in self.begunAfter.add() }
        }
    }

    private func stored(_ id: UUID) async throws -> StoredPipeline { try #require(try await self.shared.load(id)) }

    private func onlyID() async throws -> UUID { try #require(try await self.shared.list(PipelineQuery()).first).id }

    @Test(arguments: [
        PostgresError(.connectionLost), PostgresError(.connectionFailed), PostgresError(.checkoutTimedOut),
        PostgresError(.rejectedByServer, sqlState: "25006"), PostgresError(.connectionFailed, sqlState: "57P03"),
        PostgresError(.rejectedByServer, sqlState: "55P03"),
    ])
    func whatATaskCameToIsStoredAfterAnOutageOfAnHour(fault: PostgresError) async throws {
        let store = AwayStore(self.shared)
        let runner = try self.clock.runner(self.workflow(), store: store)
        let running = self.clock.begin { try await runner.execute("w") }
        await self.clock.settle()
        store.leave(with: fault)
        self.mayEnd.add()
        await self.clock.advance(by: .seconds(3_600))
        let id = try await self.onlyID()
        #expect(try await self.stored(id).events.map(\.kind) == [.pipelineStarted])
        #expect(store.failed > 60)
        // Nothing begins that is not written down to follow.
        #expect(self.begunAfter.count == 0 && runner.activePipelines == 1)
        store.comeBack()
        await self.clock.advance(by: .seconds(2))
        let result = try await running.value
        #expect(result.status == .completed && result.finalContext["runs"] == 1)
        #expect(self.begun.count == 1 && self.begunAfter.count == 1)
        #expect(
            try await self.stored(id).events.map(\.kind) == [
                .pipelineStarted, .taskCompleted, .taskCompleted, .pipelineCompleted,
            ])
    }

    /// The same when the write was done and only its answer lost, and the history can't be read for an hour either.
    @Test func aWriteWhoseAnswerWasLostBeforeAnOutageIsFoundAfterIt() async throws {
        let store = AwayStore(self.shared)
        let writes = Tally()
        let losing = HookedStore(
            store,
            after: { call throws(PipelineError) in
                if call == .apply { writes.add() }
                guard call == .apply, writes.count == 1 else { return }
                store.leave()
                throw PipelineError(.storageFailed, "on demand", underlying: PostgresError(.connectionLost))
            })
        let runner = try self.clock.runner(self.workflow(), store: losing)
        self.mayEnd.add()
        let running = self.clock.begin { try await runner.execute("w") }
        await self.clock.advance(by: .seconds(3_600))
        #expect(self.begunAfter.count == 0)
        store.comeBack()
        await self.clock.advance(by: .seconds(2))
        #expect(try await running.value.status == .completed)
        #expect(self.begun.count == 1 && self.begunAfter.count == 1)
    }

    @Test func whatAnotherRunnerHasTakenOverMeanwhileIsNotStored() async throws {
        let store = AwayStore(self.shared)
        let runner = try self.clock.runner(self.workflow(), store: store)
        let other = try self.clock.runner(self.workflow(), store: self.shared)
        let running = self.clock.begin { try await runner.execute("w") }
        await self.clock.settle()
        store.leave()
        self.mayEnd.add()
        await self.clock.advance(by: .seconds(60))
        let id = try await self.onlyID()
        #expect(try await self.shared.recover(runner.id, beats: 1, by: other.id, at: self.clock.now()) == 1)
        await other.serveOnce()
        await self.clock.settle()
        #expect(try await self.stored(id).status == .completed)
        store.comeBack()
        await self.clock.advance(by: .seconds(2))
        let error = await #expect(throws: PipelineError.self) { try await running.value }
        #expect(error?.code == .takenOver)
        await self.clock.advance(by: runner.configuration.heartbeatInterval)
        let stored = try await self.stored(id)
        #expect(stored.status == .completed && stored.epoch == 3 && runner.activePipelines == 0)
        let ends = stored.events.filter { $0.kind == .taskCompleted }
        #expect(ends.map(\.task) == ["a", "b"] && ends.allSatisfy { $0.worker == other.id })
        #expect(self.begun.count == 2)
    }

    /// Only its writes fail: the heartbeat says whose the pipeline is, and nothing has to be stored for that.
    @Test func aHeartbeatEndsTheTryingForWhatIsAnotherRunnersNow() async throws {
        let isAway = Mutex(false)
        let store = HookedStore(
            self.shared,
            before: { call throws(PipelineError) in
                guard call == .apply, isAway.withLock({ $0 }) else { return }
                throw PipelineError(.storageFailed, "on demand", underlying: PostgresError(.connectionLost))
            })
        let runner = try self.clock.runner(self.workflow(), store: store)
        let running = self.clock.begin { try await runner.execute("w") }
        await self.clock.settle()
        isAway.withLock { $0 = true }
        self.mayEnd.add()
        await self.clock.settle()
        #expect(try await self.shared.recover(runner.id, beats: 1, by: UUID(), at: self.clock.now()) == 1)
        await self.clock.advance(by: runner.configuration.heartbeatInterval + .seconds(2))
        let error = await #expect(throws: PipelineError.self) { try await running.value }
        #expect(error?.code == .takenOver)
    }

    @Test func aCallerThatIsCancelledInAnOutageIsToldAndThePipelineIsCancelledAfterIt() async throws {
        let store = AwayStore(self.shared)
        let runner = try self.clock.runner(self.workflow(), store: store)
        let running = self.clock.begin { try await runner.execute("w") }
        await self.endTask(whileAway: store)
        #expect(runner.activePipelines == 1)
        running.cancel()
        await self.clock.advance(by: runner.configuration.cancellationGrace + .seconds(2))
        #expect(runner.activePipelines == 0)
        let error = await #expect(throws: PipelineError.self) { try await running.value }
        #expect(error?.code == .storageFailed && error?.isTransient == true)
        store.comeBack()
        await self.clock.advance(by: runner.configuration.heartbeatInterval)
        await runner.serveOnce()
        await self.clock.settle()
        #expect(try await self.stored(self.onlyID()).status == .cancelled)
        #expect(self.begunAfter.count == 0)
    }

    /// What comes back within the time of grace stores what the task came to, and that the pipeline was cancelled.
    @Test func aCancelDuringAnOutageThatEndsInTimeKeepsWhatTheTaskCameTo() async throws {
        let store = AwayStore(self.shared)
        let runner = try self.clock.runner(self.workflow(), store: store)
        let running = self.clock.begin { try await runner.execute("w") }
        await self.endTask(whileAway: store)
        running.cancel()
        await self.clock.advance(by: .seconds(3))
        store.comeBack()
        await self.clock.advance(by: .seconds(2))
        let result = try await running.value
        #expect(result.status == .cancelled)
        #expect(result.tasks.map(\.status) == [.completed, .skipped])
        #expect(self.begunAfter.count == 0)
    }

    @Test func aShutdownInAnOutageEndsWithItsDrainAndTheTimeOfGrace() async throws {
        let store = AwayStore(self.shared)
        let runner = try self.clock.runner(self.workflow(), store: store)
        let running = self.clock.begin { try await runner.execute("w") }
        await self.endTask(whileAway: store)
        let end = self.clock.begin { await runner.shutDown(drain: .seconds(15)) }
        await self.clock.advance(by: .seconds(14))
        #expect(runner.activePipelines == 1)
        await self.clock.advance(by: .seconds(1) + runner.configuration.cancellationGrace + .seconds(2))
        try await end.value
        let error = await #expect(throws: PipelineError.self) { try await running.value }
        #expect(error?.code == .storageFailed)
        // Others find it by the runner's heartbeat, which has stopped.
        let stored = try await self.stored(self.onlyID())
        #expect(stored.status == .running && stored.owner == runner.id)
    }

    /// The outcome of one task can't be stored; another one's time runs out, and a third one ends.
    @Test func whatElseHappensInAnOutageIsHeardAndStoredAfterIt() async throws {
        let (mayEndToo, never) = (Tally(), Tally())
        let workflow = try Workflow("w") {
            WorkflowTask("first") { _ in await self.mayEnd.reached(1) }
            WorkflowTask("late", timeout: .seconds(30)) { _ in await never.reached(1) }
            WorkflowTask("third") { _ in await mayEndToo.reached(1) }
            WorkflowTask("next", after: "first", "third") { _ in self.begunAfter.add() }
        }
        let store = AwayStore(self.shared)
        let runner = try self.clock.runner(workflow, store: store) { $0.maximumConcurrentTasks = 3 }
        let running = self.clock.begin { try await runner.execute("w") }
        await self.clock.settle()
        let start = self.clock.now()
        store.leave()
        self.mayEnd.add()
        await self.clock.advance(by: .seconds(60))
        // Who ignores its cancellation holds no slot.
        #expect(runner.slots.freeCount == 2)
        mayEndToo.add()
        await self.clock.advance(by: .seconds(60))
        #expect(runner.slots.freeCount == 3 && self.begunAfter.count == 0)
        store.comeBack()
        await self.clock.advance(by: .seconds(2))
        let result = try await running.value
        #expect(result.status == .failed)
        #expect(result.tasks.map(\.status) == [.completed, .failed, .completed, .completed])
        #expect(result.task("late")?.attempts.last?.endedAt == start.addingTimeInterval(30))
        never.add()
    }

    /// An attempt that the machine had begun is none when the pipeline's time ran out before that could be written.
    @Test func nothingBeginsInAPipelineWhoseTimeRanOutInAnOutage() async throws {
        let workflow = try Workflow("w") {
            WorkflowTask("a") { _ in await self.mayEnd.reached(1) }
            WorkflowTask("b", after: "a") { _ in self.begunAfter.add() }
        }
        let store = AwayStore(self.shared)
        let runner = try self.clock.runner(workflow, store: store)
        let running = self.clock.begin {
            try await runner.execute("w", context: Context(), options: ExecutionOptions(timeout: .seconds(60)))
        }
        await self.clock.settle()
        store.leave()
        self.mayEnd.add()
        await self.clock.advance(by: .seconds(120))
        store.comeBack()
        await self.clock.advance(by: .seconds(2))
        let result = try await running.value
        #expect(result.status == .failed && self.begunAfter.count == 0)
        #expect(result.tasks.map(\.status) == [.completed, .failed])
        #expect(runner.slots.freeCount == runner.configuration.maximumConcurrentTasks)
    }

    /// What is released and can't be written may still be cancelled: nothing takes that back.
    @Test func aCancelDuringTheLastWriteOfAnOutageIsNotLost() async throws {
        let store = AwayStore(self.shared)
        let runner = try self.clock.runner(self.workflow(), store: store)
        let execution = try await runner.executeAsync("w")
        await self.clock.settle()
        try await runner.pause(execution.id)
        await self.clock.settle()
        store.leave()
        self.mayEnd.add()
        await self.clock.advance(by: .seconds(60))
        self.clock.begin { try await runner.cancel(execution.id) }
        await self.clock.advance(by: .seconds(3))
        store.comeBack()
        await self.clock.advance(by: .seconds(2))
        #expect(try await self.stored(execution.id).status == .cancelled)
        #expect(self.begunAfter.count == 0)
    }

    /// The task behind has begun as far as the machine knows, and not yet run when the pipeline is paused.
    @Test func aPauseInAnOutageKeepsWhatHasNotBegunFromBeginning() async throws {
        let store = AwayStore(self.shared)
        let runner = try self.clock.runner(self.workflow(), store: store)
        let execution = try await runner.executeAsync("w")
        await self.clock.settle()
        store.leave(only: .apply)
        self.mayEnd.add()
        await self.clock.advance(by: .seconds(60))
        try await runner.pause(execution.id)
        await self.clock.advance(by: .seconds(60))
        store.comeBack()
        await self.clock.advance(by: .seconds(2))
        #expect(try await self.stored(execution.id).status == .paused)
        #expect(self.begunAfter.count == 0)
        #expect(runner.slots.freeCount == runner.configuration.maximumConcurrentTasks)
        try await runner.resume(execution.id)
        await runner.serveOnce()
        await self.clock.settle()
        let result = try await runner.snapshot(of: execution.id)
        #expect(result.status == .completed && result.task("b")?.attempt == 1)
        #expect(self.begun.count == 1 && self.begunAfter.count == 1)
    }

    /// A pipeline during which a process died says of each attempt that it begins; one that then does not begin is none.
    @Test(arguments: [false, true])
    func aPauseInAnOutageAfterACrashKeepsTheTaskFromBeginningOnlyUntilItGoesOn(isShutDown: Bool) async throws {
        let store = AwayStore(self.shared)
        let (workflow, dead) = (try self.workflow(), UUID())
        let new = NewPipeline(workflow, owner: dead, at: self.clock.date(0))
        _ = try await self.shared.create([new])
        #expect(try await self.shared.recover(dead, beats: 0, by: UUID(), at: self.clock.now()) == 1)
        let runner = try self.clock.runner(workflow, store: store)
        store.leave(only: .apply)
        await runner.serveOnce()
        await self.clock.advance(by: .seconds(60))
        var stopping: Task<Void, any Error>?
        if isShutDown {
            stopping = self.clock.begin { await runner.shutDown() }
        } else {
            try await runner.pause(new.id)
        }
        await self.clock.advance(by: .seconds(3))
        store.comeBack()
        await self.clock.advance(by: .seconds(2))
        try await stopping?.value
        #expect(self.begun.count == 0)
        #expect(try await self.stored(new.id).status == (isShutDown ? .queued : .paused))
        let next = try self.clock.runner(workflow, store: self.shared)
        try await next.resume(new.id)
        self.mayEnd.add()
        await next.serveOnce()
        await self.clock.advance(by: .seconds(2))
        #expect(try await self.stored(new.id).status == .completed)
        #expect(self.begun.count == 1 && self.begunAfter.count == 1)
    }

    // MARK: Contention

    /// A store in which somebody has locked one pipeline, and that writes down what goes together.
    private final class LockedStore: ForwardingWorkflowStore {
        let underlying: any WorkflowStore
        private let state = Mutex((locked: UUID?.none, companies: [Int]()))

        init(_ store: any WorkflowStore) { self.underlying = store }

        /// With how many others the locked pipeline was tried.
        var companies: [Int] { self.state.withLock { $0.companies } }

        func lock(_ id: UUID?) { self.state.withLock { $0.locked = id } }

        func apply(_ changes: [PipelineChange]) async throws(PipelineError) -> [StoreOutcome] {
            let isLocked = self.state.withLock { state in
                guard changes.contains(where: { $0.id == state.locked }) else { return false }
                state.companies.append(changes.count - 1)
                return true
            }
            guard !isLocked else {
                throw PipelineError(
                    .storageFailed, "on demand", underlying: PostgresError(.rejectedByServer, sqlState: "55P03"))
            }
            return try await self.underlying.apply(changes)
        }
    }

    @Test func aPipelineThatSomebodyHasLockedIsTriedAgainWithoutTheOthers() async throws {
        let others = 10
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in await self.mayEnd.reached(1) } }
        let store = LockedStore(self.shared)
        let runner = try self.clock.runner(workflow, store: store)
        var executions: [PipelineExecution] = []
        for _ in 0...others { executions.append(try await runner.executeAsync("w")) }
        await self.clock.settle()
        let locked = executions[5].id
        store.lock(locked)
        self.mayEnd.add()
        await self.clock.advance(by: .seconds(30))
        #expect(try await self.shared.list(PipelineQuery(statuses: [.completed])).count == others)
        #expect(try await self.stored(locked).status == .running)
        // The first time with those that ended with it, and once by itself in its lane.
        #expect(store.companies.dropFirst(1).allSatisfy { $0 == 0 } && store.companies.count > 10)
        store.lock(nil)
        await self.clock.advance(by: .seconds(2))
        #expect(try await self.stored(locked).status == .completed)
    }

    /// What may take longer than the server allows goes by itself from then on: who goes with it would be refused with it.
    @Test func aWriteThatTookTheServerTooLongHoldsUpNoOtherAgain() async throws {
        let (writes, mayWrite) = (Tally(), Tally())
        let mayEnd = [Tally(), Tally(), Tally()]
        let store = HookedStore(
            self.shared,
            before: { call throws(PipelineError) in
                guard call == .apply else { return }
                writes.add()
                switch writes.count {
                case 1:
                    throw PipelineError(
                        .storageFailed, "on demand", underlying: PostgresError(.rejectedByServer, sqlState: "57014"))
                case 2, 3: await mayWrite.reached(1)
                default: break
                }
            })
        let workflow = try Workflow("w") {
            WorkflowTask("a") { context in await mayEnd[try context.get("n", as: Int.self)].reached(1) }
        }
        let runner = try self.clock.runner(workflow, store: store)
        var executions: [PipelineExecution] = []
        for number in 0..<3 {
            executions.append(try await runner.executeAsync("w", context: Context(["n": .init(encoding: number)])))
        }
        await self.clock.settle()
        for tally in mayEnd {
            tally.add()
            await self.clock.settle()
        }
        // Two are being written, which is as many as go at the same time; what comes now would go together after them.
        #expect(writes.count == 3)
        await self.clock.advance(by: .seconds(1))
        #expect(try await self.stored(executions[0].id).status == .completed)
        mayWrite.add()
        await self.clock.settle()
        for execution in executions { #expect(try await self.stored(execution.id).status == .completed) }
    }

    /// A server that lets nobody in for a while says nothing about what is to be stored: a wrong password during a
    /// rotation or LDAP that is away (28xxx), a database that is being renamed (3D000), ALLOW_CONNECTIONS false (55000),
    /// CONNECT revoked (42501).
    @Test(arguments: ["28P01", "28000", "3D000", "55000", "42501"])
    func whatATaskCameToIsStoredAfterLoginsWereRefused(state: String) async throws {
        let store = AwayStore(self.shared)
        let runner = try self.clock.runner(self.workflow(), store: store)
        let running = self.clock.begin { try await runner.execute("w") }
        await self.clock.settle()
        store.leave(with: PostgresError(.connectionFailed, sqlState: state))
        self.mayEnd.add()
        await self.clock.advance(by: .seconds(60))
        #expect(runner.activePipelines == 1)
        store.comeBack()
        await self.clock.advance(by: .seconds(30))
        await runner.serveOnce()
        await self.clock.advance(by: .seconds(30))
        #expect(self.begun.count == 1 && self.begunAfter.count == 1)
        #expect(try await running.value.status == .completed)
    }
}
