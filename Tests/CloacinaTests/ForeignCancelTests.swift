import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// What one runner asks of another one's pipelines, over the store that they share.
@Suite(.timeLimit(.minutes(5))) struct ForeignCancelTests {
    private static func runner(_ store: any WorkflowStore, _ workflow: Workflow) throws -> DefaultRunner {
        var configuration = RunnerConfiguration()
        configuration.heartbeatInterval = .milliseconds(1)
        return try DefaultRunner(store: store, workflows: [workflow], configuration: configuration)
    }

    /// Runs until it is cancelled.
    private static func forever() async throws {
        let (stream, _) = AsyncStream<Void>.makeStream()
        for await _ in stream {}
        try Task.checkCancellation()
    }

    @Test func executeReturnsWhenAnotherRunnerCancels() async throws {
        let (ids, tell) = AsyncStream<UUID>.makeStream()
        let workflow = try Workflow("w") {
            WorkflowTask("before") { context in try context.set("before", to: 1) }
            WorkflowTask("long", after: "before") { _, scope in
                tell.yield(scope.executionID)
                try await Self.forever()
            }
            WorkflowTask("after", after: "long") { _ in Issue.record("it ran") }
        }
        let store = InMemoryWorkflowStore()
        let (owner, other) = (try Self.runner(store, workflow), try Self.runner(store, workflow))
        async let running = owner.execute("w")
        for await id in ids {
            try await other.cancel(id)
            break
        }
        let result = try await running
        #expect(result.status == .cancelled)
        #expect(result.tasks.map(\.status) == [.completed, .failed, .skipped])
        #expect(result.finalContext["before"] == 1)
        // The other one hears the same.
        #expect(try await other.result(of: result.id).status == .cancelled)
        let history = try await other.history(of: result.id)
        #expect(history.last?.kind == .pipelineCancelled && history.last?.worker == owner.id)
        try await other.cancel(result.id)
        #expect(try await other.history(of: result.id) == history)
    }

    @Test func executeReturnsWhenItIsCancelledInTheQueue() async throws {
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in Issue.record("it ran") } }
        let store = InMemoryWorkflowStore()
        let (owner, other) = (try Self.runner(store, workflow), try Self.runner(store, workflow))
        let options = ExecutionOptions(idempotencyKey: "once", delay: .seconds(86_400))
        async let running = owner.execute("w", context: Context(), options: options)
        var id: UUID?
        while id == nil {
            id = try await other.list().first?.id
            await Task.yield()
        }
        try await other.cancel(try #require(id))
        let result = try await running
        #expect(result.status == .cancelled && result.task("t")?.status == .skipped)
    }

    /// What stands still has not ended: whoever executes it waits on, and is told when it has.
    @Test func executeReturnsWhenItIsCancelledWhilePaused() async throws {
        let (ids, tell) = AsyncStream<UUID>.makeStream()
        let mayEnd = Tally()
        let workflow = try Workflow("w") {
            WorkflowTask("first") { _, scope in
                tell.yield(scope.executionID)
                await mayEnd.reached(1)
            }
            WorkflowTask("after", after: "first") { _ in Issue.record("it ran") }
        }
        let store = InMemoryWorkflowStore()
        let (owner, other) = (try Self.runner(store, workflow), try Self.runner(store, workflow))
        let hasReturned = Mutex(false)
        let running = Task {
            defer { hasReturned.withLock { $0 = true } }
            return try await owner.execute("w")
        }
        for await id in ids {
            try await owner.pause(id)
            mayEnd.add()
            while try await other.status(of: id) != .paused { await Task.yield() }
            for _ in 0..<100 { await Task.yield() }
            #expect(hasReturned.withLock { !$0 })
            try await other.cancel(id)
            break
        }
        let result = try await running.value
        #expect(result.status == .cancelled)
        #expect(result.tasks.map(\.status) == [.completed, .skipped])
    }
}
