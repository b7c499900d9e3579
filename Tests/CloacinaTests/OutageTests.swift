import CloacinaPostgres
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// A database that is away for longer than a runner's patience, and comes back.
@Suite(.timeLimit(.minutes(5))) struct OutageTests {
    /// A store that loses sight of one pipeline, until that was written or read in vain a few times.
    private final class OutageStore: ForwardingWorkflowStore {
        let underlying: any WorkflowStore = InMemoryWorkflowStore()
        private let lost = Mutex<(id: UUID?, tries: Int)>((nil, 0))

        func lose(_ id: UUID) { self.lost.withLock { $0 = (id, 5) } }

        private func find(_ id: UUID) throws(PipelineError) {
            let isLost = self.lost.withLock { lost in
                guard lost.id == id, lost.tries > 0 else { return false }
                lost.tries -= 1
                return true
            }
            guard isLost else { return }
            throw PipelineError(.storageFailed, "on demand", underlying: PostgresError(.connectionLost))
        }

        func apply(_ changes: [PipelineChange]) async throws(PipelineError) -> [StoreOutcome] {
            for change in changes { try self.find(change.id) }
            return try await self.underlying.apply(changes)
        }

        func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
            try self.find(id)
            return try await self.underlying.load(id)
        }
    }

    /// Neither the child's end can be written nor the child be read; then the database is back, and the task that waited goes on.
    @Test func aTaskThatWaitsForAChildIsNotFailedByAnOutage() async throws {
        let store = OutageStore()
        let (begun, mayEnd) = (Tally(), Tally())
        let children = Mutex<Set<UUID>>([])
        let child = try Workflow("child") {
            WorkflowTask("t") { _, scope in
                children.withLock { _ = $0.insert(scope.executionID) }
                begun.add()
                await mayEnd.reached(1)
            }
        }
        let parent = try Workflow("parent") {
            WorkflowTask("p") { context, scope in
                try context.set("child", to: try await scope.execute("child").completed().id.uuidString)
            }
        }
        var configuration = RunnerConfiguration()
        configuration.databasePatience = .zero
        configuration.heartbeatInterval = .milliseconds(1)
        let runner = try DefaultRunner(store: store, workflows: [child, parent], configuration: configuration)
        await runner.serveOnce()
        let execution = try await runner.executeAsync("parent")
        await begun.reached(1)
        let id = try #require(children.withLock { $0.first })
        store.lose(id)
        mayEnd.add()
        let result = try await execution.result()
        #expect(result.status == .completed, "\(result)")
        #expect(result.finalContext["child"] == .string(id.uuidString))
        #expect(try await runner.status(of: id) == .completed)
        #expect(children.withLock { $0 } == [id])
        let kinds = try await runner.history(of: execution.id).map(\.kind)
        #expect(kinds == [.pipelineStarted, .taskCompleted, .pipelineCompleted])
        await runner.shutDown(drain: .zero)
    }
}
