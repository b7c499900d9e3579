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
}
