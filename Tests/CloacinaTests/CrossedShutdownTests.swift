import CloacinaPostgres
import TestSupport
import Testing

@testable import Cloacina

/// A shutdown, or an end that the database has forgotten, meets what somebody waits for.
@Suite(.timeLimit(.minutes(5))) struct CrossedShutdownTests {
    private let clock = HandClock()
    private let store = InMemoryWorkflowStore()
    private let begun = Tally()
    private let gates = [Tally(), Tally()]

    /// An error of a task's own.
    private struct ImportFailed: Error {}

    private func statuses(_ workflow: String) async throws -> [String] {
        try await self.store.list(PipelineQuery(workflow: workflow)).map(\.status.rawValue).sorted()
    }

    private func child() throws -> Workflow {
        try Workflow("child") {
            WorkflowTask("a") { context in
                self.begun.add()
                await self.gates[try context.get("n", as: Int.self)].reached(1)
            }
            WorkflowTask("b", after: "a") { _ in }
        }
    }

    /// A drain × several children: each ends its step and goes back into the queue as it is, whichever is the first.
    @Test func aDrainCancelsNoChildBesideAnother() async throws {
        let parent = try Workflow("parent") {
            WorkflowTask("p") { _, scope in
                let results = try await scope.executeEach("child", over: 0..<2, id: \.self) {
                    try Context(["n": JSONValue(encoding: $0)])
                }
                for result in results { try result.completed() }
            }
        }
        let first = try self.clock.runner(parent, self.child(), store: self.store)
        let running = self.clock.begin { try await first.execute("parent") }
        await self.begun.reached(2)
        let ended = self.clock.begin { await first.shutDown(drain: .seconds(10)) }
        await self.clock.settle()
        self.gates[0].add()
        await self.clock.settle()
        #expect(try await self.statuses("child") == ["queued", "running"])
        self.gates[1].add()
        try await ended.value
        _ = await running.result
        #expect(try await self.statuses("child") == ["queued", "queued"])
        #expect(try await self.statuses("parent") == ["queued"])
        let second = try self.clock.runner(parent, self.child(), store: self.store)
        await second.serveOnce()
        await self.clock.advance(by: .seconds(60))
        #expect(try await self.statuses("parent") == ["completed"])
        #expect(self.begun.count == 2)
    }

    /// A drain × a task that makes an error of its own of what its wait ended with: it has not failed.
    @Test func aTaskThatWrapsTheEndOfItsWaitHasNotFailed() async throws {
        let parent = try Workflow("parent") {
            WorkflowTask("p") { _, scope in
                do {
                    try await scope.execute("child", context: Context(["n": 0])).completed()
                } catch {
                    throw ImportFailed()
                }
            }
        }
        let first = try self.clock.runner(parent, self.child(), store: self.store)
        let running = self.clock.begin { try await first.execute("parent") }
        await self.begun.reached(1)
        let ended = self.clock.begin { await first.shutDown(drain: .seconds(10)) }
        await self.clock.settle()
        self.gates[0].add()
        try await ended.value
        _ = await running.result
        #expect(try await self.statuses("parent") == ["queued"])
        #expect(try await self.statuses("child") == ["queued"])
    }

    /// A drain × a task that fails while it waits: its own error counts, and its child is cancelled as at any other time.
    @Test func aDrainKeepsNoTaskFromGivingUpItsChild() async throws {
        let parent = try Workflow("parent") {
            WorkflowTask("p") { _, scope in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask { try await scope.execute("child", context: Context(["n": 0])).completed() }
                    group.addTask {
                        await self.gates[1].reached(1)
                        throw ImportFailed()
                    }
                    for try await _ in group {}
                }
            }
        }
        let runner = try self.clock.runner(parent, self.child(), store: self.store)
        let running = self.clock.begin { try await runner.execute("parent") }
        await self.begun.reached(1)
        let ended = self.clock.begin { await runner.shutDown(drain: .seconds(10)) }
        await self.clock.settle()
        self.gates[1].add()
        await self.clock.settle()
        self.gates[0].add()
        try await ended.value
        _ = await running.result
        #expect(try await self.statuses("parent") == ["failed"])
        #expect(try await self.statuses("child") == ["cancelled"])
    }

    /// A failover × suspects × a cancel: the database has the line that a task begins, and not how the pipeline ended.
    @Test(arguments: [false, true]) func whatWasSaidToHaveBegunBeginsAnew(isCancelled: Bool) async throws {
        let workflow = try Workflow("w") {
            WorkflowTask("t") { _ in self.begun.add() }
            WorkflowTask("u", after: "t") { _ in }
        }
        let busy = try Workflow("busy") { WorkflowTask("t") { _ in await self.gates[0].reached(1) } }
        let runner = try self.clock.runner(workflow, busy, store: self.store)
        let beating = self.clock.begin { try await runner.execute("busy") }
        await self.clock.settle()
        let new = NewPipeline(
            id: .version7(), workflow: "w", version: workflow.contentVersion.hex, input: Context(), owner: runner.id,
            at: self.clock.now())
        _ = try await self.store.create([new])
        var transition = PipelineTransition(expectedRevision: 1)
        transition.events = [
            PipelineEvent(.taskStarted, task: "t", attempt: 1, worker: runner.id, at: self.clock.now())
        ]
        let change = PipelineChange(
            id: new.id, owner: runner.id, epoch: 1, at: self.clock.now(), transition: transition)
        #expect(try await self.store.apply([change]) == [.applied(nil)])
        await self.clock.advance(by: runner.configuration.heartbeatInterval * 15)
        let stored = try #require(try await self.store.load(new.id))
        #expect(stored.status == .queued && stored.events.last?.reason == .claimLost)
        if isCancelled {
            try await runner.cancel(new.id)
            #expect(try await self.store.load(new.id)?.status == .cancelled)
        } else {
            await runner.serveOnce()
            await self.clock.advance(by: .seconds(60))
            #expect(try await self.store.load(new.id)?.status == .completed)
            #expect(self.begun.count == 1)
        }
        self.gates[0].add()
        _ = await beating.result
        await runner.shutDown(drain: .zero)
    }

    /// An answer that is lost × a key × a runner that serves no queue: the call with the same key learns how the first one ended.
    @Test func whatWasCreatedUnawaresIsDrivenWhereNobodyServes() async throws {
        let lost = Tally()
        let store = HookedStore(
            self.store,
            after: { call throws(PipelineError) in
                guard call == .create, lost.count == 0 else { return }
                lost.add()
                throw Self.lost
            })
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in self.begun.add() } }
        // An outage of any length.
        let runner = try self.clock.runner(workflow, store: store) { $0.databasePatience = .zero }
        let options = ExecutionOptions(idempotencyKey: "k")
        let failing = self.clock.begin { try await runner.execute("w", options: options) }
        let error = await #expect(throws: PipelineError.self) { try await failing.value }
        #expect(error?.code == .storageFailed)
        let again = self.clock.begin { try await runner.execute("w", options: options) }
        await self.clock.advance(by: .seconds(120))
        let result = try await again.value
        #expect(result.status == .completed && !result.isNew)
        #expect(self.begun.count == 1)
    }

    private static let lost = PipelineError(.storageFailed, "on demand", underlying: PostgresError(.connectionLost))
}
