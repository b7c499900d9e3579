import CloacinaPostgres
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// A tenant whose rows somebody holds locks on: its sweep, for which the other tenants wait, is over all the same.
@Suite(.timeLimit(.minutes(2))) struct BoundedSweepTests {
    /// A clock of which each wait for somebody's lock takes five seconds.
    private struct WaitingClock: EngineClock {
        let clock = HandClock()
        private let waited = Tally()

        func wait() { self.waited.add() }
        var executor: (any TaskExecutor)? { self.clock.executor }
        func now() -> Date { self.clock.now() }
        func instant() -> ContinuousClock.Instant {
            self.clock.instant().advanced(by: .seconds(5) * self.waited.count)
        }
        func sleep(for duration: Duration) async throws { try await self.clock.sleep(for: duration) }
        func random() -> UInt64 { self.clock.random() }
    }

    private let clock = WaitingClock()
    private let shared = InMemoryWorkflowStore()

    private static let locked = PipelineError(
        .storageFailed, "on demand", underlying: PostgresError(.rejectedByServer, sqlState: "55P03"))

    private func workflow() throws -> Workflow { try Workflow("w") { WorkflowTask("t") { _ in } } }

    private func runner(_ store: any WorkflowStore) throws -> DefaultRunner {
        var configuration = RunnerConfiguration()
        configuration.leaseDuration = .zero
        configuration.versionPolicy = .pinned
        return try DefaultRunner(
            store: store, workflows: [self.workflow()], configuration: configuration, clock: self.clock)
    }

    /// Each sweep begins with another one, so what can be had is had in the end.
    @Test func deadRunnersWhosePipelinesAreLockedEndTheSweep() async throws {
        let dead = (0..<20).map { _ in UUID() }
        let tried = Mutex<[UUID]>([])
        let store = HookedStore(
            self.shared,
            before: { [clock] call throws(PipelineError) in
                guard case .recover(let runner) = call else { return }
                tried.withLock { $0.append(runner) }
                clock.wait()
                throw Self.locked
            })
        let workflow = try self.workflow()
        _ = try await self.shared.create(dead.map { NewPipeline(workflow, owner: $0, at: self.clock.now()) })
        let runner = try self.runner(store)
        for sweep in 1...dead.count {
            _ = await runner.sweep()
            #expect(tried.withLock { $0.count } == sweep)
        }
        #expect(tried.withLock { Set($0) } == Set(dead))
    }

    @Test func requestsThatCannotBeCarriedOutEndTheSweep() async throws {
        let tried = Tally()
        let store = HookedStore(
            self.shared,
            before: { [clock] call throws(PipelineError) in
                guard call == .apply else { return }
                tried.add()
                clock.wait()
                throw Self.locked
            })
        let workflow = try self.workflow()
        for _ in 0..<20 {
            let new = NewPipeline(workflow, owner: UUID(), at: self.clock.now())
            _ = try await self.shared.create([new])
            try await self.shared.ask(.cancel, of: new.id)
            var transition = PipelineTransition(expectedRevision: 1)
            transition.status = .paused
            _ = try await self.shared.apply([
                PipelineChange(id: new.id, epoch: 1, at: self.clock.now(), transition: transition)
            ])
        }
        let runner = try self.runner(store)
        await runner.serveOnce()
        #expect(tried.count == 1)
        #expect(try await self.shared.survey(everyOwner: true, at: self.clock.now()).unheard.count == 20)
    }

    /// One that can't be had holds up none of the others.
    @Test func theOtherChildrenOfAnEndedPipelineAreCancelledToo() async throws {
        let isFirst = Mutex(true)
        let store = HookedStore(
            self.shared,
            before: { call throws(PipelineError) in
                let mustFail = isFirst.withLock { isFirst in
                    defer { if call == .apply { isFirst = false } }
                    return call == .apply && isFirst
                }
                if mustFail { throw Self.locked }
            })
        let (workflow, parent, now) = (try self.workflow(), UUID(), self.clock.now())
        let children = (0..<3).map { _ in
            var child = NewPipeline(workflow, at: now)
            child.parent = parent
            return child
        }
        _ = try await self.shared.create(children)
        await (try self.runner(store)).cancelChildren(of: parent)
        #expect(try await self.shared.list(PipelineQuery(statuses: [.cancelled])).count == 2)
    }

    /// S17: however many there are.
    @Test func allChildrenOfAnEndedPipelineAreCancelled() async throws {
        let (workflow, parent, now) = (try self.workflow(), UUID(), self.clock.now())
        let count = StoredLimits.surveyRows * 2 + 10
        _ = try await self.shared.create(
            (0..<count).map { _ in
                var child = NewPipeline(workflow, at: now)
                child.parent = parent
                return child
            })
        await (try self.runner(self.shared)).cancelChildren(of: parent)
        #expect(try await self.shared.list(PipelineQuery(statuses: [.cancelled], limit: 10_000)).count == count)
    }

    /// What was cancelled while it ran, and whose runner died then, is cancelled although nobody has its version.
    @Test func aCancelOfWhatNobodyCanClaimIsCarriedOut() async throws {
        let (dead, now) = (UUID(), self.clock.now())
        let other = try Workflow("w") { WorkflowTask("t", codeVersion: "other") { _ in } }
        let new = NewPipeline(other, owner: dead, at: now)
        _ = try await self.shared.create([new])
        let started = PipelineEvent(.taskStarted, task: "t", attempt: 1, worker: dead, at: now)
        var transition = PipelineTransition(expectedRevision: 1)
        transition.events = [started]
        _ = try await self.shared.apply([PipelineChange(id: new.id, epoch: 1, at: now, transition: transition)])
        let runner = try self.runner(self.shared)
        try await runner.cancel(new.id)
        #expect(try await runner.status(of: new.id) == .running)
        #expect(try await self.shared.recover(dead, beats: 0, by: runner.id, at: now) == 1)
        await runner.serveOnce()
        #expect(try await runner.status(of: new.id) == .cancelled)
    }
}
