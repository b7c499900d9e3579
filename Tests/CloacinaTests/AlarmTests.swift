import FoundationEssentials
import Synchronization
import Testing

@testable import Cloacina

/// Delayed pipelines begin when they are due, whoever put them into the queue, and one timer is enough for that.
@Suite(.timeLimit(.minutes(5))) struct AlarmTests {
    private let clock = HandClock()
    private let store = InMemoryWorkflowStore()

    private func runner(_ store: (any WorkflowStore)? = nil) throws -> DefaultRunner {
        try self.clock.runner(Workflow("w") { WorkflowTask("t") { _ in } }, store: store ?? self.store)
    }

    private func enqueue(in seconds: [Int], by runner: DefaultRunner) async throws {
        for seconds in seconds {
            try await runner.enqueue("w", options: ExecutionOptions(delay: .seconds(seconds)))
        }
    }

    /// How many seconds after the clock's beginning the runner looks at the queue next.
    private func alarm(_ runner: DefaultRunner) -> Double? {
        runner.state.withLock { $0.alarm?.due }.map { $0.timeIntervalSince(self.clock.start) }
    }

    private func completed(_ runner: DefaultRunner) async throws -> Int {
        try await runner.list(PipelineQuery(statuses: [.completed])).count
    }

    /// Nobody calls, and one look finds out about all of them.
    @Test func whatAnotherRunnerPutThereBeginsWhenItIsDue() async throws {
        let runner = try self.runner()
        try await self.enqueue(in: [30, 20, 40], by: try self.runner())
        await runner.serveOnce()
        await self.clock.settle()
        for (passed, completed) in [(19, 0), (1, 1), (9, 1), (1, 2), (9, 2), (1, 3)] {
            await self.clock.advance(by: .seconds(passed))
            #expect(try await self.completed(runner) == completed)
        }
        #expect(self.alarm(runner) == nil)
    }

    /// A call from a host whose clock is a little ahead says "now", and nothing is due yet (engine fault A4).
    @Test func aCallFromAClockThatIsAheadIsAnsweredWhenItIsDue() async throws {
        let runner = try self.runner()
        await runner.serveOnce()
        await self.clock.settle()
        let new = NewPipeline(
            id: .version7(), workflow: "w", version: "v", input: Context(), owner: nil,
            at: self.clock.start.addingTimeInterval(0.002))
        _ = try await self.store.create([new])
        let call = try #require(QueueCall("0 token"))
        runner.hear(call)
        await self.clock.settle()
        #expect(try await self.completed(runner) == 0)
        #expect(self.alarm(runner).map { abs($0 - 0.002) < 0.000_1 } == true)
        await self.clock.advance(by: .milliseconds(3))
        #expect(try await self.completed(runner) == 1)
    }

    /// What is due already hides what comes next.
    @Test func whatFollowsOnWhatIsDueBeginsWhenItIsDue() async throws {
        let runner = try self.runner()
        try await self.enqueue(in: [0, 20], by: try self.runner())
        await runner.serveOnce()
        await self.clock.settle()
        #expect(try await self.completed(runner) == 1)
        #expect(self.alarm(runner) == 20)
        await self.clock.advance(by: .seconds(20))
        #expect(try await self.completed(runner) == 2)
    }

    /// A claim may take longer than the time between two that are due.
    @Test func whatComesDueDuringAClaimBeginsAtOnce() async throws {
        let mustCreate = Mutex(false)
        let late = NewPipeline(
            id: .version7(), workflow: "w", version: "v", input: Context(), owner: nil,
            at: self.clock.start.addingTimeInterval(10))
        let store = HookedStore(
            self.store,
            after: { call throws(PipelineError) in
                guard call == .claim, mustCreate.withLock({ $0 }) else { return }
                mustCreate.withLock { $0 = false }
                _ = try await self.store.create([late])
            })
        let runner = try self.runner(store)
        try await self.enqueue(in: [10], by: try self.runner())
        await runner.serveOnce()
        await self.clock.settle()
        mustCreate.withLock { $0 = true }
        await self.clock.advance(by: .seconds(10))
        #expect(try await self.completed(runner) == 2)
        #expect(self.alarm(runner) == nil)
    }

    /// A runner without its workflow can't begin it, and it stays due for ever.
    @Test func whatNobodyHereKnowsHidesNothing() async throws {
        let unknown = try Workflow("unknown") { WorkflowTask("t") { _ in } }
        _ = try await self.store.create([NewPipeline(unknown, at: self.clock.now())])
        let runner = try self.runner()
        try await self.enqueue(in: [20, 10], by: try self.runner())
        await runner.serveOnce()
        await self.clock.settle()
        for (passed, completed) in [(9, 0), (1, 1), (9, 1), (1, 2)] {
            await self.clock.advance(by: .seconds(passed))
            #expect(try await self.completed(runner) == completed)
        }
        #expect(self.alarm(runner) == nil && self.clock.sleepers == 0)
    }

    /// When the first one begins, nobody can be asked when the next one is due.
    @Test func whatIsNotFoundOutAtOnceIsFoundOutLater() async throws {
        let isFailing = Mutex(false)
        let store = HookedStore(
            self.store,
            before: { call throws(PipelineError) in
                if call == .survey(everyOwner: false), isFailing.withLock({ $0 }) { throw HookedStore.fault }
            })
        let runner = try self.runner(store)
        try await self.enqueue(in: [10, 20], by: try self.runner())
        await runner.serveOnce()
        await self.clock.settle()
        isFailing.withLock { $0 = true }
        await self.clock.advance(by: .seconds(10))
        #expect(try await self.completed(runner) == 1)
        #expect(self.alarm(runner) == nil)
        isFailing.withLock { $0 = false }
        await self.clock.advance(by: .seconds(10))
        #expect(try await self.completed(runner) == 2)
    }

    @Test func whatIsDueEarlierReplacesTheTimer() async throws {
        let runner = try self.runner()
        await runner.serveOnce()
        await self.clock.settle()
        for (delay, alarm) in [(40, 40), (20, 20), (30, 20), (10, 10), (50, 10)] {
            try await self.enqueue(in: [delay], by: runner)
            await self.clock.settle()
            #expect(self.alarm(runner) == Double(alarm))
            // One timer, and no heartbeat.
            #expect(self.clock.sleepers == 1)
        }
        for (number, due) in [20, 30, 40, 50].enumerated() {
            await self.clock.advance(by: .seconds(10))
            #expect(try await self.completed(runner) == number + 1)
            #expect(self.alarm(runner) == Double(due))
        }
        await self.clock.advance(by: .seconds(10))
        #expect(try await self.completed(runner) == 5)
    }

    @Test func whatIsFurtherOffIsLeftToTheNextSweep() async throws {
        let runner = try self.runner()
        await runner.serveOnce()
        try await self.enqueue(in: [3_600], by: runner)
        #expect(self.alarm(runner) == nil)
        await self.clock.advance(by: .seconds(3_590))
        await runner.serveOnce()
        #expect(self.alarm(runner) == 3_600)
        await self.clock.advance(by: .seconds(10))
        #expect(try await self.completed(runner) == 1)
    }

    @Test func aShutdownLeavesNoTimer() async throws {
        let runner = try self.runner()
        await runner.serveOnce()
        try await self.enqueue(in: [10], by: runner)
        #expect(self.alarm(runner) == 10)
        await runner.shutDown()
        await self.clock.settle()
        #expect(self.alarm(runner) == nil && self.clock.sleepers == 0)
    }
}
