import CloacinaPostgres
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// A runner that has a pipeline twice, one time after the other: the second time is another matter.
@Suite(.timeLimit(.minutes(5))) struct TenureTests {
    private let clock = HandClock()
    private let shared = InMemoryWorkflowStore()

    private func stored(_ id: UUID) async throws -> StoredPipeline { try #require(try await self.shared.load(id)) }

    @Test func anEarlierRunDoesNotTakeTheLaterOnesPlace() async throws {
        let begun = Tally()
        let mayEnd = [Tally(), Tally()]
        let workflow = try Workflow("w") {
            WorkflowTask("t") { _, scope in
                begun.add()
                await mayEnd[scope.attempt - 1].reached(1)
            }
        }
        let runner = try self.clock.runner(workflow, store: self.shared)
        let id = try await runner.enqueue("w").id
        await runner.serveOnce()
        await self.clock.settle()
        // Somebody takes it for dead, and it is the one to go on with what it had.
        #expect(try await self.shared.recover(runner.id, beats: 1, by: UUID(), at: self.clock.now()) == 1)
        await runner.serveOnce()
        await self.clock.settle()
        try #require(begun.count == 2)
        mayEnd[0].add()
        await self.clock.advance(by: runner.configuration.heartbeatInterval)
        #expect(runner.activePipelines == 1)
        let stored = try await self.stored(id)
        #expect(stored.status == .running && stored.epoch == 3 && stored.owner == runner.id)
        mayEnd[1].add()
        await self.clock.settle()
        #expect(runner.activePipelines == 0)
        #expect(
            try await self.stored(id).events.map(\.kind) == [
                .pipelineQueued, .pipelineStarted, .pipelineRecovered, .pipelineStarted, .taskStarted, .taskCompleted,
                .pipelineCompleted,
            ])
    }

    /// The runner knows of a claim that it lost, and not yet of the one that it has: the answer is on its way.
    @Test func whatIsGivenBackIsNotALaterClaim() async throws {
        let mayLearn = Tally()
        let store = HookedStore(
            self.shared,
            after: { call throws(PipelineError) in if call == .claim { await mayLearn.reached(1) } })
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
        let runner = try self.clock.runner(workflow, store: store)
        let new = NewPipeline(workflow, owner: runner.id, at: self.clock.now())
        _ = try await self.shared.create([new])
        _ = try await self.shared.recover(runner.id, beats: 0, by: UUID(), at: self.clock.now())
        await runner.serveOnce()
        await self.clock.settle()
        #expect(try await self.stored(new.id).epoch == 3)
        runner.setAdrift(new.id, DefaultRunner.Adrift(epoch: 1))
        await self.clock.settle()
        #expect(runner.state.withLock { $0.adrift.isEmpty })
        #expect(try await self.stored(new.id).status == .running)
        mayLearn.add()
        await self.clock.settle()
        let stored = try await self.stored(new.id)
        #expect(stored.status == .completed && stored.epoch == 3)
    }

    // MARK: What it could not go on with

    private static func adrift(_ epoch: Int, _ request: PipelineRequest? = nil) -> DefaultRunner.Adrift {
        DefaultRunner.Adrift(epoch: epoch, request: request)
    }

    /// Of what a runner hears of a pipeline it could not go on with, the latest claim counts, and what was asked under that.
    @Test(arguments: [
        ([Self.adrift(3, .cancel), Self.adrift(3)], PipelineRequest.cancel),
        ([Self.adrift(3), Self.adrift(3, .pause)], .pause),
        ([Self.adrift(3, .pause), Self.adrift(1, .cancel)], .cancel),
        ([Self.adrift(3), Self.adrift(1, .cancel)], .cancel),
        ([Self.adrift(1, .cancel), Self.adrift(3)], .cancel), ([Self.adrift(1, .pause), Self.adrift(3)], nil),
        ([Self.adrift(1), Self.adrift(3, .cancel)], .cancel),
    ])
    func theLatestClaimIsGivenBackWithWhatWasAskedOfIt(
        notes: [DefaultRunner.Adrift], request: PipelineRequest?
    ) async throws {
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
        let runner = try self.clock.runner(workflow, store: self.shared)
        let new = NewPipeline(workflow, owner: runner.id, at: self.clock.now())
        _ = try await self.shared.create([new])
        _ = try await self.shared.recover(runner.id, beats: 0, by: UUID(), at: self.clock.now())
        let claim = QueueClaim(
            runner: runner.id, workflows: ["w": new.version], limit: 1, at: self.clock.now())
        #expect(try await self.shared.claim(claim).map(\.epoch) == [3])
        // Before anything can be given back.
        self.clock.begin { for note in notes { runner.setAdrift(new.id, note) } }
        await self.clock.settle()
        let stored = try await self.stored(new.id)
        #expect(stored.status == .queued && stored.request == request)
    }

    /// A store that can't read what happened to one pipeline.
    private final class DamagedStore: ForwardingWorkflowStore {
        let underlying: any WorkflowStore
        private let damaged: UUID

        init(_ store: any WorkflowStore, damaged: UUID) {
            self.underlying = store
            self.damaged = damaged
        }

        func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
            guard id == self.damaged else { return try await self.underlying.load(id) }
            throw PipelineError(.storageFailed, "the history is damaged", underlying: PostgresError(.decodingFailed))
        }
    }

    /// Nobody could go on with it, and its runner lives: it is paused, and nobody tries again and again.
    @Test func whatARunnerCanNeitherGoOnWithNorReadIsSetAside() async throws {
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
        let new = NewPipeline(workflow, owner: UUID(), at: self.clock.now())
        let store = DamagedStore(self.shared, damaged: new.id)
        let runner = try self.clock.runner(workflow, store: store)
        var mine = new
        mine.owner = runner.id
        _ = try await self.shared.create([mine])
        runner.setAdrift(mine.id, DefaultRunner.Adrift(epoch: 1))
        await self.clock.settle()
        let stored = try await self.stored(mine.id)
        #expect(stored.status == .paused && stored.owner == nil)
        let line = try #require(stored.events.last)
        #expect(line.kind == .pipelinePaused && line.reason == .unreadable)
        #expect(line.detail?.contains("the history is damaged") == true)
        #expect(runner.state.withLock { $0.adrift.isEmpty })
    }

    /// A claim of its own that it does not know of, while what it had before goes on.
    @Test func aLostClaimIsFoundAlthoughAnEarlierRunGoesOn() async throws {
        let (begun, mayEnd) = (Tally(), Tally())
        let isLosing = Mutex(false)
        let store = HookedStore(
            self.shared,
            after: { call throws(PipelineError) in
                if call == .claim, isLosing.withLock({ $0 }) { throw HookedStore.fault }
            })
        let workflow = try Workflow("w") {
            WorkflowTask("t") { _, scope in
                begun.add()
                if scope.attempt == 1 { await mayEnd.reached(1) }
            }
        }
        let runner = try self.clock.runner(workflow, store: store)
        let id = try await runner.enqueue("w").id
        await runner.serveOnce()
        await self.clock.settle()
        #expect(try await self.shared.recover(runner.id, beats: 1, by: UUID(), at: self.clock.now()) == 1)
        isLosing.withLock { $0 = true }
        await runner.serveOnce()
        await self.clock.settle()
        #expect(try await self.stored(id).epoch == 3)
        isLosing.withLock { $0 = false }
        await self.clock.advance(by: runner.configuration.heartbeatInterval)
        #expect(runner.state.withLock { $0.adrift[id]?.epoch } == 3)
        // What the earlier run comes to has no effect on that.
        mayEnd.add()
        await self.clock.settle()
        await self.clock.advance(by: runner.configuration.heartbeatInterval)
        #expect(try await self.stored(id).status == .completed)
        #expect(begun.count == 2)
    }

    /// A creation whose answer was lost, and what it created was another runner's before this one learnt of it.
    @Test func whatWasCreatedWithoutAnAnswerIsLookedAtBeforeItBegins() async throws {
        let (begun, mayEnd, mayLearn) = (Tally(), Tally(), Tally())
        let isFirst = Mutex(true)
        let store = HookedStore(
            self.shared,
            after: { call throws(PipelineError) in
                guard call == .create, isFirst.withLock({ $0.take() }) else { return }
                await mayLearn.reached(1)
                throw PipelineError(.storageFailed, "on demand", underlying: PostgresError(.connectionLost))
            })
        let workflow = try Workflow("w") {
            WorkflowTask("t") { _ in
                begun.add()
                await mayEnd.reached(1)
            }
        }
        let runner = try self.clock.runner(workflow, store: store)
        let other = try self.clock.runner(workflow, store: self.shared)
        let starting = self.clock.begin { try await runner.executeAsync("w") }
        await self.clock.settle()
        #expect(try await self.shared.recover(runner.id, beats: 1, by: other.id, at: self.clock.now()) == 1)
        await other.serveOnce()
        await self.clock.settle()
        #expect(begun.count == 1)
        mayLearn.add()
        let id = try await starting.value.id
        await self.clock.settle()
        #expect(begun.count == 1 && runner.activePipelines == 0)
        mayEnd.add()
        await self.clock.settle()
        let stored = try await self.stored(id)
        #expect(stored.status == .completed && stored.epoch == 3)
    }
}

extension Bool {
    /// Whether it was so; it is no longer.
    fileprivate mutating func take() -> Bool {
        defer { self = false }
        return self
    }
}
