import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// Waiting for a pipeline that another runner has.
@Suite(.timeLimit(.minutes(5))) struct WaitingTests {
    /// Counts what is read of pipelines.
    private final class CountingStore: ForwardingWorkflowStore {
        let underlying: any WorkflowStore
        private let counts = Mutex((loads: 0, looks: 0))

        init(_ store: any WorkflowStore) { self.underlying = store }

        var loads: Int { self.counts.withLock { $0.loads } }
        var looks: Int { self.counts.withLock { $0.looks } }

        func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
            self.counts.withLock { $0.loads += 1 }
            return try await self.underlying.load(id)
        }

        func status(of id: UUID) async throws(PipelineError) -> PipelineStatus? {
            self.counts.withLock { $0.looks += 1 }
            return try await self.underlying.status(of: id)
        }
    }

    /// A history may be long, and who waits looks twice in a second.
    @Test func whoWaitsReadsTheHistoryWhenThePipelineStandsElsewhere() async throws {
        let (clock, shared, mayEnd) = (HandClock(), InMemoryWorkflowStore(), Tally())
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in await mayEnd.reached(1) } }
        let runner = try clock.runner(workflow, store: shared)
        let execution = try await runner.executeAsync("w")
        let store = CountingStore(shared)
        let watcher = try clock.runner(workflow, store: store)
        let waiting = clock.begin { try await watcher.result(of: execution.id) }
        for _ in 0..<40 { await clock.advance(by: .milliseconds(500)) }
        #expect(store.looks > 30 && store.loads == 1)
        mayEnd.add()
        await clock.settle()
        await clock.advance(by: .seconds(1))
        #expect(try await waiting.value.status == .completed)
        #expect(store.loads == 2)
    }

    // MARK: For a while

    /// A pipeline that nobody will go on with, as it stands.
    private static func left(
        _ status: PipelineStatus, _ workflow: Workflow, by runner: DefaultRunner
    ) async throws -> UUID {
        guard status != .running else {
            let new = NewPipeline(workflow, owner: UUID(), at: runner.clock.now())
            _ = try await runner.store.create([new])
            return new.id
        }
        let id = try await runner.enqueue(workflow.name).id
        if status == .paused { try await runner.pause(id) }
        return id
    }

    @Test(arguments: [
        (PipelineStatus.queued, "RunnerGroup"), (.paused, "resume(_:)"), (.running, "cancel(_:)"),
    ])
    func whoWaitsForAWhileIsToldWhereThePipelineStands(status: PipelineStatus, advice: String) async throws {
        let (clock, ended) = (HandClock(), Tally())
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
        let runner = try clock.runner(workflow, store: InMemoryWorkflowStore())
        let id = try await Self.left(status, workflow, by: runner)
        let waiting = clock.begin {
            defer { ended.add() }
            return try await runner.result(of: id, within: .seconds(30))
        }
        await clock.advance(by: .milliseconds(29_999))
        #expect(ended.count == 0)
        await clock.advance(by: .milliseconds(1))
        #expect(ended.count == 1)
        let error = await #expect(throws: PipelineError.self) { try await waiting.value }
        #expect(error?.code == .deadlineExceeded)
        for words in ["\(id)", "30.0 seconds", status.rawValue, advice] {
            #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
        }
        #expect(try await runner.status(of: id) == status)
        #expect(clock.sleepers == 0)
    }

    @Test func whatRunsHereGoesOnWhenItIsWaitedForNoLonger() async throws {
        let (clock, mayEnd) = (HandClock(), Tally())
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in await mayEnd.reached(1) } }
        let runner = try clock.runner(workflow, store: InMemoryWorkflowStore())
        let execution = try await runner.executeAsync("w")
        await clock.settle()
        let waiting = clock.begin { try await execution.result(within: .seconds(10)) }
        await clock.advance(by: .seconds(10))
        let error = await #expect(throws: PipelineError.self) { try await waiting.value }
        #expect(error?.code == .deadlineExceeded && error?.message.contains("was running") == true)
        let again = clock.begin { try await execution.result(within: .seconds(10)) }
        await clock.advance(by: .seconds(9))
        mayEnd.add()
        #expect(try await again.value.status == .completed)
    }

    private static let lengths: [Duration] = [
        .zero, .seconds(-1), .seconds(Int64.min), .seconds(Int64.min) * 4, .nanoseconds(1), .seconds(Int64.max),
        .seconds(Int64.max) * 4,
    ]

    @Test(arguments: Self.lengths) func aPipelineThatHasEndedIsNotWaitedFor(limit: Duration) async throws {
        let clock = HandClock()
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
        let runner = try clock.runner(workflow, store: InMemoryWorkflowStore())
        let execution = try await runner.executeAsync("w")
        await clock.settle()
        let waiting = clock.begin { try await execution.result(within: limit) }
        #expect(try await waiting.value.status == .completed)
    }

    @Test(arguments: Self.lengths) func aLimitOfAnySizeIsALimit(limit: Duration) async throws {
        let (clock, ended) = (HandClock(), Tally())
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
        let runner = try clock.runner(workflow, store: InMemoryWorkflowStore())
        let id = try await runner.enqueue("w").id
        let waiting = clock.begin {
            defer { ended.add() }
            return try await runner.result(of: id, within: limit)
        }
        await clock.advance(by: .seconds(1))
        #expect(ended.count == (limit > .seconds(1) ? 0 : 1))
        waiting.cancel()
        let error = await #expect(throws: PipelineError.self) { try await waiting.value }
        #expect(error?.code == (limit > .seconds(1) ? .cancelled : .deadlineExceeded))
        #expect(try await runner.status(of: id) == .queued)
    }

    /// A store that says nothing of a pipeline until whoever asks is cancelled.
    private struct SilentStore: ForwardingWorkflowStore {
        let underlying: any WorkflowStore

        func status(of id: UUID) async throws(PipelineError) -> PipelineStatus? {
            let (silence, sink) = AsyncStream<Never>.makeStream()
            for await _ in silence {}
            sink.finish()
            throw PipelineError(.storageFailed, "on demand", underlying: CancellationError())
        }
    }

    @Test func aDatabaseThatDoesNotAnswerIsNotWaitedForEither() async throws {
        let clock = HandClock()
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
        let runner = try clock.runner(workflow, store: SilentStore(underlying: InMemoryWorkflowStore()))
        let id = try await runner.enqueue("w").id
        let waiting = clock.begin { try await runner.result(of: id, within: .seconds(30)) }
        await clock.advance(by: .seconds(30))
        let error = await #expect(throws: PipelineError.self) { try await waiting.value }
        #expect(error?.code == .deadlineExceeded && error?.message.contains("was not seen") == true)
    }
}
