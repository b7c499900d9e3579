import FoundationEssentials
import TestSupport
import Testing

@testable import Cloacina

/// What a runner does with pipelines whose workflows it doesn't know, and with those that nobody needs any more.
@Suite(.timeLimit(.minutes(5))) struct LateRegistrationTests {
    private static func workflow() throws -> Workflow {
        try Workflow("etl") {
            WorkflowTask("extract") { _ in Issue.record("it has completed before") }
            WorkflowTask("load", after: "extract") { context in
                try context.set("loaded", to: context.get("rows", as: Int.self))
            }
        }
    }

    @Test func aRecoveredPipelineWaitsUntilItsWorkflowIsRegistered() async throws {
        let store = InMemoryWorkflowStore()
        let workflow = try Self.workflow()
        let dead = UUID()
        let new = NewPipeline(
            id: .version7(), workflow: "etl", version: workflow.contentVersion.hex, input: Context(), owner: dead,
            at: Date())
        _ = try await store.create([new])
        var transition = PipelineTransition(expectedRevision: 1)
        transition.events = [
            PipelineEvent(
                .taskCompleted, task: "extract", attempt: 1, worker: dead, at: Date(),
                delta: ContextDelta(["rows": .set(3)]))
        ]
        _ = try await store.apply([PipelineChange(id: new.id, epoch: 1, at: Date(), transition: transition)])

        var configuration = RunnerConfiguration()
        configuration.leaseDuration = .nanoseconds(1)
        let other = try Workflow("other") { WorkflowTask("t") { _ in } }
        let runner = try DefaultRunner(store: store, workflows: [other], configuration: configuration)
        // The second look finds that the dead one has said nothing since.
        for _ in 0..<5 { await runner.serveOnce() }
        // Another workflow's run ends, so the queue was looked at.
        #expect(try await runner.result(of: runner.enqueue("other").id).status == .completed)
        let waiting = try #require(try await store.load(new.id))
        #expect(waiting.status == .queued && waiting.recoveries == 1 && waiting.owner == nil)
        #expect(waiting.events.map(\.kind) == [.pipelineStarted, .taskCompleted, .pipelineRecovered])
        let unknown = await #expect(throws: PipelineError.self) { try await runner.snapshot(of: new.id) }
        #expect(unknown?.code == .workflowNotFound)
        #expect(try await runner.status(of: new.id) == .queued)

        try runner.register(workflow)
        await runner.serveOnce()
        let result = try await runner.result(of: new.id)
        #expect(result.status == .completed)
        #expect(result.finalContext.values == ["rows": 3, "loaded": 3])
    }

    @Test func sweepsDeleteWhatEndedLongAgoAndNothingElse() async throws {
        struct Broken: Error {}
        let store = InMemoryWorkflowStore()
        let clock = WatchedClock()
        let workflows = [
            try Workflow("good") { WorkflowTask("t") { _ in } },
            try Workflow("bad") { WorkflowTask("t") { _ in throw Broken() } },
        ]
        var configuration = RunnerConfiguration()
        configuration.retention = .seconds(60)
        let runner = try DefaultRunner(
            store: store, workflows: workflows, configuration: configuration, clock: clock)
        let begun = clock.now()
        let dead = NewPipeline(
            id: .version7(at: begun), workflow: "unknown", version: "v", input: Context(), owner: nil, at: begun)
        _ = try await store.create([dead])
        let completed = try await runner.execute("good").id
        let failed = try await runner.execute("bad").id
        let cancelled = try await runner.enqueue("good", options: ExecutionOptions(delay: .seconds(1))).id
        try await runner.cancel(cancelled)
        let paused = try await runner.enqueue("good", options: ExecutionOptions(delay: .seconds(1))).id
        try await runner.pause(paused)
        clock.move(by: 30)
        let later = try await runner.execute("good").id

        clock.move(by: 30)
        await runner.serveOnce()
        #expect(try await runner.list().count == 6)
        clock.move(by: 1)
        await runner.serveOnce()
        #expect(try await Set(runner.list().map(\.id)) == [dead.id, paused, later])
        for id in [completed, failed, cancelled] {
            let gone = await #expect(throws: PipelineError.self) { try await runner.history(of: id) }
            #expect(gone?.code == .pipelineNotFound)
        }
        clock.move(by: 1_000_000)
        await runner.serveOnce()
        #expect(try await Set(runner.list().map(\.id)) == [dead.id, paused])
    }

    @Test func withoutARetentionEverythingIsKept() async throws {
        let clock = WatchedClock()
        let workflow = try Workflow("good") { WorkflowTask("t") { _ in } }
        let runner = try DefaultRunner(store: InMemoryWorkflowStore(), workflows: [workflow], clock: clock)
        let id = try await runner.execute("good").id
        clock.move(by: 1_000_000_000)
        await runner.serveOnce()
        #expect(try await runner.status(of: id) == .completed)
    }
}
