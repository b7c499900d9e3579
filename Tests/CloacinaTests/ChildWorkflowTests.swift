import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// Workflows as parts of tasks.
@Suite(.timeLimit(.minutes(5))) struct ChildWorkflowTests {
    struct Broken: Error {}

    /// Counts what runs at the same time.
    final class Gauge: Sendable {
        private let numbers = Mutex((now: 0, most: 0))

        var most: Int { self.numbers.withLock { $0.most } }

        func measure(_ body: () async throws -> Void) async rethrows {
            self.numbers.withLock { numbers in
                numbers.now += 1
                numbers.most = max(numbers.most, numbers.now)
            }
            defer { self.numbers.withLock { $0.now -= 1 } }
            try await body()
        }
    }

    private func runner(
        store: InMemoryWorkflowStore = InMemoryWorkflowStore(), _ workflows: [Workflow],
        _ configure: (inout RunnerConfiguration) -> Void = { _ in }
    ) throws -> DefaultRunner {
        var configuration = RunnerConfiguration()
        configuration.heartbeatInterval = .milliseconds(5)
        configure(&configuration)
        return try DefaultRunner(store: store, workflows: workflows, configuration: configuration)
    }

    private func square(_ gauge: Gauge = Gauge()) throws -> Workflow {
        try Workflow("square") {
            WorkflowTask("multiply") { context in
                let number = try context.get("n", as: Int.self)
                await gauge.measure { for _ in 0..<20 { await Task.yield() } }
                try context.set("n", to: number * number)
            }
        }
    }

    private func each(limit: Int, over numbers: [Int]) throws -> Workflow {
        try Workflow("each") {
            WorkflowTask("all") { context, scope in
                let results = try await scope.executeEach("square", over: numbers, id: \.self, limit: limit) {
                    try Context(["n": JSONValue(encoding: $0)])
                }
                try context.set("squares", to: results.map { try $0.completed().finalContext.get("n", as: Int.self) })
            }
        }
    }

    @Test(arguments: [(limit: 1, slots: 16, most: 1), (3, 16, 3), (16, 2, 2), (16, 1, 1)])
    func aListIsWorkedOffAFewAtATimeAndItsResultsAreInOrder(limit: Int, slots: Int, most: Int) async throws {
        let gauge = Gauge()
        let numbers = Array(0..<24)
        let runner = try self.runner([self.square(gauge), self.each(limit: limit, over: numbers)]) {
            $0.maximumConcurrentTasks = slots
        }
        let result = try await runner.execute("each").completed()
        #expect(try result.finalContext.get("squares", as: [Int].self) == numbers.map { $0 * $0 })
        #expect(gauge.most <= most)
        #expect(most == 1 || gauge.most > 1)
    }

    @Test func twoItemsOfOneIDAreRefusedBeforeAnythingBegins() async throws {
        let runner = try self.runner([self.square(), self.each(limit: 2, over: [1, 2, 1])])
        let result = try await runner.execute("each")
        #expect(result.task("all")?.error?.contains("two items have the id") == true)
        #expect(try await runner.list(PipelineQuery(workflow: "square")).isEmpty)
    }

    @Test func aTaskThatIsTriedAgainRunsOnlyTheChildrenThatFailed() async throws {
        let runs = Mutex<[Int: Int]>([:])
        let child = try Workflow("square") {
            WorkflowTask("multiply") { context in
                let number = try context.get("n", as: Int.self)
                let count = runs.withLock { runs in
                    runs[number, default: 0] += 1
                    return runs[number, default: 0]
                }
                if number == 3, count < 3 { throw Broken() }
            }
        }
        let parent = try Workflow("each") {
            WorkflowTask("all", retry: .fixed(5, delay: .zero)) { _, scope in
                let results = try await scope.executeEach("square", over: 0..<6, id: \.self, limit: 2) {
                    try Context(["n": JSONValue(encoding: $0)])
                }
                for result in results { try result.completed() }
            }
        }
        let runner = try self.runner([child, parent])
        let result = try await runner.execute("each").completed()
        #expect(result.task("all")?.attempt == 3)
        #expect(runs.withLock { $0 } == [0: 1, 1: 1, 2: 1, 3: 3, 4: 1, 5: 1])
    }

    @Test func theSameNameIsTheSameChildAndAnotherNameAnotherOne() async throws {
        let runs = Mutex(0)
        let child = try Workflow("child") { WorkflowTask("t") { _ in runs.withLock { $0 += 1 } } }
        let parent = try Workflow("parent") {
            WorkflowTask("p") { context, scope in
                let first = try await scope.execute("child", as: "a")
                let again = try await scope.execute("child", as: "a")
                let other = try await scope.execute("child", as: "b")
                try context.set("same", to: [first.id == again.id, first.id == other.id])
            }
        }
        let runner = try self.runner([child, parent])
        #expect(try await runner.execute("parent").finalContext["same"] == [true, false])
        #expect(runs.withLock { $0 } == 2)
    }

    @Test func cancellingTheParentCancelsItsChildren() async throws {
        let (began, signal) = AsyncStream.makeStream(of: UUID.self)
        let child = try Workflow("child") {
            WorkflowTask("t") { _, scope in
                signal.yield(scope.executionID)
                try await Task.sleep(for: .seconds(3600))
            }
            WorkflowTask("u", after: "t") { _ in }
        }
        let parent = try Workflow("parent") {
            WorkflowTask("p") { _, scope in _ = try await scope.execute("child") }
        }
        let runner = try self.runner([child, parent])
        let execution = try await runner.executeAsync("parent")
        let childID = try #require(await began.first { _ in true })
        try await execution.cancel()
        #expect(try await execution.result().status == .cancelled)
        let cancelled = try await runner.result(of: childID)
        #expect(cancelled.status == .cancelled && cancelled.task("u")?.status == .skipped)
    }

    @Test func parentAndChildGoOnInAnotherRunnerAfterAShutdown() async throws {
        let (began, signal) = AsyncStream.makeStream(of: Void.self)
        let attempts = Mutex(0)
        let finished = Mutex(0)
        let child = try Workflow("child") {
            WorkflowTask("quick") { _ in finished.withLock { $0 += 1 } }
            WorkflowTask("slow", after: "quick") { _ in
                let isFirst = attempts.withLock { attempts in
                    attempts += 1
                    return attempts == 1
                }
                guard isFirst else { return }
                signal.yield()
                try await Task.sleep(for: .seconds(3600))
            }
        }
        let parent = try Workflow("parent") {
            WorkflowTask("p") { context, scope in
                try context.set("child", to: try await scope.execute("child").completed().status.rawValue)
            }
        }
        let store = InMemoryWorkflowStore()
        let first = try self.runner(store: store, [child, parent])
        let execution = try await first.executeAsync("parent")
        _ = await began.first { _ in true }
        await first.shutDown(drain: .zero)
        let second = try self.runner(store: store, [child, parent])
        let group = Task { try await RunnerGroup([second], drain: .zero).run() }
        #expect(try await second.result(of: execution.id).finalContext["child"] == "completed")
        group.cancel()
        _ = await group.result
        #expect(finished.withLock { $0 } == 1)
        #expect(try await second.list(PipelineQuery(workflow: "child")).count == 1)
    }

    @Test func aDrainThatEndsAChildsStepFailsNoParent() async throws {
        let (began, signal) = AsyncStream.makeStream(of: Void.self)
        let (gate, opener) = AsyncStream.makeStream(of: Void.self)
        let child = try Workflow("child") {
            WorkflowTask("first") { _ in
                signal.yield()
                for await _ in gate { break }
            }
            WorkflowTask("second", after: "first") { _ in }
        }
        let parent = try Workflow("parent") {
            WorkflowTask("p") { _, scope in try await scope.execute("child").completed() }
        }
        let store = InMemoryWorkflowStore()
        let first = try self.runner(store: store, [child, parent])
        let execution = try await first.executeAsync("parent")
        _ = await began.first { _ in true }
        async let end: Void = first.shutDown(drain: .seconds(3_600))
        while first.state.withLock({ !$0.isShutDown }) { await Task.yield() }
        opener.yield()
        await end
        #expect(try await store.load(execution.id)?.status == .queued)
        let second = try self.runner(store: store, [child, parent])
        let group = Task { try await RunnerGroup([second], drain: .zero).run() }
        try await second.result(of: execution.id).completed()
        group.cancel()
        _ = await group.result
    }

    @Test func waitingParentsLeaveRoomForTheirChildren() async throws {
        let (began, signal) = AsyncStream.makeStream(of: Void.self)
        let attempts = Mutex(0)
        let child = try Workflow("child") {
            WorkflowTask("t") { _ in
                let isFirst = attempts.withLock { attempts in
                    attempts += 1
                    return attempts <= 4
                }
                guard isFirst else { return }
                signal.yield()
                try await Task.sleep(for: .seconds(3_600))
            }
        }
        let parent = try Workflow("parent") {
            WorkflowTask("p") { _, scope in try await scope.execute("child").completed() }
        }
        let store = InMemoryWorkflowStore()
        let first = try self.runner(store: store, [child, parent])
        var parents: [PipelineExecution] = []
        for _ in 0..<4 { parents.append(try await first.executeAsync("parent")) }
        var count = 0
        for await _ in began {
            count += 1
            if count == 4 { break }
        }
        await first.shutDown(drain: .zero)
        // All eight are in the queue; the parents were there first.
        let second = try self.runner(store: store, [child, parent]) { $0.maximumQueuedPipelines = 2 }
        let group = Task { try await RunnerGroup([second], drain: .zero).run() }
        for parent in parents { try await second.result(of: parent.id).completed() }
        group.cancel()
        _ = await group.result
    }

    @Test func itemsWhoseIDsLookLikeOtherAttemptsAreKeptApart() async throws {
        let runs = Mutex<[String: Int]>([:])
        let child = try Workflow("child") {
            WorkflowTask("t") { context in
                let name = try context.get("name", as: String.self)
                let count = runs.withLock { runs in
                    runs[name, default: 0] += 1
                    return runs[name, default: 0]
                }
                if name == "a", count == 1 { throw Broken() }
            }
        }
        let parent = try Workflow("parent") {
            WorkflowTask("p", retry: .fixed(2, delay: .zero)) { _, scope in
                let results = try await scope.executeEach("child", over: ["a", "a/2", "2/a"], id: \.self) {
                    try Context(["name": .string($0)])
                }
                for result in results { try result.completed() }
            }
        }
        try await self.runner([child, parent]).execute("parent").completed()
        #expect(runs.withLock { $0 } == ["a": 2, "a/2": 1, "2/a": 1])
    }

    @Test func whatWasAskedOfAPipelineIsHeardAfterItsRelease() async throws {
        let store = InMemoryWorkflowStore()
        let workflow = try self.square()
        let id = UUID.version7()
        let now = Date()
        _ = try await store.create([
            NewPipeline(
                id: id, workflow: "square", version: workflow.contentVersion.hex, input: Context(), owner: UUID(),
                at: now
            )
        ])
        try await store.ask(.cancel, of: id)
        var transition = PipelineTransition(expectedRevision: 1)
        transition.status = .queued
        transition.dueAt = now
        #expect(
            try await store.apply([PipelineChange(id: id, epoch: 1, at: now, transition: transition)])
                == [.applied(.cancel)])
        let runner = try self.runner(store: store, [workflow])
        await runner.serveOnce()
        #expect(try await runner.result(of: id).status == .cancelled)
        await runner.shutDown(drain: .zero)
    }

    @Test func whoWaitsForAPipelineThatRunsHereNeedNotWaitOnWhenCancelled() async throws {
        let (began, signal) = AsyncStream.makeStream(of: Void.self)
        let (gate, opener) = AsyncStream.makeStream(of: Void.self)
        let workflow = try Workflow("w") {
            WorkflowTask("t") { _ in
                signal.yield()
                for await _ in gate { break }
            }
        }
        let runner = try self.runner([workflow])
        let execution = try await runner.executeAsync("w")
        _ = await began.first { _ in true }
        let waiting = Task { () throws(PipelineError) in try await execution.result() }
        waiting.cancel()
        await #expect { try await waiting.value } throws: { ($0 as? PipelineError)?.code == .cancelled }
        opener.yield()
        #expect(try await execution.result().status == .completed)
    }

    @Test func aTaskWithoutARunnerHasNoChildren() async throws {
        let scope = TaskScope(executionID: UUID(), workflow: "w", task: "t", attempt: 1)
        await #expect { try await scope.execute("child") } throws: { ($0 as? PipelineError)?.code == .noDatabase }
    }

    /// Parents that the queue does not hold lend their slots, but no places in the queue.
    @Test func whoWaitsForAChildAndIsNotFromTheQueueMakesNoRoomInIt() async throws {
        let (clock, mayEnd, begun) = (HandClock(), Tally(), Tally())
        let (parents, queued) = (Gauge(), Gauge())
        let child = try Workflow("child") { WorkflowTask("t") { _ in await mayEnd.reached(20) } }
        let parent = try Workflow("parent") {
            WorkflowTask("p") { _, scope in
                try await parents.measure { try await scope.execute("child").completed() }
            }
        }
        let other = try Workflow("other") {
            WorkflowTask("t") { _ in
                begun.add()
                await queued.measure { await mayEnd.reached(begun.count) }
            }
        }
        let runner = try clock.runner(child, parent, other, store: InMemoryWorkflowStore()) {
            $0.maximumQueuedPipelines = 2
        }
        let executions = (0..<5).map { _ in clock.begin { try await runner.execute("parent").status } }
        await clock.settle()
        #expect(parents.most == 5)
        clock.begin { await runner.serveOnce() }
        for _ in 0..<20 { clock.begin { try await runner.enqueue("other") } }
        await clock.settle()
        #expect(begun.count == 2)
        // Each that ends makes room for another one.
        for _ in 0..<20 {
            mayEnd.add()
            await clock.settle()
        }
        #expect(queued.most == 2)
        for execution in executions { #expect(try await execution.value == .completed) }
        #expect(try await runner.list(PipelineQuery(workflow: "other", statuses: [.completed])).count == 20)
    }
}
