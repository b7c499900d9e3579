import FoundationEssentials
import Synchronization
import Testing

@testable import Cloacina

/// What a runner does beside running a chain: retries, rules, timeouts, the queue, stopping.
@Suite(.timeLimit(.minutes(5))) struct RunnerFeatureTests {
    private struct Broken: Error {}

    private func runner(
        _ workflows: Workflow..., store: any WorkflowStore = InMemoryWorkflowStore(),
        _ change: (inout RunnerConfiguration) -> Void = { _ in }
    ) throws -> DefaultRunner {
        var configuration = RunnerConfiguration()
        configuration.cancellationGrace = .milliseconds(20)
        change(&configuration)
        return try DefaultRunner(store: store, workflows: workflows, configuration: configuration)
    }

    /// Never ends by itself, whatever is asked of it.
    private static func deaf() async {
        let signal = AsyncStream<Void>.makeStream()
        await Task { for await _ in signal.stream {} }.value
    }

    @Test func optionsNeedNoContext() async throws {
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in } }
        let runner = try self.runner(workflow)
        let options = ExecutionOptions(idempotencyKey: "k")
        let result = try await runner.execute("w", options: options)
        #expect(result.status == .completed && result.finalContext.values.isEmpty)
        #expect(try await runner.executeAsync("w", options: options).id == result.id)
        #expect(try await runner.enqueue("w", options: options).id == result.id)
    }

    // MARK: Attempts

    @Test func anErrorMayDictateTheDelayAndEveryAttemptKeepsItsError() async throws {
        struct Busy: TransientError, CustomStringConvertible {
            let number: Int
            var retryAfter: Duration? { .zero }
            var description: String { "busy \(self.number)" }
        }
        let workflow = try Workflow("w") {
            WorkflowTask("a", retry: .exponential(3, initialDelay: .seconds(60)).retrying(when: .transientOnly)) {
                context, scope in
                if scope.attempt < 3 { throw Busy(number: scope.attempt) }
                try context.set("attempt", to: scope.attempt)
            }
        }
        let result = try await self.runner(workflow).execute("w")
        #expect(result.status == .completed)
        #expect(result.finalContext["attempt"] == 3)
        #expect(result.task("a")?.attempts.map(\.error) == ["busy 1", "busy 2", nil])
        #expect(result.task("a")?.attempts.map(\.number) == [1, 2, 3])
        #expect(result.task("a")?.error == nil)
    }

    @Test func aTaskThatIgnoresItsCancellationHoldsUpNobody() async throws {
        let workflow = try Workflow("w") {
            WorkflowTask("deaf", timeout: .milliseconds(10)) { _ in await Self.deaf() }
            WorkflowTask("fallback", after: "deaf", triggerRule: .taskFailed("deaf")) { context in
                try context.set("fallback", to: true)
            }
        }
        let runner = try self.runner(workflow) { $0.maximumConcurrentTasks = 1 }
        for _ in 0..<3 {
            let result = try await runner.execute("w")
            #expect(result.status == .failed)
            #expect(result.finalContext["fallback"] == true)
            #expect(result.task("deaf")?.error?.contains("didn't finish within") == true)
        }
    }

    @Test func thePipelinesTimeEndsIt() async throws {
        let workflow = try Workflow("w") {
            WorkflowTask("deaf") { _ in await Self.deaf() }
            WorkflowTask("next", after: "deaf") { _ in Issue.record("it ran") }
        }
        let options = ExecutionOptions(timeout: .milliseconds(10))
        let result = try await self.runner(workflow).execute("w", context: Context(), options: options)
        #expect(result.status == .failed)
        #expect(result.task("deaf")?.error == "the pipeline's time ran out")
        #expect(result.task("next")?.status == .skipped)
    }

    @Test func whoWantsToKnowIsToldOnceItIsStored() async throws {
        let store = InMemoryWorkflowStore()
        let told = Mutex<[String]>([])
        let workflow = try Workflow("w") {
            WorkflowTask(
                "good",
                onSuccess: { scope, context in
                    let stored = try? await store.load(scope.executionID)
                    let isStored = stored?.events.contains { $0.kind == .taskCompleted } ?? false
                    told.withLock { $0.append("\(scope.task) \(context.keys) \(isStored)") }
                }
            ) { context in try context.set("k", to: 1) }
            WorkflowTask(
                "bad", retry: .fixed(2, delay: .zero),
                onFailure: { scope, failure in
                    told.withLock { $0.append("\(scope.task) \(scope.attempt) \(failure.typeName)") }
                }
            ) { _ in throw Broken() }
        }
        let seen = Mutex<[PipelineEvent.Kind]>([])
        let runner = try self.runner(workflow, store: store)
        let result = try await runner.execute("w", context: Context(), options: ExecutionOptions()) { event in
            seen.withLock { $0.append(event.kind) }
        }
        #expect(told.withLock { Set($0) } == ["good [\"k\"] true", "bad 2 Broken"])
        let history = try await runner.history(of: result.id).map(\.kind)
        #expect(seen.withLock { $0 } == Array(history.dropFirst()))
    }

    // MARK: Stopping

    @Test func aCancelledPipelineThatWillNotStopEndsAllTheSame() async throws {
        let begun = AsyncStream<Void>.makeStream()
        let workflow = try Workflow("w") {
            WorkflowTask("deaf") { _ in
                begun.continuation.yield()
                await Self.deaf()
            }
        }
        let runner = try self.runner(workflow)
        let execution = try await runner.executeAsync("w")
        for await _ in begun.stream { break }
        try await execution.cancel()
        let result = try await execution.result()
        #expect(result.status == .cancelled)
        #expect(result.task("deaf")?.error == "it was cancelled and did not stop in time")
    }

    @Test func aPausedPipelineStandsStillUntilItIsResumed() async throws {
        let begun = AsyncStream<Void>.makeStream()
        let mayEnd = AsyncStream<Void>.makeStream()
        let workflow = try Workflow("w") {
            WorkflowTask("a") { _ in
                begun.continuation.yield()
                for await _ in mayEnd.stream { break }
            }
            WorkflowTask("b", after: "a") { context in try context.set("b", to: true) }
        }
        let runner = try self.runner(workflow)
        let execution = try await runner.executeAsync("w")
        for await _ in begun.stream { break }
        try await execution.pause()
        mayEnd.continuation.yield()
        _ = await execution.waitHere()
        #expect(try await execution.status() == .paused)
        #expect(try await runner.snapshot(of: execution.id).task("a")?.status == .completed)
        #expect(try await runner.snapshot(of: execution.id).task("b")?.status == .ready)
        try await execution.resume()
        #expect(try await execution.status() == .queued)
        let group = Task { try await RunnerGroup([runner], drain: .zero).run() }
        let result = try await execution.result()
        #expect(result.status == .completed)
        #expect(result.finalContext["b"] == true)
        group.cancel()
        _ = await group.result
    }

    @Test func whatWaitsInTheQueueCanBeCancelledAndPaused() async throws {
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in Issue.record("it ran") } }
        let runner = try self.runner(workflow)
        let id = try await runner.enqueue("w").id
        try await runner.pause(id)
        try await runner.pause(id)
        #expect(try await runner.status(of: id) == .paused)
        try await runner.cancel(id)
        #expect(try await runner.result(of: id).task("a")?.error == "the pipeline was cancelled")
        let error = await #expect(throws: PipelineError.self) { try await runner.resume(id) }
        #expect(error?.code == .notPossible)
        let missing = await #expect(throws: PipelineError.self) { try await runner.cancel(UUID()) }
        #expect(missing?.code == .pipelineNotFound)
    }

    @Test func whatIsCancelledOrPausedIsToldAsThatAndNotAsFailed() async throws {
        let store = InMemoryWorkflowStore()
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in Issue.record("it ran") } }
        let runner = try self.runner(workflow, store: store)
        let (cancelled, paused) = (try await runner.enqueue("w").id, try await runner.enqueue("w").id)
        try await runner.cancel(cancelled)
        try await runner.pause(paused)
        // One that was told nothing reads what is stored.
        for reader in [runner, try self.runner(workflow, store: store)] {
            #expect(try await reader.result(of: cancelled).status == .cancelled)
            let snapshots = [try await reader.snapshot(of: cancelled), try await reader.snapshot(of: paused)]
            #expect(snapshots.map(\.status) == [.cancelled, .paused])
            #expect(snapshots.map { $0.task("a")?.status } == [.skipped, .ready])
            let listed = try await reader.list().map { [$0.id: $0.status] }
            #expect(Set(listed) == [[cancelled: .cancelled], [paused: .paused]])
        }
    }

    @Test func cancellingWhatHasEndedChangesNothing() async throws {
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in } }
        let broken = try Workflow("broken") { WorkflowTask("a") { _ in throw Broken() } }
        let store = InMemoryWorkflowStore()
        let (runner, other) = (
            try self.runner(workflow, broken, store: store), try self.runner(workflow, broken, store: store)
        )
        for name in ["w", "broken"] {
            let result = try await runner.execute(name)
            let history = try await runner.history(of: result.id)
            for asking in [runner, other] {
                try await asking.cancel(result.id)
                #expect(try await asking.status(of: result.id) == result.status)
                #expect(try await asking.history(of: result.id) == history)
            }
        }
    }

    @Test func aShutdownDrainsThenInterruptsThenLeavesTheRestToOthers() async throws {
        let store = InMemoryWorkflowStore()
        let begun = AsyncStream<Void>.makeStream()
        let isSecond = Mutex(false)
        let workflow = try Workflow("w") {
            WorkflowTask("a") { context in try context.set("a", to: 1) }
            WorkflowTask("long", after: "a") { context, scope in
                if isSecond.withLock({ $0 }) { return try context.set("attempt", to: scope.attempt) }
                begun.continuation.yield()
                try await Task.sleep(for: .seconds(3_600))
            }
        }
        let first = try self.runner(workflow, store: store)
        let execution = try await first.executeAsync("w")
        for await _ in begun.stream { break }
        await first.shutDown(drain: .zero)
        isSecond.withLock { $0 = true }
        let stored = try #require(try await store.load(execution.id))
        #expect(stored.status == .queued)
        #expect(stored.recoveries == 0)
        let released = await #expect(throws: PipelineError.self) { try await execution.result() }
        #expect(released?.code == .released)
        let refused = await #expect(throws: PipelineError.self) { try await first.execute("w") }
        #expect(refused?.code == .released)

        let second = try self.runner(workflow, store: store)
        let group = Task { try await RunnerGroup([second], drain: .zero).run() }
        let result = try await second.result(of: execution.id)
        #expect(result.status == .completed)
        #expect(result.finalContext.values == ["a": 1, "attempt": 2])
        #expect(result.task("long")?.attempts.map(\.succeeded) == [false, true])
        group.cancel()
        _ = await group.result
    }

    // MARK: The queue

    @Test func theUrgentGoFirst() async throws {
        let order = Mutex<[Int]>([])
        let workflow = try Workflow("w") {
            WorkflowTask("a") { context in
                let number = try context.get("n", as: Int.self)
                order.withLock { $0.append(number) }
            }
        }
        let runner = try self.runner(workflow) {
            $0.maximumQueuedPipelines = 1
            $0.maximumConcurrentTasks = 1
        }
        var ids: [UUID] = []
        for (number, priority) in [(1, 0), (2, 5), (3, 0), (4, -1), (5, 5)] {
            ids.append(
                try await runner.enqueue(
                    "w", context: Context(["n": .integer(Int64(number))]), options: .init(priority: priority)
                ).id)
        }
        let group = Task { try await RunnerGroup([runner], drain: .zero).run() }
        for id in ids { #expect(try await runner.result(of: id).status == .completed) }
        #expect(order.withLock { $0 } == [2, 5, 1, 3, 4])
        group.cancel()
        _ = await group.result
    }

    @Test func aRunThatHasBegunIsLeftToRunnersOfItsVersion() async throws {
        let store = InMemoryWorkflowStore()
        func workflow(_ version: String) throws -> Workflow {
            try Workflow("w") {
                WorkflowTask("first") { _ in }
                WorkflowTask("a", after: "first", codeVersion: version) { context in try context.set("by", to: version)
                }
            }
        }
        let old = try workflow("1")
        let dead = UUID()
        let begun = NewPipeline(
            id: .version7(), workflow: "w", version: old.contentVersion.hex, input: Context(), owner: dead, at: Date())
        _ = try await store.create([begun])
        // One that has no line about a task yet would begin with the newest version.
        var transition = PipelineTransition(expectedRevision: 1)
        transition.events = [
            PipelineEvent(.taskCompleted, task: "first", attempt: 1, at: Date(), delta: ContextDelta())
        ]
        _ = try await store.apply([PipelineChange(id: begun.id, epoch: 1, at: Date(), transition: transition)])
        let new = try self.runner(workflow("2"), store: store) { $0.leaseDuration = .zero }
        let fresh = try await self.runner(old, store: store).enqueue("w").id
        let newGroup = Task { try await RunnerGroup([new], drain: .zero).run() }
        #expect(try await new.result(of: fresh).finalContext["by"] == "2")
        let oldRunner = try self.runner(old, store: store) { $0.leaseDuration = .zero }
        let oldGroup = Task { try await RunnerGroup([oldRunner], drain: .zero).run() }
        #expect(try await oldRunner.result(of: begun.id).finalContext["by"] == "1")
        for group in [newGroup, oldGroup] {
            group.cancel()
            _ = await group.result
        }
    }

    @Test func whatHasEndedIsReadWithoutItsCode() async throws {
        let store = InMemoryWorkflowStore()
        let old = try self.runner(Workflow("w") { WorkflowTask("a") { _ in } }, store: store)
        let new = try self.runner(Workflow("w") { WorkflowTask("b") { _ in } }, store: store)
        let result = try await old.execute("w")
        let stranger = try self.runner(store: store)
        for runner in [new, stranger] {
            let read = try await runner.result(of: result.id)
            #expect(read.tasks.map(\.id) == ["a"] && read.status == .completed)
            #expect(read.finalContext == result.finalContext)
            #expect(try await runner.history(of: result.id).contains { $0.task == "a" })
        }
    }

    @Test func whatARunnerDoesNotKnowCanStillBeCancelledAndPaused() async throws {
        let store = InMemoryWorkflowStore()
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in } }
        let knowing = try self.runner(workflow, store: store)
        let stranger = try self.runner(store: store)
        let first = try await knowing.enqueue("w").id
        let second = try await knowing.enqueue("w").id
        try await stranger.cancel(first)
        try await stranger.pause(second)
        #expect(try await knowing.status(of: first) == .cancelled)
        #expect(try await knowing.status(of: second) == .paused)
        try await stranger.resume(second)
        await knowing.serveOnce()
        #expect(try await knowing.result(of: second).status == .completed)
        await knowing.shutDown(drain: .zero)
    }

    @Test func aTaskMayWaitForAnotherPipelineOfItsRunner() async throws {
        let inner = try Workflow("inner") { WorkflowTask("i") { context in try context.set("i", to: 1) } }
        let runner = Mutex<DefaultRunner?>(nil)
        let outer = try Workflow("outer") {
            WorkflowTask("o") { context in
                let found = runner.withLock { $0 }
                let result = try await #require(found).execute("inner")
                try context.set("inner", to: result.finalContext["i"])
            }
        }
        let made = try self.runner(inner, outer) { $0.maximumConcurrentTasks = 1 }
        runner.withLock { $0 = made }
        #expect(try await made.execute("outer").finalContext["inner"] == 1)
        runner.withLock { $0 = nil }
    }

    @Test func listsArePagedTheNewestFirst() async throws {
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in } }
        let runner = try self.runner(workflow)
        var ids: [UUID] = []
        for _ in 0..<5 { ids.append(try await runner.enqueue("w").id) }
        let first = try await runner.list(PipelineQuery(limit: 2))
        let second = try await runner.list(PipelineQuery(after: first.last?.id, limit: 10))
        #expect((first + second).count == 5)
        #expect(Set((first + second).map(\.id)) == Set(ids))
        #expect(try await runner.list(PipelineQuery(statuses: [.completed])).isEmpty)
        #expect(try await runner.list(PipelineQuery(workflow: "other")).isEmpty)
    }
}
