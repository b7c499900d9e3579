import Cloacina
import CloacinaTesting
import FoundationEssentials
import Synchronization
import Testing

struct Unreachable: Error, CustomStringConvertible { let description = "not reachable" }

@Suite(.timeLimit(.minutes(5))) struct TestRunnerTests {
    @Test func aRetryInAnHourTakesNoTime() async throws {
        let workflow = try Workflow("load") {
            WorkflowTask("load", retry: .fixed(3, delay: .seconds(3_600))) { context, scope in
                guard scope.attempt == 3 else { throw Unreachable() }
                try context.set("rows", to: 42)
            }
            WorkflowTask("report", after: "load") { _ in }
        }
        let runner = TestRunner()
        // Two hours by the runner's clock, within the suite's time limit.
        let run = try await runner.execute(workflow)
        try run.result.expect(.completed).expectAttempts("load", 3).expectContext("rows", equals: 42)
        try run.expectOrder("load", "load", "load", "report")
        #expect(run.beginnings.map { $0.at.timeIntervalSinceReferenceDate } == [0, 3_600, 7_200, 7_200])
        #expect(run.result.duration == .seconds(7_200))
        #expect(runner.clock.now.offset == .seconds(7_200))
        #expect(
            run.history.map(\.kind) == [
                .pipelineStarted, .taskRetrying, .taskRetrying, .taskCompleted, .taskCompleted, .pipelineCompleted,
            ])
    }

    @Test func theClockStandsStillWhereNobodyWaitsForIt() async throws {
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
        let runner = TestRunner()
        // The heartbeat of the first run sleeps through all the others.
        for _ in 0..<300 { try await runner.execute(workflow).result.expect(.completed) }
        #expect(runner.clock.now.offset == .zero)
    }

    @Test func aTaskThatWaitsForTheClockIsEndedByItsTimeout() async throws {
        let clock = TestClock()
        let workflow = try Workflow("w") {
            WorkflowTask("slow", timeout: .seconds(10)) { _ in try await clock.sleep(for: .seconds(3_600)) }
            WorkflowTask("quick", timeout: .seconds(10)) { _ in try await clock.sleep(for: .seconds(9)) }
        }
        let run = try await TestRunner(clock: clock).execute(workflow)
        try run.result.expectFailed("slow", with: "didn't finish within").expect("quick", .completed)
        #expect(clock.now.offset == .seconds(10))
    }

    @Test func theClockStandsStillWhileATaskWaitsForSomethingElse() async throws {
        let workflow = try Workflow("w") {
            WorkflowTask("outside", timeout: .seconds(1)) { _ in
                await Task.detached { try? await Task.sleep(for: .milliseconds(20)) }.value
            }
            WorkflowTask("failing", retry: .fixed(2, delay: .seconds(60))) { _, scope in
                if scope.attempt == 1 { throw Unreachable() }
            }
        }
        let run = try await TestRunner().execute(workflow)
        try run.result.expect(.completed).expectAttempts("outside", 1).expectAttempts("failing", 2)
        #expect(run.result.duration == .seconds(60))
    }

    @Test func aHandMovedClockShowsWhatHasHappenedByThen() async throws {
        let clock = TestClock(moving: .byHand)
        let runner = TestRunner(clock: clock)
        let workflow = try Workflow("w") {
            WorkflowTask("t", retry: .delays(.seconds(10), .seconds(20))) { _ in throw Unreachable() }
        }
        let execution = try await runner.start(workflow)
        #expect(runner.beginnings.count == 1)
        await clock.advance(by: .seconds(9))
        #expect(runner.beginnings.count == 1)
        await clock.advance(by: .seconds(1))
        #expect(runner.beginnings.count == 2)
        #expect(try await execution.status() == .running)
        await clock.advanceToNextSleeper()
        #expect(clock.now.offset == .seconds(30))
        let run = try await runner.end(of: execution)
        try run.result.expectFailed("t", with: "not reachable").expectAttempts("t", 3)
    }

    @Test func aTaskThatHangsOutsideIsTimedOutByAHandMovedClock() async throws {
        let clock = TestClock(moving: .byHand)
        let runner = TestRunner(clock: clock)
        let workflow = try Workflow("w") {
            WorkflowTask("t", timeout: .seconds(10)) { _ in try await Task.sleep(for: .seconds(3_600)) }
        }
        let execution = try await runner.start(workflow)
        await clock.advance(by: .seconds(10))
        try await runner.end(of: execution).result.expectFailed("t", with: "didn't finish within")
    }

    /// Twelve tasks that wait and run at the same time: each seed has an order of its own, every time the same.
    @Test func theOrderIsTheSeeds() async throws {
        func order(seed: UInt64?, tasks limit: Int) async throws -> [String] {
            let clock = TestClock(seed: seed)
            let log = Log()
            var tasks = (0..<6).map { number in
                WorkflowTask("r\(number)", retry: .exponential(2)) { _, scope in
                    log.add("r\(number)")
                    await Task.yield()
                    if number % 2 == 0, scope.attempt == 1 { throw Unreachable() }
                    try await clock.sleep(for: .seconds(1))
                    log.add("r\(number) ends")
                }
            }
            tasks += (0..<6).map { number in
                WorkflowTask("s\(number)", after: "r\(number)", "r\((number + 1) % 6)") { _ in log.add("s\(number)") }
            }
            var configuration = TestRunner.defaultConfiguration
            configuration.maximumConcurrentTasks = limit
            let run = try await TestRunner(clock: clock, configuration: configuration)
                .execute(try Workflow("w", tasks: tasks))
            try run.result.expect(.completed)
            return log.lines + run.beginnings.map { "\($0.task) \($0.at.timeIntervalSinceReferenceDate)" }
        }
        for limit in [1, 3, 16] {
            let plain = try await order(seed: nil, tasks: limit)
            var orders: Set<[String]> = [plain]
            #expect(plain.first == "r0")
            #expect(try await order(seed: nil, tasks: limit) == plain)
            for seed in 0..<8 as Range<UInt64> {
                let shuffled = try await order(seed: seed, tasks: limit)
                #expect(try await order(seed: seed, tasks: limit) == shuffled)
                orders.insert(shuffled)
            }
            // One after the other is as declared.
            #expect(limit == 1 || orders.count >= 5)
        }
    }

    @Test func cancellingTheCallerCancelsThePipeline() async throws {
        let clock = TestClock(moving: .byHand)
        let runner = TestRunner(clock: clock)
        let workflow = try Workflow("w") {
            WorkflowTask("t") { _ in try await clock.sleep(for: .seconds(1)) }
            WorkflowTask("u", after: "t") { _ in }
        }
        let task = Task { try await runner.execute(workflow) }
        while runner.beginnings.isEmpty { await clock.advance(by: .zero) }
        task.cancel()
        let run = try await task.value
        try run.result.expect(.cancelled).expectSkipped("u", because: "the pipeline was cancelled")
    }

    @Test func handlersRunBeforeTheEndIsTold() async throws {
        let clock = TestClock()
        let log = Log()
        let workflow = try Workflow(
            "w",
            tasks: [
                WorkflowTask(
                    "t", dependencies: [],
                    onSuccess: { _, _ in
                        try? await clock.sleep(for: .seconds(5))
                        log.add("told")
                    }, run: { _, _ in })
            ])
        _ = try await TestRunner(clock: clock).execute(workflow)
        #expect(log.lines == ["told"])
    }

    @Test func aTaskMayRunAnotherWorkflow() async throws {
        let runner = TestRunner()
        let inner = try Workflow("inner") { WorkflowTask("i") { context in try context.set("i", to: 1) } }
        try runner.register(inner)
        let outer = try Workflow("outer") {
            WorkflowTask("o") { context in
                let result = try await runner.engine.execute("inner")
                try context.set("o", to: result.finalContext["i"])
            }
        }
        try await runner.execute(outer).result.expect(.completed).expectContext("o", equals: 1)
        #expect(runner.beginnings.map(\.task) == ["o", "i"])
    }

    /// The parent's code waits for nothing but the child, and that for the clock.
    @Test(arguments: [false, true]) func theClockMovesForAChildThatWaits(forARetry: Bool) async throws {
        let clock = TestClock()
        let runner = TestRunner(clock: clock)
        let child = try Workflow("child") {
            WorkflowTask("c", retry: .fixed(2, delay: .seconds(3_600))) { context, scope in
                if forARetry, scope.attempt == 1 { throw Unreachable() }
                if !forARetry { try await clock.sleep(for: .seconds(3_600)) }
                try context.set("at", to: clock.now.offset.components.seconds)
            }
        }
        try runner.register(child)
        let parent = try Workflow("parent") {
            WorkflowTask("p") { context, scope in
                let result = try await scope.execute("child").completed()
                try context.set("at", to: result.finalContext["at"])
                // Its own time goes by as before.
                try await clock.sleep(for: .seconds(60))
            }
            WorkflowTask("q", after: "p", timeout: .seconds(1)) { _ in
                await Task.detached { for _ in 0..<100 { await Task.yield() } }.value
            }
        }
        let run = try await runner.execute(parent)
        try run.result.expect(.completed).expectAttempts("p", 1).expectAttempts("q", 1)
            .expectContext("at", equals: 3_600)
        #expect(run.result.duration == .seconds(3_660))
        #expect(runner.beginnings.map(\.task) == ["p", "c"] + (forARetry ? ["c"] : []) + ["q"])
    }

    @Test func aPausedPipelineIsSaidToStall() async throws {
        let runner = TestRunner()
        let workflow = try Workflow("w") {
            WorkflowTask("a") { _, scope in try await runner.engine.pause(scope.executionID) }
            WorkflowTask("b", after: "a") { _ in }
        }
        let error = await #expect(throws: UnmetExpectation.self) { try await runner.execute(workflow) }
        #expect(error?.code == .stalled)
    }

    @Test func anotherWorkflowOfTheNameIsRefused() async throws {
        let runner = TestRunner()
        _ = try await runner.execute(try Workflow("w") { WorkflowTask("a") { _ in } })
        let error = await #expect(throws: PipelineError.self) {
            try await runner.execute(try Workflow("w") { WorkflowTask("b") { _ in } })
        }
        #expect(error?.code == .duplicateWorkflow)
    }

    @Test func aKeyIsKeptBetweenExecutions() async throws {
        let workflow = try Workflow("w") {
            WorkflowTask("t") { context in if context["fails"] == true { throw Unreachable() } }
        }
        let options = ExecutionOptions(idempotencyKey: "k")
        let fails = try Context(["fails": true])
        let runner = TestRunner()
        let first = try await runner.execute(workflow, context: fails, options: options)
        // As another process over the same database.
        let next = TestRunner(sharing: runner)
        for runner in [runner, next] {
            let again = try await runner.execute(workflow, context: fails, options: options)
            #expect(again.result.id == first.result.id && !again.result.isNew)
            try again.result.expect(.failed)
            await #expect { try await runner.execute(workflow, options: options) } throws: {
                ($0 as? PipelineError)?.code == .keyConflict
            }
        }
        let anew = ExecutionOptions(idempotencyKey: "k", keyReuse: .afterFailure)
        let last = try await next.execute(workflow, options: anew)
        try last.result.expect(.completed)
        #expect(first.result.isNew && last.result.isNew && last.result.id != first.result.id)
        #expect(try await runner.engine.list().count == 2 && next.clock === runner.clock)
        #expect(runner.beginnings.count == 1 && next.beginnings.count == 1)
        #expect(try await TestRunner().execute(workflow, context: fails, options: options).result.isNew)
    }

    @Test func whoeverIsDueFirstIsWokenFirst() async throws {
        let clock = TestClock()
        let log = Log()
        let tasks = [3, 1, 2, 1].enumerated().map { number, seconds in
            WorkflowTask("t\(number)") { _ in
                try await clock.sleep(for: .seconds(seconds))
                log.add("t\(number) at \(clock.now.offset.components.seconds)")
            }
        }
        _ = try await TestRunner(clock: clock).execute(try Workflow("w", tasks: tasks))
        #expect(log.lines == ["t1 at 1", "t3 at 1", "t2 at 2", "t0 at 3"])
    }

    @Test func anybodyMayWaitForTheClock() async throws {
        let clock = TestClock(startingAt: Date(timeIntervalSinceReferenceDate: 100), moving: .byHand)
        let waiting = Task { try await clock.sleep(until: TestClock.Instant(offset: .seconds(5))) }
        let cancelled = Task { try await clock.sleep(until: TestClock.Instant(offset: .seconds(9))) }
        cancelled.cancel()
        await #expect(throws: CancellationError.self) { try await cancelled.value }
        await clock.advance(by: .seconds(5))
        try await waiting.value
        #expect(clock.date == Date(timeIntervalSinceReferenceDate: 105))
        #expect(await !clock.advanceToNextSleeper())
    }
}

/// Lines in the order in which they came.
final class Log: Sendable {
    private let state = Mutex<[String]>([])

    var lines: [String] { self.state.withLock { $0 } }

    func add(_ line: String) { self.state.withLock { $0.append(line) } }

    func clear() { self.state.withLock { $0 = [] } }
}
