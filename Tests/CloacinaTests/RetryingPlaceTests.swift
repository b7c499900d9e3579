import FoundationEssentials
import Synchronization
import Testing

@testable import Cloacina

/// How many pipelines from the queue a runner has, when some of them only wait for a retry, or for others that do.
@Suite(.timeLimit(.minutes(5))) struct RetryingPlaceTests {
    private struct Broken: Error {}

    private let clock = HandClock()

    /// A runner with one place, a pipeline that fails at first, and one that doesn't.
    private func runner() throws -> DefaultRunner {
        let retrying = try Workflow("retrying") {
            WorkflowTask("t", retry: .fixed(2, delay: .seconds(3_600))) { _, scope in
                if scope.attempt == 1 { throw Broken() }
            }
        }
        let quick = try Workflow("quick") { WorkflowTask("t") { _ in } }
        return try self.clock.runner(retrying, quick, store: InMemoryWorkflowStore()) { $0.maximumQueuedPipelines = 1 }
    }

    @Test func whatOnlyWaitsForARetryTakesUpNoPlace() async throws {
        let runner = try self.runner()
        let patient = try await runner.enqueue("retrying", options: ExecutionOptions(priority: 1)).id
        let other = try await runner.enqueue("quick").id
        await runner.serveOnce()
        await self.clock.settle()
        #expect(try await runner.snapshot(of: patient).task("t")?.status == .retrying)
        #expect(try await runner.status(of: other) == .completed)
        await self.clock.advance(by: .seconds(3_600))
        #expect(try await runner.status(of: patient) == .completed)
        #expect(runner.state.withLock { $0.admission.retrying == 0 && $0.admission.claimed == 0 })
    }

    /// Its heartbeats fail meanwhile, so nobody tells it.
    @Test func aRunnerThatWasCutOffBeginsNoAttemptOfWhatAnotherHas() async throws {
        let shared = InMemoryWorkflowStore()
        let isCutOff = Mutex(false)
        let attempts = Mutex<[String]>([])
        func runner(_ name: String, _ store: any WorkflowStore) throws -> DefaultRunner {
            let retrying = try Workflow("retrying") {
                WorkflowTask("t", retry: .fixed(2, delay: .seconds(600))) { _, scope in
                    attempts.withLock { $0.append("\(name) \(scope.attempt)") }
                    if scope.attempt == 1 { throw Broken() }
                }
            }
            return try self.clock.runner(retrying, store: store)
        }
        let store = HookedStore(
            shared,
            before: { call throws(PipelineError) in
                if [.beat, .claims].contains(call), isCutOff.withLock({ $0 }) { throw HookedStore.fault }
            })
        let old = try runner("old", store)
        let new = try runner("new", shared)
        let execution = try await old.executeAsync("retrying")
        await self.clock.settle()
        isCutOff.withLock { $0 = true }
        let beats = try await shared.survey(everyOwner: true, at: self.clock.now()).beats[old.id] ?? 0
        let recovered = try await shared.recover(old.id, beats: beats, by: new.id, at: self.clock.now())
        #expect(recovered == 1)
        await new.serveOnce()
        await self.clock.settle()
        await self.clock.advance(by: .seconds(700))
        #expect(try await new.status(of: execution.id) == .completed)
        #expect(attempts.withLock { $0 } == ["old 1", "new 2"])
    }

    /// Fifteen times as many as there are places, and one that has the place.
    @Test func noMoreWaitForARetryThanAreAllowed() async throws {
        let runner = try self.runner()
        for _ in 0..<20 { try await runner.enqueue("retrying") }
        await runner.serveOnce()
        await self.clock.settle()
        #expect(runner.activePipelines == 16)
        await self.clock.advance(by: .seconds(7_200))
        #expect(try await runner.list(PipelineQuery(statuses: [.completed])).count == 20)
    }

    /// Parents whose children wait for a retry are bounded as well, and those that were passed over get their turn (engine fault
    /// A13).
    @Test func noMoreParentsWaitThanAreAllowed() async throws {
        let child = try Workflow("child") {
            WorkflowTask("t", retry: .fixed(2, delay: .seconds(3_600))) { _, scope in
                if scope.attempt == 1 { throw Broken() }
            }
        }
        let parent = try Workflow("parent") {
            WorkflowTask("p") { _, scope in try await scope.execute("child").completed() }
        }
        let runner = try self.clock.runner(child, parent, store: InMemoryWorkflowStore()) {
            $0.maximumQueuedPipelines = 1
        }
        for _ in 0..<20 { try await runner.enqueue("parent") }
        await runner.serveOnce()
        await self.clock.settle()
        let running = PipelineQuery(workflow: "parent", statuses: [.running])
        #expect(try await runner.list(running).count == 15)
        await self.clock.advance(by: .seconds(7_200))
        let completed = PipelineQuery(workflow: "parent", statuses: [.completed])
        #expect(try await runner.list(completed).count == 20)
    }
}
