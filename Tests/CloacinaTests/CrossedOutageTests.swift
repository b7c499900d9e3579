import CloacinaPostgres
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// Failovers, refused logins and slow reads, each crossed with something else.
@Suite(.timeLimit(.minutes(5))) struct CrossedOutageTests {
    /// A store whose server lets nobody in as long as a test says so, and that counts what was tried meanwhile.
    private final class RefusingStore: InterceptingWorkflowStore {
        let underlying: any WorkflowStore
        private let state = Mutex((isRefusing: false, tries: 0))

        init(_ store: any WorkflowStore) { self.underlying = store }

        var tries: Int { self.state.withLock { $0.tries } }
        func refuse() { self.state.withLock { $0 = (true, 0) } }
        func letIn() { self.state.withLock { $0.isRefusing = false } }

        private func enter() throws(PipelineError) {
            let isRefusing = self.state.withLock { state in
                if state.isRefusing { state.tries += 1 }
                return state.isRefusing
            }
            guard isRefusing else { return }
            throw PipelineError(
                .storageFailed, "on demand", underlying: PostgresError(.connectionFailed, sqlState: "28P01"))
        }

        func writing<R>(
            _ call: StoreWrite, _ write: () async throws(PipelineError) -> R
        ) async throws(PipelineError) -> R {
            try self.enter()
            return try await write()
        }
        func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
            try self.enter()
            return try await self.underlying.load(id)
        }
        func standing(of id: UUID) async throws(PipelineError) -> PipelineStanding? {
            try self.enter()
            return try await self.underlying.standing(of: id)
        }
        func status(of id: UUID) async throws(PipelineError) -> PipelineStatus? {
            try self.enter()
            return try await self.underlying.status(of: id)
        }
    }

    /// A store whose reads of whole pipelines a test may hold up.
    private final class HoldingStore: ForwardingWorkflowStore {
        let underlying: any WorkflowStore
        let held = Tally()
        let mayGoOn = Tally()
        private let isArmed = Mutex(false)

        init(_ store: any WorkflowStore) { self.underlying = store }
        func holdTheNext() { self.isArmed.withLock { $0 = true } }

        func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
            let mustWait = self.isArmed.withLock { armed in
                defer { armed = false }
                return armed
            }
            if mustWait {
                self.held.add()
                await self.mayGoOn.reached(1)
            }
            return try await self.underlying.load(id)
        }
    }

    private let clock = HandClock()
    private let store = InMemoryWorkflowStore()
    private let begun = Tally()
    private let mayEnd = Tally()

    /// A workflow whose one task says that it has begun, and waits until it may end.
    private func gatedWorkflow() throws -> Workflow {
        try Workflow("w") {
            WorkflowTask("a") { _ in
                self.begun.add()
                await self.mayEnd.reached(1)
            }
        }
    }

    /// A failover x execute(): the promoted standby has the creation and not the end. It is revision 1, which
    /// `claims(of:)` leaves out, so no own look ever finds it, and its owner lives, so nobody else does either.
    @Test func whatWasExecutedAndWhoseEndTheDatabaseForgotIsDrivenAnew() async throws {
        let quick = try Workflow("quick") { WorkflowTask("a") { _ in } }
        let slow = try Workflow("slow") {
            WorkflowTask("a") { _ in
                self.begun.add()
                await self.mayEnd.reached(1)
            }
        }
        let runner = try self.clock.runner(quick, slow, store: self.store)
        // Keeps the runner beating.
        let busy = self.clock.begin { try await runner.execute("slow") }
        await self.clock.settle()
        let result = try await self.clock.begin { try await runner.execute("quick") }.value
        #expect(result.status == .completed)
        // The standby: created by this runner, running, revision 1.
        self.store.delete(result.id)
        let new = NewPipeline(
            id: result.id, workflow: "quick", version: quick.contentVersion.hex, input: Context(), owner: runner.id,
            at: self.clock.now())
        _ = try await self.store.create([new])
        await self.clock.advance(by: runner.configuration.heartbeatInterval * 40)
        // This runner serves no queue, so it drives what nobody has begun itself.
        #expect(try await self.store.load(result.id)?.status == .completed)
        self.mayEnd.add()
        _ = await busy.result
    }

    /// A refused login x a child that is to begin: the task that waits has not failed.
    @Test func aTaskThatBeginsAChildWhileLoginsAreRefusedHasNotFailed() async throws {
        let mayBegin = Tally()
        let child = try Workflow("child") { WorkflowTask("t") { _ in self.begun.add() } }
        let parent = try Workflow("parent") {
            WorkflowTask("p") { _, scope in
                await mayBegin.reached(1)
                try await scope.execute("child").completed()
            }
        }
        let store = RefusingStore(self.store)
        let runner = try self.clock.runner(parent, child, store: store)
        let running = self.clock.begin { try await runner.execute("parent") }
        await self.clock.settle()
        store.refuse()
        mayBegin.add()
        await self.clock.advance(by: .seconds(60))
        store.letIn()
        await self.clock.advance(by: .seconds(60))
        #expect(try await running.value.status == .completed)
        #expect(self.begun.count == 1)
    }

    /// One adrift pipeline that can't be had for as long as this runner lives: locked, or with a history that takes longer to read
    /// than the server's own statement_timeout allows. The others must not wait for it.
    @Test(arguments: ["55P03", "57014"]) func whatCannotBeGivenBackHoldsUpNoOther(state: String) async throws {
        final class StuckStore: ForwardingWorkflowStore {
            let underlying: any WorkflowStore
            private let sqlState: String
            /// Whichever is read first is stuck from then on.
            private let stuck = Mutex<UUID?>(nil)
            init(_ store: any WorkflowStore, sqlState: String) {
                self.underlying = store
                self.sqlState = sqlState
            }

            func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
                let isStuck = self.stuck.withLock { stuck in
                    stuck = stuck ?? id
                    return stuck == id
                }
                if isStuck {
                    throw PipelineError(
                        .storageFailed, "on demand",
                        underlying: PostgresError(.rejectedByServer, sqlState: self.sqlState))
                }
                return try await self.underlying.load(id)
            }
        }
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in } }
        let runner = try self.clock.runner(workflow, store: StuckStore(self.store, sqlState: state))
        var ids: [UUID] = []
        for _ in 0..<4 {
            let new = NewPipeline(workflow, owner: runner.id, at: self.clock.now())
            _ = try await self.store.create([new])
            ids.append(new.id)
        }
        for id in ids { runner.setAdrift(id, DefaultRunner.Adrift(epoch: 1)) }
        await self.clock.advance(by: .seconds(300))
        var queued = 0
        for id in ids where try await self.store.status(of: id) == .queued { queued += 1 }
        #expect(queued == 3)
    }

    /// The same class: one child whose history takes longer to read than the server allows keeps the others running.
    @Test func aChildThatTakesTooLongToReadKeepsNoOtherFromBeingCancelled() async throws {
        final class SlowChildStore: ForwardingWorkflowStore {
            let underlying: any WorkflowStore
            let slow: UUID
            init(_ store: any WorkflowStore, slow: UUID) { (self.underlying, self.slow) = (store, slow) }
            func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
                if id == self.slow {
                    throw PipelineError(
                        .storageFailed, "on demand", underlying: PostgresError(.rejectedByServer, sqlState: "57014"))
                }
                return try await self.underlying.load(id)
            }
        }
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in } }
        let parent = NewPipeline(workflow, at: self.clock.now())
        _ = try await self.store.create([parent])
        var children: [NewPipeline] = []
        for _ in 0..<4 {
            var child = NewPipeline(workflow, at: self.clock.now())
            (child.parent, child.depth) = (parent.id, 1)
            children.append(child)
        }
        _ = try await self.store.create(children)
        let ids = children.map(\.id).sorted { $0.uuidString < $1.uuidString }
        let runner = try self.clock.runner(workflow, store: SlowChildStore(self.store, slow: ids[0]))
        try await runner.cancel(parent.id)
        var cancelled = 0
        for id in ids where try await self.store.status(of: id) == .cancelled { cancelled += 1 }
        #expect(cancelled == 3)
    }

    /// A failover x a give-back under way: what the runner has claimed anew meanwhile, under the number that the lost claim had,
    /// must not be put back from under it. The hold stands for the other entries that a give-back goes through first.
    @Test func aGiveBackTakesNothingThatWasClaimedAnewMeanwhile() async throws {
        let (mayEndFirst, mayEndSecond) = (Tally(), Tally())
        let workflow = try Workflow("w") {
            WorkflowTask.numbering("a", self.begun, mayEnd: [mayEndFirst, mayEndSecond])
        }
        let store = HoldingStore(self.store)
        let new = NewPipeline(workflow, at: self.clock.now())
        _ = try await self.store.create([new])
        let runner = try self.clock.runner(workflow, store: store)
        await runner.serveOnce()
        await self.clock.settle()
        #expect(self.begun.count == 1)
        self.store.delete(new.id)
        _ = try await self.store.create([new])
        // Its write is stale, and it is adrift under epoch 1.
        mayEndFirst.add()
        await self.clock.settle()
        #expect(runner.activePipelines == 0)
        store.holdTheNext()
        await self.clock.advance(by: runner.configuration.heartbeatInterval)
        await store.held.reached(1)
        // Claims it, epoch 1 once more.
        await runner.serveOnce()
        await self.clock.settle()
        #expect(self.begun.count == 2 && runner.activePipelines == 1)
        store.mayGoOn.add()
        await self.clock.settle()
        #expect(try await self.store.load(new.id)?.status == .running)
        mayEndSecond.add()
        await self.clock.advance(by: .seconds(60))
        #expect(try await self.store.load(new.id)?.status == .completed)
        #expect(self.begun.count == 2)
    }

    /// Writes that go together while nobody is let in fail together: one login for all, not one for each.
    @Test func aRefusedLoginIsTriedOnceForAllThatGoTogether() async throws {
        let (begun, mayEnd) = (Tally(), Tally())
        let calls = Mutex(0)
        let lane = WriteLane<Int, Int>(
            maximumFlushes: 1, metrics: EngineMetrics(factory: MetricsRecorder())
        ) { (items: [Int]) async throws(PipelineError) -> [Int] in
            calls.withLock { $0 += 1 }
            begun.add()
            await mayEnd.reached(1)
            throw PipelineError(
                .storageFailed, "on demand", underlying: PostgresError(.connectionFailed, sqlState: "28P01"))
        }
        let first = Task { try await lane.write(0) }
        await begun.reached(1)
        let others = (1...100).map { item in Task.immediate { try await lane.write(item) } }
        mayEnd.add()
        for task in [first] + others { _ = await task.result }
        #expect(calls.withLock { $0 } == 2)
    }

    /// Failed creations while nobody is let in: a look at what is adrift ends with the first refusal.
    @Test func whatIsAdriftIsNotTriedOneByOneWhileLoginsAreRefused() async throws {
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in } }
        let store = RefusingStore(self.store)
        let runner = try self.clock.runner(workflow, store: store)
        store.refuse()
        for _ in 0..<50 {
            await #expect(throws: PipelineError.self) { try await runner.executeAsync("w") }
        }
        await self.clock.settle()
        let before = store.tries
        await self.clock.advance(by: runner.configuration.heartbeatInterval)
        #expect(store.tries - before <= 5)
    }

    /// A creation whose answer was lost, and that this runner has taken from the queue meanwhile: the retried creation has the
    /// older claim, and must not end the newer one.
    @Test(arguments: Ending.allCases) func aRetriedCreationDoesNotSupersedeALaterClaim(ending: Ending) async throws {
        let (mayTellAgain, toldAgain) = (Tally(), Tally())
        let number = Mutex(0)
        let store = HookedStore(self.store) { call throws(PipelineError) in
            guard call == .create else { return }
            guard number.withLock({ $0 }) > 0 else { return }
            toldAgain.add()
            await mayTellAgain.reached(1)
        } after: { call throws(PipelineError) in
            guard call == .create else { return }
            let isFirst = number.withLock { number in
                number += 1
                return number == 1
            }
            if isFirst {
                throw PipelineError(.storageFailed, "on demand", underlying: PostgresError(.connectionLost))
            }
        }
        let workflow = try Workflow("w") {
            WorkflowTask("a") { _ in
                self.begun.add()
                await self.mayEnd.reached(1)
            }
            WorkflowTask("b", after: "a") { _ in }
        }
        let runner = try self.clock.runner(workflow, store: store)
        let running = self.clock.begin { try await runner.execute("w") }
        await toldAgain.reached(1)
        // Somebody took this runner for dead, and it finds the pipeline in the queue itself.
        let id = try #require(try await self.store.list(PipelineQuery()).first).id
        let stored = try #require(try await self.store.load(id))
        var transition = PipelineTransition(expectedRevision: stored.revision)
        transition.status = .queued
        transition.dueAt = self.clock.now()
        transition.events = [PipelineEvent(.pipelineRecovered, at: self.clock.now(), reason: .runnerDied)]
        _ = try await self.store.apply([
            PipelineChange(id: id, epoch: stored.epoch, at: self.clock.now(), transition: transition)
        ])
        await runner.serveOnce()
        await self.begun.reached(1)
        mayTellAgain.add()
        await self.clock.settle()
        // It still drives what it has under the newer claim: it beats for it, is told of a cancel, and its end is bounded.
        #expect(try await self.store.load(id)?.status == .running)
        #expect(runner.activePipelines == 1)
        #expect(runner.state.withLock { !$0.isIdle })
        switch ending {
        case .itself:
            self.mayEnd.add()
            await self.clock.advance(by: .seconds(120))
            #expect(try await self.store.load(id)?.status == .completed)
            #expect(try await running.value.status == .completed)
        case .cancel:
            try await runner.cancel(id)
            self.mayEnd.add()
            await self.clock.settle()
            #expect(try await self.store.load(id)?.status == .cancelled)
            #expect(try await running.value.status == .cancelled)
        case .shutdown:
            let ended = self.clock.begin { await runner.shutDown(drain: .seconds(1)) }
            await self.clock.advance(by: .seconds(60))
            try await ended.value
            #expect(try await self.store.load(id)?.status == .queued)
            self.mayEnd.add()
            _ = await running.result
        }
        #expect(self.begun.count == 1)
    }

    enum Ending: CaseIterable { case itself, cancel, shutdown }

    /// A role that may not be taken on for a while, as the recommended `label(.role)` meets it: nothing was run, so it says
    /// nothing about what was to be stored. LongOutageTests' refused logins have it for `connectionFailed` only.
    @Test(arguments: ["42501", "22023"]) func whatATaskCameToIsStoredAfterItsRoleWasRefused(state: String) async throws
    {
        final class RoleStore: InterceptingWorkflowStore {
            let underlying: any WorkflowStore
            let error = Mutex<PipelineError?>(nil)
            init(_ store: any WorkflowStore) { self.underlying = store }
            func writing<R>(
                _ call: StoreWrite, _ write: () async throws(PipelineError) -> R
            ) async throws(PipelineError) -> R {
                if let error = self.error.withLock({ $0 }) { throw error }
                return try await write()
            }
            func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
                if let error = self.error.withLock({ $0 }) { throw error }
                return try await self.underlying.load(id)
            }
        }
        let store = RoleStore(self.store)
        let workflow = try self.gatedWorkflow()
        let runner = try self.clock.runner(workflow, store: store)
        let running = self.clock.begin { try await runner.execute("w") }
        await self.clock.settle()
        store.error.withLock {
            $0 = PipelineError(
                state == "42501" ? .noEngineAccess : .storageFailed, "on demand",
                underlying: PostgresError(.labelRefused, sqlState: state))
        }
        self.mayEnd.add()
        await self.clock.advance(by: .seconds(60))
        store.error.withLock { $0 = nil }
        await self.clock.advance(by: .seconds(30))
        await runner.serveOnce()
        await self.clock.advance(by: .seconds(30))
        #expect(self.begun.count == 1)
        _ = await running.result
    }

    /// A cancel of what can't be read, just as its runner sets it aside: it is kept, as it is for what can be read.
    @Test func aCancelOfWhatCannotBeReadIsKeptWhenItIsSetAsideJustThen() async throws {
        final class UnreadableStore: ForwardingWorkflowStore {
            let underlying: any WorkflowStore
            let whenAsked: @Sendable () async -> Void
            init(_ store: any WorkflowStore, whenAsked: @escaping @Sendable () async -> Void) {
                self.underlying = store
                self.whenAsked = whenAsked
            }
            func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
                throw PipelineError(.storageFailed, "unreadable")
            }
            func ask(_ request: PipelineRequest, of id: UUID) async throws(PipelineError) {
                await self.whenAsked()
                try await self.underlying.ask(request, of: id)
            }
        }
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in } }
        let (shared, clock) = (self.store, self.clock)
        let new = NewPipeline(workflow, owner: UUID(), at: clock.now())
        _ = try await shared.create([new])
        let store = UnreadableStore(shared) {
            var transition = PipelineTransition(expectedRevision: 1)
            transition.status = .paused
            transition.events = [PipelineEvent(.pipelinePaused, at: clock.now(), reason: .unreadable)]
            _ = try? await shared.apply([
                PipelineChange(id: new.id, epoch: 1, at: clock.now(), transition: transition)
            ])
        }
        let runner = try self.clock.runner(workflow, store: store)
        try await runner.cancel(new.id)
        for _ in 0..<8 { await runner.serveOnce() }
        #expect(try await shared.status(of: new.id) == .cancelled)
    }

    /// A slow own look must not stand between two heartbeats: 9 s + 5 s + 9 s is more than the lease.
    @Test func anOwnLookHoldsUpNoHeartbeat() async throws {
        let clock = self.clock
        let slow = HookedStore(self.store) { call throws(PipelineError) in
            // Within the ten seconds that either may take.
            if call == .beat || call == .claims { try? await clock.sleep(for: .seconds(9)) }
        }
        let workflow = try self.gatedWorkflow()
        let runner = try self.clock.runner(workflow, store: slow)
        let other = try self.clock.runner(workflow, store: self.store)
        let running = self.clock.begin { try await runner.execute("w") }
        await self.clock.settle()
        for _ in 0..<400 {
            await self.clock.advance(by: .seconds(1))
            await other.serveOnce()
        }
        #expect(self.begun.count == 1)
        self.mayEnd.add()
        await self.clock.advance(by: .seconds(60))
        _ = await running.result
    }
}
