import CloacinaPostgres
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

@Suite(.timeLimit(.minutes(5))) struct RunnerTests {
    private struct Broken: Error, CustomStringConvertible { let description = "it broke\0 badly" }

    private func execute(
        _ workflow: Workflow, _ input: Context = Context(), store: any WorkflowStore = InMemoryWorkflowStore(),
        tasks limit: Int = 16
    ) async throws -> PipelineResult {
        var configuration = RunnerConfiguration()
        configuration.maximumConcurrentTasks = limit
        let runner = try DefaultRunner(store: store, workflows: [workflow], configuration: configuration)
        return try await runner.execute(workflow.name, context: input)
    }

    @Test func changesTravelAlongDependencies() async throws {
        let workflow = try Workflow("w") {
            WorkflowTask("a") { context in try context.set("x", to: 1) }
            WorkflowTask("b", after: "a") { context in try context.set("y", to: context.get("x", as: Int.self) + 1) }
            WorkflowTask("c", after: "b") { context in
                try context.set("z", to: context.get("x", as: Int.self) + context.get("y", as: Int.self))
            }
        }
        let store = InMemoryWorkflowStore()
        let result = try await self.execute(workflow, Context(["input": "kept"]), store: store)
        #expect(result.status == .completed)
        #expect(result.finalContext.values == ["input": "kept", "x": 1, "y": 2, "z": 3])
        #expect(result.tasks.map(\.id) == ["a", "b", "c"])
        #expect(result.tasks.allSatisfy { $0.status == .completed && $0.attempt == 1 && $0.error == nil })
        #expect(result.tasks.allSatisfy { $0.duration != nil && $0.startedAt != nil && $0.completedAt != nil })
        let stored = try #require(try await store.load(result.id))
        #expect(stored.events.first { $0.task == "b" }?.delta?.jsonText == #"{"set":{"y":2}}"#)
        #expect(stored.revision == 4)
    }

    @Test func theFinalContextMergesEveryLeafAndNoSiblingUndoesAnother() async throws {
        let workflow = try Workflow("w") {
            WorkflowTask("root") { context in
                try context.set("shared", to: "root")
                try context.set("secret", to: "x")
                try context.set("object", to: ["root": 1])
            }
            WorkflowTask("left", after: "root") { context in
                context.remove("secret")
                try context.set("shared", to: "left")
                try context.set("object", to: ["root": 1, "left": 1])
            }
            WorkflowTask("right", after: "root") { context in try context.set("object", to: ["right": 1]) }
            WorkflowTask("both", after: "left", "right") { context in try context.set("seen", to: context.keys) }
            WorkflowTask("aside") { context in try context.set("aside", to: true) }
        }
        let result = try await self.execute(workflow)
        #expect(
            result.finalContext.values == [
                "shared": "left", "object": ["left": 1, "right": 1], "seen": ["object", "shared"], "aside": true,
            ])
    }

    @Test func aLaterDeclaredDependencyWinsWhoeverEndsLast() async throws {
        for order in [["slow", "fast"], ["fast", "slow"]] {
            let fast = Signal()
            let workflow = try Workflow("w") {
                WorkflowTask("slow") { context in
                    await fast.wait()
                    try context.set("k", to: "slow")
                }
                WorkflowTask("fast") { context in
                    try context.set("k", to: "fast")
                    fast.send()
                }
                WorkflowTask("after", dependencies: order) { context, _ in
                    try context.set("given", to: context.get("k", as: String.self))
                }
            }
            let result = try await self.execute(workflow)
            #expect(result.finalContext["given"] == .string(order[1]))
        }
    }

    @Test func aFailureIsRecordedAndWhatDependsOnItIsSkipped() async throws {
        let workflow = try Workflow("w") {
            WorkflowTask("bad") { context in
                try context.set("bad", to: true)
                throw Broken()
            }
            WorkflowTask("behind", after: "bad") { _ in }
            WorkflowTask("farther", after: "behind") { _ in }
            WorkflowTask("aside") { context in try context.set("aside", to: true) }
        }
        let result = try await self.execute(workflow)
        #expect(result.status == .failed)
        #expect(result.task("bad")?.status == .failed)
        #expect(result.task("bad")?.error == "it broke\u{FFFD} badly")
        #expect(result.task("farther")?.status == .skipped)
        #expect(result.task("farther")?.error == "\"bad\" failed")
        #expect(result.task("farther")?.attempt == 0)
        #expect(result.task("aside")?.status == .completed)
        #expect(result.finalContext.values == ["aside": true])
    }

    @Test func independentTasksRunAtTheSameTime() async throws {
        let meeting = Meeting(of: 3)
        let workflow = try Workflow("w") {
            for name in ["a", "b", "c"] { WorkflowTask(name) { _ in await meeting.join() } }
        }
        // One at a time they would wait for ever.
        #expect(try await self.execute(workflow).status == .completed)
    }

    @Test(arguments: [1, 2, 5]) func noMoreTasksRunThanMay(limit: Int) async throws {
        let counter = Counter()
        let workflow = try Workflow("w") {
            for number in 0..<20 {
                WorkflowTask("t\(number)") { _ in
                    counter.enter()
                    for _ in 0..<20 { await Task.yield() }
                    counter.leave()
                }
            }
        }
        var configuration = RunnerConfiguration()
        configuration.maximumConcurrentTasks = limit
        let runner = try DefaultRunner(
            store: InMemoryWorkflowStore(), workflows: [workflow], configuration: configuration)
        // The limit holds for the runner, whatever number of pipelines it has.
        try await withThrowingTaskGroup(of: PipelineResult.self) { group in
            for _ in 0..<4 { group.addTask { try await runner.execute("w") } }
            for try await result in group { #expect(result.status == .completed) }
        }
        #expect(counter.total == 80)
        #expect(counter.most <= limit)
        #expect(counter.most > limit - 1 || limit > 2)
    }

    @Test func aPipelineWithManyTasksLeavesSlotsForAnother() async throws {
        let other = Signal()
        let wide = try Workflow("wide") {
            for number in 0..<50 {
                WorkflowTask("t\(number)") { _ in if number == 49 { await other.wait() } }
            }
        }
        let small = try Workflow("small") { WorkflowTask("t") { _ in other.send() } }
        var configuration = RunnerConfiguration()
        configuration.maximumConcurrentTasks = 2
        let runner = try DefaultRunner(
            store: InMemoryWorkflowStore(), workflows: [wide, small], configuration: configuration)
        async let first = runner.execute("wide")
        async let second = runner.execute("small")
        #expect(try await [first.status, second.status] == [.completed, .completed])
    }

    @Test func cancellingTheCallerStopsTheTasksAndSaysSo() async throws {
        let entered = Signal()
        let store = InMemoryWorkflowStore()
        let workflow = try Workflow("w") {
            WorkflowTask("long") { _ in
                entered.send()
                try await Task.sleep(for: .seconds(3_600))
            }
            WorkflowTask("stubborn") { context in
                await entered.wait()
                while !Task.isCancelled { await Task.yield() }
                try context.set("stubborn", to: "done all the same")
            }
            WorkflowTask("after", after: "long") { _ in }
            WorkflowTask("afterStubborn", after: "stubborn") { _ in }
        }
        let task = Task { try await self.execute(workflow, store: store) }
        await entered.wait()
        task.cancel()
        let result = try await task.value
        #expect(result.status == .cancelled)
        #expect(result.task("long")?.status == .failed)
        #expect(result.task("long")?.error == "CancellationError()")
        #expect(result.task("stubborn")?.status == .completed)
        #expect(result.task("after")?.status == .skipped)
        #expect(result.task("afterStubborn")?.error == "the pipeline was cancelled")
        #expect(result.finalContext["stubborn"] == "done all the same")
        let stored = try #require(try await store.load(result.id))
        #expect(stored.status == .cancelled)
        #expect(stored.events.last { $0.task == "afterStubborn" }?.detail == SkipReason.cancelled.text)
    }

    @Test func aCallerThatWasCancelledBeforeLeavesNoTrace() async throws {
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in Issue.record("it ran") } }
        let entered = Signal()
        let task = Task {
            await entered.wait()
            return try await self.execute(workflow)
        }
        task.cancel()
        entered.send()
        let error = await #expect(throws: PipelineError.self) { try await task.value }
        #expect(error?.code == .cancelled)
    }

    /// An answer that is lost after the commit, or a try that never arrives: either way each task runs once.
    @Test(arguments: 0..<8) func lostAnswersChangeNothing(step: Int) async throws {
        for fault in [FaultyStore.Fault.answerLost, .notReached] {
            let store = FaultyStore(failing: [step, step + 2], with: fault)
            let counter = Counter()
            let workflow = try Workflow("w") {
                for name in ["a", "b"] {
                    WorkflowTask(name) { context in
                        counter.enter()
                        try context.set(name, to: 1)
                    }
                }
                WorkflowTask("c", after: "a", "b") { context in
                    counter.enter()
                    try context.set("c", to: context.get("a", as: Int.self) + context.get("b", as: Int.self))
                }
                WorkflowTask("d", after: "c") { _ in
                    counter.enter()
                    throw Broken()
                }
                WorkflowTask("e", after: "d") { _ in counter.enter() }
            }
            let result = try await self.execute(workflow, store: store, tasks: 1)
            #expect(result.status == .failed)
            #expect(result.tasks.map(\.status) == [.completed, .completed, .completed, .failed, .skipped])
            #expect(result.finalContext.values == ["a": 1, "b": 1, "c": 2])
            #expect(counter.total == 4)
            let stored = try #require(try await store.load(result.id))
            #expect(stored.status == .failed)
        }
    }

    @Test func aStatementThatFailsEndsTheRunWithItsCause() async throws {
        let store = FaultyStore(failing: [1], with: .refused)
        let workflow = try Workflow("w") {
            WorkflowTask("a") { _ in }
            // Cancelled when the other one's end can't be written.
            WorkflowTask("b") { _ in try await Task.sleep(for: .seconds(3_600)) }
        }
        let error = await #expect(throws: PipelineError.self) { try await self.execute(workflow, store: store) }
        #expect(error?.code == .storageFailed)
        #expect((error?.underlying as? PostgresError)?.sqlState == "42501")
    }

    /// The caller may come to wait only when all is over.
    @Test func aRunThatBrokeBeforeItWasWaitedForTellsItsCause() async throws {
        let store = FaultyStore(failing: [1], with: .refused)
        let runner = try DefaultRunner(store: store, workflows: [Workflow("w") { WorkflowTask("a") { _ in } }])
        let execution = try await runner.executeAsync("w")
        while runner.activePipelines > 0 { await Task.yield() }
        guard case .broken(let error)? = await execution.waitHere() else {
            Issue.record("the run's end is lost")
            return
        }
        #expect((error.underlying as? PostgresError)?.sqlState == "42501")
    }

    /// The runner lives on, so nobody would ever take from it what it could not go on with. What is refused for good stands still.
    @Test(arguments: [(FaultyStore.Fault.answerLost, 0), (.refused, 0), (.refused, 1)])
    func whatARunnerCouldNotGoOnWithGoesBackIntoTheQueue(fault: FaultyStore.Fault, step: Int) async throws {
        let store = FaultyStore(failing: [step], with: fault)
        let workflow = try Workflow("w") { WorkflowTask("a") { context in try context.set("a", to: 1) } }
        var configuration = RunnerConfiguration()
        configuration.databasePatience = .zero
        configuration.heartbeatInterval = .milliseconds(5)
        let runner = try DefaultRunner(store: store, workflows: [workflow], configuration: configuration)
        let error = await #expect(throws: PipelineError.self) { try await runner.execute("w") }
        #expect(error?.code == .storageFailed)
        let other = try DefaultRunner(store: store, workflows: [workflow])
        let group = Task { try await RunnerGroup([other], drain: .zero).run() }
        // Nothing was stored when the creation was refused.
        let isStored = step > 0 || fault == .answerLost
        for pipeline in try await runner.list() {
            while try await other.status(of: pipeline.id) == .running { await Task.yield() }
            if fault == .refused {
                // What the database refuses for good would be refused again and again, after the same work each time.
                #expect(try await other.status(of: pipeline.id) == .paused)
                let line = try #require(try await other.history(of: pipeline.id).last)
                #expect(line.reason == .refused && line.detail?.contains("42501") == true)
                try await other.resume(pipeline.id)
            }
            await other.ring()
            #expect(try await other.result(of: pipeline.id).finalContext["a"] == 1)
        }
        #expect(try await runner.list().count == (isStored ? 1 : 0))
        group.cancel()
        _ = await group.result
    }

    @Test func aDatabaseThatStaysAwayEndsTheCreationWhenPatienceEnds() async throws {
        let store = FaultyStore(failing: Array(0..<1_000), with: .notReached)
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in } }
        var configuration = RunnerConfiguration()
        configuration.databasePatience = .milliseconds(50)
        let runner = try DefaultRunner(store: store, workflows: [workflow], configuration: configuration)
        let error = await #expect(throws: PipelineError.self) { try await runner.execute("w") }
        #expect(error?.code == .storageFailed)
    }

    @Test func slotsComeBackFromRunsThatBroke() async throws {
        let store = FaultyStore(failing: [1], with: .refused)
        let workflow = try Workflow("w") {
            for name in ["a", "b", "c"] { WorkflowTask(name) { _ in } }
        }
        var configuration = RunnerConfiguration()
        configuration.maximumConcurrentTasks = 2
        let runner = try DefaultRunner(store: store, workflows: [workflow], configuration: configuration)
        await #expect(throws: PipelineError.self) { try await runner.execute("w") }
        let meeting = Meeting(of: 2)
        try runner.register(
            Workflow("pair") {
                for name in ["a", "b"] { WorkflowTask(name) { _ in await meeting.join() } }
            })
        #expect(try await runner.execute("pair").status == .completed)
    }

    @Test func rowsThatWereDeletedEndTheRun() async throws {
        let store = InMemoryWorkflowStore()
        let workflow = try Workflow("w") {
            WorkflowTask("a") { _, scope in store.delete(scope.executionID) }
        }
        let error = await #expect(throws: PipelineError.self) { try await self.execute(workflow, store: store) }
        #expect(error?.code == .pipelineVanished)
    }

    @Test func aThousandTasksInARowAndSideBySideEnd() async throws {
        let chain = try Workflow("chain") {
            for number in 0..<1_000 {
                WorkflowTask("t\(number)", dependencies: number == 0 ? [] : ["t\(number - 1)"]) { context, _ in
                    try context.set("count", to: (context.getIfPresent("count", as: Int.self) ?? 0) + 1)
                }
            }
        }
        #expect(try await self.execute(chain).finalContext["count"] == 1_000)
        let broad = try Workflow("broad") {
            for number in 0..<1_000 {
                WorkflowTask("t\(number)") { context in try context.set("k\(number)", to: number) }
            }
        }
        #expect(try await self.execute(broad).finalContext.values.count == 1_000)
    }

    @Test func moreThanAContextHoldsFailsTheTaskThatWouldGetIt() async throws {
        let workflow = try Workflow("w") {
            for name in ["a", "b"] {
                WorkflowTask(name) { context in try context.set(name, to: String(repeating: "x", count: 60)) }
            }
            WorkflowTask("greedy") { context in context = Context(byteLimit: .max) }
            WorkflowTask("sneaky") { context in
                context = Context(byteLimit: .max)
                try context.set("sneaky", to: String(repeating: "x", count: 200))
            }
            WorkflowTask("both", after: "a", "b") { _ in Issue.record("it ran") }
            // A rule looks at the context whatever its size.
            WorkflowTask("ruled", after: "a", "b", triggerRule: .contextExists(ContextPath(key: "a"))) { _ in
                Issue.record("it ran")
            }
        }
        let result = try await self.execute(workflow, Context(byteLimit: 100))
        for task in ["both", "ruled"] {
            #expect(result.task(task)?.status == .failed)
            #expect(result.task(task)?.error?.hasPrefix("contextTooLarge") == true)
        }
        #expect(result.task("greedy")?.status == .completed)
        #expect(result.task("sneaky")?.status == .failed)
        #expect(result.finalContext.keys == ["a", "b"])
    }

    @Test func registriesBelongToTheRunner() async throws {
        let workflow = try Workflow("etl") { WorkflowTask("t") { _ in } }
        let runner = try DefaultRunner(store: InMemoryWorkflowStore(), workflows: [workflow])
        let other = try DefaultRunner(store: InMemoryWorkflowStore())
        #expect(runner.workflowNames == ["etl"])
        let missing = await #expect(throws: PipelineError.self) { try await other.execute("etl") }
        #expect(missing?.code == .workflowNotFound)
        let twice = #expect(throws: PipelineError.self) { try runner.register(workflow) }
        #expect(twice?.code == .duplicateWorkflow)
    }

    @Test func aTaskWithoutADatabaseIsToldSo() async throws {
        let scope = TaskScope(executionID: UUID(), workflow: "w", task: "t", attempt: 1)
        let error = await #expect(throws: PipelineError.self) { try await scope.withConnection { _ in } }
        #expect(error?.code == .noDatabase)
    }

    @Test func idsOfVersion7SortByTime() {
        var generator = SeededGenerator(seed: 1)
        // Also within a millisecond, and beyond what the 48 bits hold.
        let seconds = [
            -Double.infinity, 1_000_000, 1_000_000.000_001, 1_000_000.000_999, 1_000_000.002, 1e11, .infinity,
        ]
        let ids = seconds.map { UUID.version7(at: Date(timeIntervalSince1970: $0), using: &generator).uuidString }
        #expect(ids == ids.sorted())
        #expect(ids.allSatisfy { $0.dropFirst(14).first == "7" && "89AB".contains($0.dropFirst(19).first ?? "-") })
        _ = UUID.version7(at: Date(timeIntervalSince1970: .nan), using: &generator)
        #expect(Set((0..<1_000).map { _ in UUID.version7() }).count == 1_000)
    }
}

/// A store whose calls fail on demand.
final class FaultyStore: ForwardingWorkflowStore {
    enum Fault: CaseIterable {
        /// It is stored, but the caller doesn't learn of it.
        case answerLost
        /// It isn't stored; trying again helps.
        case notReached
        /// It isn't stored; trying again doesn't help.
        case refused
    }

    let underlying: any WorkflowStore = InMemoryWorkflowStore()
    private let fault: Fault
    private let failing: Set<Int>
    private let calls = Mutex(0)

    init(failing: [Int], with fault: Fault) {
        self.failing = Set(failing)
        self.fault = fault
    }

    func create(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [Creation] {
        try self.failBefore()
        let result = try await self.underlying.create(pipelines)
        try self.failAfter()
        return result
    }

    func apply(_ changes: [PipelineChange]) async throws(PipelineError) -> [StoreOutcome] {
        try self.failBefore()
        let result = try await self.underlying.apply(changes)
        try self.failAfter()
        return result
    }

    private func failBefore() throws(PipelineError) {
        guard self.fault != .answerLost, self.isDue() else { return }
        let error =
            self.fault == .refused
            ? PostgresError(.rejectedByServer, sqlState: "42501") : PostgresError(.connectionFailed)
        throw PipelineError(.storageFailed, "on demand", underlying: error)
    }

    private func failAfter() throws(PipelineError) {
        guard self.fault == .answerLost, self.isDue() else { return }
        throw PipelineError(.storageFailed, "on demand", underlying: PostgresError(.connectionLost))
    }

    private func isDue() -> Bool {
        self.calls.withLock { calls in
            defer { calls += 1 }
            return self.failing.contains(calls)
        }
    }
}

/// Counts who is inside.
private final class Counter: Sendable {
    private let state = Mutex((inside: 0, most: 0, total: 0))

    var most: Int { self.state.withLock { $0.most } }
    var total: Int { self.state.withLock { $0.total } }

    func enter() {
        self.state.withLock { state in
            state.inside += 1
            state.total += 1
            state.most = max(state.most, state.inside)
        }
    }

    func leave() { self.state.withLock { $0.inside -= 1 } }
}

/// Lets everyone go on once it was sent.
private final class Signal: Sendable {
    private let meeting = Meeting(of: 1)

    func send() { self.meeting.open() }
    func wait() async { await self.meeting.watch() }
}

/// Lets everyone go on when all have come.
private final class Meeting: Sendable {
    private let state: Mutex<(missing: Int, waiting: [CheckedContinuation<Void, Never>])>

    init(of count: Int) { self.state = Mutex((count, [])) }

    func join() async {
        self.open()
        await self.watch()
    }

    func open() {
        let released = self.state.withLock { state -> [CheckedContinuation<Void, Never>] in
            state.missing -= 1
            guard state.missing <= 0 else { return [] }
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in released { continuation.resume() }
    }

    func watch() async {
        await withCheckedContinuation { continuation in
            let isOpen = self.state.withLock { state in
                guard state.missing > 0 else { return true }
                state.waiting.append(continuation)
                return false
            }
            if isOpen { continuation.resume() }
        }
    }
}
