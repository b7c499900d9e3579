import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// A runner that looks after the queue and after dead runners, and gets some of its answers only.
@Suite(.timeLimit(.minutes(2))) struct SweepTests {
    private let clock = HandClock()
    private let shared = InMemoryWorkflowStore()

    private func workflow() throws -> Workflow { try Workflow("w") { WorkflowTask("t") { _ in } } }

    private func completed() async throws -> Set<UUID> {
        Set(try await self.shared.list(PipelineQuery(statuses: [.completed])).map(\.id))
    }

    /// Reading every pipeline may take too long.
    @Test func aLostClaimThatCannotBeLookedForStopsNothing() async throws {
        let isLosing = Mutex(true)
        let isFailing = Mutex(true)
        let store = HookedStore(
            self.shared,
            before: { call throws(PipelineError) in
                if call == .claims, isFailing.withLock({ $0 }) { throw HookedStore.fault }
            },
            after: { call throws(PipelineError) in
                if call == .claim, isLosing.withLock({ $0 }) { throw HookedStore.fault }
            })
        let runner = try self.clock.runner(self.workflow(), store: store)
        let lost = try await runner.enqueue("w").id
        await runner.serveOnce()
        await self.clock.settle()
        #expect(try await runner.status(of: lost) == .running)
        isLosing.withLock { $0 = false }
        let next = try await runner.enqueue("w").id
        await self.clock.advance(by: runner.configuration.heartbeatInterval * 3)
        #expect(try await self.completed() == [next])
        isFailing.withLock { $0 = false }
        await runner.serveOnce()
        await self.clock.settle()
        #expect(try await self.completed() == [lost, next])
    }

    /// The same, when looking for owners that never said anything.
    @Test func ownersThatCannotBeLookedForStopNothing() async throws {
        let store = HookedStore(
            self.shared,
            before: { call throws(PipelineError) in
                if call == .survey(everyOwner: true) { throw HookedStore.fault }
            })
        let runner = try self.clock.runner(self.workflow(), store: store) { $0.leaseDuration = .zero }
        let other = try self.clock.runner(self.workflow(), store: self.shared)
        let (dead, now) = (UUID(), self.clock.now())
        _ = try await self.shared.beat(dead, number: 1, pipelines: [], at: now)
        let new = NewPipeline(try self.workflow(), owner: dead, at: now)
        _ = try await self.shared.create([new])
        let id = try await other.enqueue("w").id
        await runner.serveOnce()
        await self.clock.settle()
        #expect(try await self.completed() == [id, new.id])
    }

    /// A server that has turned read-only answers every look, and nobody can beat.
    @Test func nobodyIsDeadWhereNothingCanBeWritten() async throws {
        let isReadOnly = Mutex(true)
        let store = HookedStore(
            self.shared,
            before: { call throws(PipelineError) in
                if call == .checkWritable, isReadOnly.withLock({ $0 }) { throw HookedStore.fault }
            })
        let runner = try self.clock.runner(self.workflow(), store: store)
        let (owner, now) = (UUID(), self.clock.now())
        _ = try await self.shared.beat(owner, number: 1, pipelines: [], at: now)
        let new = NewPipeline(try self.workflow(), owner: owner, at: now)
        _ = try await self.shared.create([new])
        func look() async {
            await runner.serveOnce()
            await self.clock.settle()
            await self.clock.advance(by: .seconds(6))
        }
        for _ in 0..<20 { await look() }
        #expect(try await self.completed().isEmpty)
        isReadOnly.withLock { $0 = false }
        await look()
        #expect(try await self.completed().isEmpty)
        for _ in 0..<5 { await look() }
        #expect(try await self.completed() == [new.id])
    }

    /// What is due does not wait for that, nor do other dead runners' pipelines.
    @Test func aDeadRunnerWhosePipelinesCannotBeHadHoldsUpNobody() async throws {
        let dead = [UUID(), UUID()].sorted { $0 < $1 }
        let mayFail = Tally()
        let store = HookedStore(
            self.shared,
            before: { call throws(PipelineError) in
                guard call == .recover(dead[0]) else { return }
                await mayFail.reached(1)
                throw HookedStore.fault
            })
        let runner = try self.clock.runner(self.workflow(), store: store) { $0.leaseDuration = .zero }
        let workflow = try self.workflow()
        let left = dead.map { NewPipeline(workflow, owner: $0, at: self.clock.now()) }
        let due = NewPipeline(workflow, at: self.clock.now())
        _ = try await self.shared.create(left + [due])
        runner.state.withLock { $0.serves = true }
        let sweep = self.clock.begin { await runner.sweep() }
        await self.clock.settle()
        #expect(try await self.completed() == [due.id])
        mayFail.add()
        // It comes again for the one that it could not have.
        #expect(try await sweep.value != nil)
        await self.clock.settle()
        #expect(try await self.completed() == [due.id, left[1].id])
        #expect(try await self.shared.load(left[0].id)?.owner == dead[0])
    }

    /// What a recovery could not have, because somebody had locked it, is looked for with the very next sweep.
    @Test func whatARecoveryLeftIsFoundByTheNextSweep() async throws {
        let workflow = try self.workflow()
        let dead = UUID()
        let left = NewPipeline(workflow, owner: dead, at: self.clock.now())
        let isFirst = Mutex(true)
        let store = HookedStore(
            self.shared,
            after: { call throws(PipelineError) in
                guard call == .recover(dead), isFirst.withLock({ $0 }) else { return }
                isFirst.withLock { $0 = false }
                // As if it had been locked.
                _ = try await self.shared.create([left])
            })
        let runner = try self.clock.runner(workflow, store: store) { $0.leaseDuration = .zero }
        _ = try await self.shared.beat(dead, number: 1, pipelines: [], at: self.clock.now())
        let taken = NewPipeline(workflow, owner: dead, at: self.clock.now())
        _ = try await self.shared.create([taken])
        await runner.serveOnce()
        await self.clock.settle()
        #expect(try await self.completed() == [taken.id])
        await runner.serveOnce()
        await self.clock.settle()
        #expect(try await self.completed() == [taken.id, left.id])
    }

    /// However many places it has, it can tell how many of them are taken.
    @Test(arguments: [Int.max, .max / 15 + 1, .max / 16 + 1, .max / 30])
    func aRunnerHasAsManyPlacesAsItIsGiven(count: Int) async throws {
        struct Broken: Error {}
        let mayEnd = Tally()
        let workflow = try Workflow("w") {
            WorkflowTask("retrying", retry: .fixed(2, delay: .seconds(60))) { _, scope in
                if scope.attempt == 1 { throw Broken() }
            }
            WorkflowTask("t", after: "retrying") { _ in await mayEnd.meet(3) }
        }
        let runner = try self.clock.runner(workflow, store: self.shared) { $0.maximumQueuedPipelines = count }
        for _ in 0..<3 { try await runner.enqueue("w") }
        await runner.serveOnce()
        await self.clock.settle()
        #expect(runner.activePipelines == 3)
        // While each waits for its second attempt, no place is taken.
        #expect(runner.state.withLock { $0.admission.load } == 0)
        await self.clock.advance(by: .seconds(60))
        #expect(try await self.completed().count == 3)
    }
}
