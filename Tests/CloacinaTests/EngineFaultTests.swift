import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// Faults that stood in the engine at 7ef6afd, by the letters of the review that found them; `EngineFaults.md` lists them.
@Suite(.timeLimit(.minutes(5))) struct EngineFaultTests {
    private struct Broken: Error {}

    /// A2: charge fails while pack still runs; what unpacks must wait for it, and is given what it did.
    @Test func aRuleIsDecidedWhenItsWholeAncestryHasEnded() async throws {
        let mayEnd = Tally()
        let workflow = try Workflow("order") {
            WorkflowTask("charge") { _ in throw Broken() }
            WorkflowTask("pack") { context in
                await mayEnd.reached(1)
                try context.set("parcel", to: 42)
            }
            WorkflowTask("ship", after: "charge", "pack") { _ in }
            WorkflowTask("unpack", after: "ship", triggerRule: .taskSucceeded("pack")) { context in
                try context.set("unpacked", to: context.get("parcel", as: Int.self))
            }
        }
        let runner = try DefaultRunner(store: InMemoryWorkflowStore(), workflows: [workflow])
        let execution = try await runner.executeAsync("order")
        while try await runner.snapshot(of: execution.id).task("ship")?.status != .skipped { await Task.yield() }
        mayEnd.add()
        let result = try await execution.result()
        #expect(result.task("unpack")?.status == .completed)
        #expect(result.finalContext.values == ["parcel": 42, "unpacked": 42])
        #expect(try await runner.result(of: result.id).sightForTests == result.sightForTests)
    }

    /// A5: PostgreSQL takes no NUL, and a rule may be about a key that has one.
    @Test func aReasonHasNothingThatADatabaseRefuses() async throws {
        let workflow = try Workflow("w") {
            WorkflowTask("a") { _ in }
            WorkflowTask("b", after: "a", triggerRule: .contextValue("k\u{0}", .equals, 1)) { _ in }
            WorkflowTask("c", after: "a") { _ in throw Loud() }
        }
        let runner = try DefaultRunner(store: InMemoryWorkflowStore(), workflows: [workflow])
        let result = try await runner.execute("w")
        #expect(result.task("b")?.status == .skipped && result.task("c")?.status == .failed)
        for event in try await runner.history(of: result.id) {
            #expect(event.detail?.utf8.contains(0) != true && event.detail?.utf8.count ?? 0 <= 4_200)
        }
        #expect(!SkipReason(.rule, text: "a\u{0}b").text.utf8.contains(0))
    }

    private struct Loud: Error, CustomStringConvertible {
        var description: String { "a\u{0}b" + String(repeating: "x", count: 100_000) }
    }

    /// A7: what was merely claimed by an old build is not stranded when that shuts down.
    @Test func whatNoTaskHasBegunGoesOnWithTheNewestVersion() async throws {
        let store = InMemoryWorkflowStore()
        func workflow(_ version: String) throws -> Workflow {
            try Workflow("w") {
                WorkflowTask("t", codeVersion: version) { context in try context.set("by", to: version) }
            }
        }
        let new = NewPipeline(
            id: .version7(), workflow: "w", version: try workflow("1").contentVersion.hex, input: Context(), owner: nil,
            at: Date(timeIntervalSince1970: 1))
        _ = try await store.create([new])
        let claim = QueueClaim(
            runner: UUID(), workflows: ["w": new.version], limit: 1, at: Date(timeIntervalSince1970: 2))
        let claimed = try #require(try await store.claim(claim).first)
        var transition = PipelineTransition(expectedRevision: claimed.revision)
        transition.status = .queued
        transition.isUntouched = true
        transition.dueAt = Date(timeIntervalSince1970: 3)
        _ = try await store.apply([
            PipelineChange(id: new.id, epoch: claimed.epoch, at: Date(timeIntervalSince1970: 3), transition: transition)
        ])
        let runner = try DefaultRunner(store: store, workflows: [workflow("2")])
        await runner.serveOnce()
        #expect(try await runner.result(of: new.id).finalContext["by"] == "2")
    }

    /// A7, C30: who raises a timeout strands nothing.
    @Test func anotherRetryOrTimeoutIsNoOtherVersion() throws {
        let version = try Workflow("w") { WorkflowTask("t", codeVersion: "1") { _ in } }.contentVersion
        let other = try Workflow("w") {
            WorkflowTask("t", retry: .fixed(9, delay: .seconds(1)), timeout: .seconds(7), codeVersion: "1") { _ in }
        }
        #expect(other.contentVersion == version)
    }

    /// A7: two versions in one runner, each pipeline with its own.
    @Test func anEarlierVersionLivesBesideTheCurrentOne() async throws {
        let store = InMemoryWorkflowStore()
        func workflow(_ version: String) throws -> Workflow {
            try Workflow("w") {
                WorkflowTask("first") { _ in }
                WorkflowTask("t", after: "first", codeVersion: version) { context in try context.set("by", to: version)
                }
            }
        }
        let dead = UUID()
        let begun = NewPipeline(
            id: .version7(), workflow: "w", version: try workflow("1").contentVersion.hex, input: Context(),
            owner: dead,
            at: Date(timeIntervalSince1970: 1))
        _ = try await store.create([begun])
        var transition = PipelineTransition(expectedRevision: 1)
        transition.status = .queued
        transition.dueAt = Date(timeIntervalSince1970: 2)
        transition.events = [
            PipelineEvent(
                .taskCompleted, task: "first", attempt: 1, at: Date(timeIntervalSince1970: 2), delta: ContextDelta())
        ]
        _ = try await store.apply([
            PipelineChange(id: begun.id, epoch: 1, at: Date(timeIntervalSince1970: 2), transition: transition)
        ])
        let runner = try DefaultRunner(store: store, workflows: [workflow("2")])
        let mismatch = await #expect(throws: PipelineError.self) { try await runner.snapshot(of: begun.id) }
        #expect(mismatch?.code == .versionMismatch)
        runner.registerEarlier(try workflow("1"))
        await runner.serveOnce()
        #expect(try await runner.result(of: begun.id).finalContext["by"] == "1")
        #expect(try await runner.execute("w").finalContext["by"] == "2")
    }

    /// Found by a server that cut every other commit: a pipeline was put off for ever longer because answers to claims were lost,
    /// although nothing of it had run.
    @Test func aClaimWhoseAnswerIsLostPutsNothingOff() async throws {
        let lost = Mutex(8)
        let store = HookedStore(
            InMemoryWorkflowStore(),
            after: { call throws(PipelineError) in
                guard call == .claim else { return }
                let isLost = lost.withLock { count in
                    count -= 1
                    return count >= 0
                }
                if isLost { throw HookedStore.fault }
            })
        let clock = HandClock()
        let runner = try clock.runner(Workflow("w") { WorkflowTask("t") { _ in } }, store: store)
        let id = try await runner.enqueue("w").id
        clock.begin { await runner.serveOnce() }
        await clock.advance(by: .seconds(120))
        let result = try await runner.snapshot(of: id)
        #expect(result.status == .completed)
        #expect(result.task("t")?.attempts.count == 1)
        let reasons = try await runner.history(of: id).filter { $0.kind == .pipelineRecovered }.map(\.reason)
        #expect(reasons.count > 2)
        #expect(reasons.allSatisfy { $0 == .claimLost })
    }

    /// A10: what tasks compute, and what their handlers do, happens on the runner's threads, as do the steps of the pipelines
    /// between two tasks, which find a thread whatever the tasks do; the heartbeat happens elsewhere.
    @Test func tasksRunOnTheRunnersThreadsAndTheHeartbeatDoesNot() async throws {
        let seen = Mutex<[String: Set<Bool>]>([:])
        let note: @Sendable (String) -> Void = { name in
            let isThere = unsafe withUnsafeCurrentTask { task in unsafe task?.unownedTaskExecutor != nil }
            seen.withLock { _ = $0[name, default: []].insert(isThere) }
        }
        let handled = Tally()
        let store = HookedStore(
            InMemoryWorkflowStore(),
            before: { call throws(PipelineError) in if [.create, .apply, .beat].contains(call) { note("\(call)") } })
        let workflow = try Workflow("w") {
            WorkflowTask(
                "t",
                onSuccess: { _, _ in
                    note("handler")
                    handled.add()
                }
            ) { _ in note("task") }
        }
        let runner = try DefaultRunner(store: store, workflows: [workflow])
        #expect(try await runner.execute("w").status == .completed)
        await handled.reached(1)
        await runner.shutDown(drain: .zero)
        let found = seen.withLock { $0 }
        #expect(found["task"] == [true] && found["handler"] == [true])
        #expect(found["create"] == [true] && found["apply"] == [true])
        #expect(found["beat"] ?? [false] == [false])
    }

    /// A12: a runner leaves to others what it can't begin soon, and what is urgent passes all that it has.
    @Test func aRunnerTakesWhatItCanBeginSoonAndWhatIsUrgentFirst() async throws {
        let (clock, mayEnd) = (HandClock(), Tally())
        let begun = Mutex<[Bool]>([])
        let workflow = try Workflow("w") {
            WorkflowTask("t") { context in
                let isUrgent = context["urgent"] == true
                let number = begun.withLock { begun in
                    begun.append(isUrgent)
                    return begun.count
                }
                await mayEnd.reached(number)
            }
        }
        let runner = try clock.runner(workflow, store: InMemoryWorkflowStore()) { $0.maximumConcurrentTasks = 4 }
        for _ in 0..<50 { try await runner.enqueue("w") }
        await runner.serveOnce()
        await clock.settle()
        // The slots, and half as many.
        #expect(runner.activePipelines == 6 && begun.withLock { $0.count } == 4)
        try await runner.enqueue("w", context: Context(["urgent": true]), options: ExecutionOptions(priority: 9))
        await clock.settle()
        #expect(runner.activePipelines == 7)
        mayEnd.add()
        await clock.settle()
        #expect(begun.withLock { $0 } == [false, false, false, false, true])
        for _ in 0..<50 { mayEnd.add() }
        await clock.settle()
        #expect(try await runner.list(PipelineQuery(statuses: [.completed], limit: 100)).count == 51)
    }

    /// A14: the highest priority there is, in every store.
    @Test func theHighestPriorityRunsFromAFileToo() async throws {
        try await withTemporaryDirectory { directory in
            let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
            let runner = try await DefaultRunner(sqliteAt: directory.appending(path: "p.db"), workflows: [workflow])
            let ids = [
                try await runner.enqueue("w", options: ExecutionOptions(priority: .max)).id,
                try await runner.enqueue("w", options: ExecutionOptions(priority: .min)).id,
            ]
            await runner.serveOnce()
            for id in ids { #expect(try await runner.result(of: id).status == .completed) }
        }
    }

    /// A15: the obvious way to write "no limit".
    @Test(arguments: [Duration.seconds(Int64.max), .milliseconds(Int64.max), .nanoseconds(Int64.max)])
    func anEndlessTimeoutIsNoTrap(timeout: Duration) async throws {
        let workflow = try Workflow("w") { WorkflowTask("t", timeout: timeout) { _ in } }
        var configuration = RunnerConfiguration()
        configuration.cancellationGrace = timeout
        let runner = try DefaultRunner(
            store: InMemoryWorkflowStore(), workflows: [workflow], configuration: configuration)
        let result = try await runner.execute("w", context: Context(), options: ExecutionOptions(timeout: timeout))
        #expect(result.status == .completed)
    }

    /// A16: nobody is there to cancel what a parent that waits in the queue has begun.
    @Test func cancellingAParentInTheQueueCancelsItsChildren() async throws {
        let store = InMemoryWorkflowStore()
        let at = Date(timeIntervalSince1970: 1)
        let ids = (0..<3).map { _ in UUID.version7(at: at) }
        for (number, id) in ids.enumerated() {
            _ = try await store.create([
                NewPipeline(
                    id: id, workflow: "w", version: "v", input: Context(), owner: nil, at: at,
                    parent: number == 0 ? nil : ids[number - 1], depth: number)
            ])
        }
        let runner = try DefaultRunner(store: store, workflows: [])
        try await runner.cancel(ids[0])
        for id in ids { #expect(try await runner.status(of: id) == .cancelled) }
    }

    /// A21: the spelling that is stored is the registered one, which every database compares by its bytes.
    @Test func anotherSpellingOfTheNameIsStoredAsTheRegisteredOne() async throws {
        let store = InMemoryWorkflowStore()
        let composed = "caf\u{E9}"
        let runner = try DefaultRunner(
            store: store, workflows: [Workflow(composed) { WorkflowTask("t") { _ in } }])
        let id = try await runner.enqueue("cafe\u{301}").id
        let stored = try #require(try await store.load(id)?.workflow)
        #expect(Array(stored.utf8) == Array(composed.utf8))
    }

    /// A22: what was to be due long ago doesn't pass what waits.
    @Test func aNegativeDelayIsNone() {
        let at = Date(timeIntervalSince1970: 1_000)
        let new = NewPipeline(
            id: UUID(), workflow: "w", version: "v", input: Context(),
            options: ExecutionOptions(delay: .seconds(-86_400 * 365)), owner: nil, at: at)
        #expect(new.dueAt == at)
    }

    /// C28, C29: a rule about everything above, and a failure that a fallback reads and handles.
    @Test func aHandledFailureFailsNoPipeline() async throws {
        let workflow = try Workflow("w") {
            WorkflowTask("charge") { _ in throw Broken() }
            WorkflowTask("ship", after: "charge") { _ in }
            WorkflowTask("receipt", after: "ship", triggerRule: .noneFailedAbove) { _ in }
            WorkflowTask("refund", after: "charge", triggerRule: .taskFailed("charge"), handles: ["charge"]) {
                context, scope in
                try context.set("why", to: scope.failure(of: "charge")?.typeName)
            }
        }
        let runner = try DefaultRunner(store: InMemoryWorkflowStore(), workflows: [workflow])
        let result = try await runner.execute("w")
        #expect(result.status == .completed && result.finalContext["why"] == "Broken")
        #expect(result.tasks.map(\.status) == [.failed, .skipped, .skipped, .completed])
    }

    /// C: a workflow that runs itself is stopped.
    @Test func aWorkflowThatRunsItselfIsStopped() async throws {
        var configuration = RunnerConfiguration()
        configuration.maximumDepth = 3
        let workflow = try Workflow("w") {
            WorkflowTask("t") { _, scope in try await scope.execute("w", as: "again").completed() }
        }
        let runner = try DefaultRunner(
            store: InMemoryWorkflowStore(), workflows: [workflow], configuration: configuration)
        let result = try await runner.execute("w")
        #expect(result.status == .failed)
        let pipelines = try await runner.list()
        #expect(pipelines.count == 4)
        let deepest = try await runner.result(of: try #require(pipelines.first?.id))
        #expect(deepest.error?.contains("maximumDepth") == true)
    }

    /// C1: numbers that no life comes to, in rows that somebody else wrote.
    @Test(arguments: [Int(Int32.max), Int(Int32.max) + 1, .max, .min])
    func aNumberBeyondAllBoundsIsBoundWithoutATrap(number: Int) {
        let at = Date(timeIntervalSince1970: 1)
        let event = PipelineEvent(.taskStarted, task: "t", attempt: number, at: at)
        var transition = PipelineTransition(expectedRevision: number)
        transition.events = [event]
        let change = PipelineChange(id: UUID(), epoch: number, at: at, transition: transition)
        let place = TaskPlace(pipeline: change.id, epoch: number, task: "t", depth: number)
        let statements = [
            PostgresWorkflowQueries.apply(change), PostgresWorkflowQueries.apply([change, change]),
            PostgresWorkflowQueries.commit(event, at: place),
            PostgresWorkflowQueries.ownCommit(at: place, attempt: number, by: UUID()),
        ]
        for statement in statements { #expect(!statement.binds.isEmpty) }
    }

    /// A19: what is kept of a task that is tried again and again is bounded, and the number of its attempts is not.
    @Test func ofVeryManyAttemptsTheFirstAndTheLastAreKept() async throws {
        let workflow = try Workflow("w") {
            WorkflowTask("t", retry: .fixed(60, delay: .zero)) { _, scope in
                if scope.attempt < 50 { throw Broken() }
            }
        }
        let runner = try DefaultRunner(store: InMemoryWorkflowStore(), workflows: [workflow])
        let result = try await runner.execute("w")
        let task = try #require(result.task("t"))
        #expect(task.attempt == 50 && task.attempts.map(\.number) == Array(1...10) + Array(41...50))
        #expect(try await runner.result(of: result.id).sightForTests == result.sightForTests)
    }
}
