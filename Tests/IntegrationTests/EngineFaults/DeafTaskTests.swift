import CloacinaPostgres
import FoundationEssentials
import Synchronization
import Testing

@testable import Cloacina

extension ServerTests {
    /// Tasks that go on although they were cancelled.
    @Suite(.timeLimit(.minutes(40))) struct DeafTaskTests {
        /// One task whose first attempt hears nothing until it is told to end, and a second one that holds the pipeline open.
        private static func deaf(_ log: AttemptLog, _ goOn: Gate, _ hasEnded: Gate) throws -> Workflow {
            try Workflow("deaf") {
                WorkflowTask("deaf", retry: .fixed(2, delay: .zero), timeout: .seconds(60)) { context, scope in
                    log.note(scope)
                    if scope.attempt == 1 {
                        await goOn.wait()
                        try context.set("late", to: true)
                        hasEnded.open()
                    } else {
                        try context.set("attempt", to: scope.attempt)
                    }
                }
                WorkflowTask("next", after: "deaf") { _, scope in
                    log.note(scope)
                    goOn.open()
                    await hasEnded.wait()
                }
            }
        }

        @Test func aTimeoutEndsAnAttemptThatDoesNotStopAndItsLateResultIsNotApplied() async throws {
            try await EngineFixture.with { fixture in
                let (log, clock) = (AttemptLog(), SteppedClock())
                let runner = try fixture.runner(Self.deaf(log, Gate(), Gate()), clock: clock)
                let execution = try await runner.executeAsync("deaf")
                await log.reached(1)
                await clock.sleepers(1, for: .seconds(60))
                clock.advance(by: .seconds(60))
                try await PipelineAudit.waitForEnds(1, in: fixture.schema)
                let result = try await runner.result(of: execution.id)
                #expect(result.status == .completed)
                #expect(result.finalContext.values == ["attempt": 2])
                #expect(result.task("deaf")?.attempts.map(\.succeeded) == [false, true])
                try await PipelineAudit.check([execution.id], in: fixture.schema, tasks: 2)
                try await PipelineAudit.check(log, in: fixture.schema)
            }
        }

        @Test func aShutdownEndsAndTheLateResultIsNotApplied() async throws {
            try await EngineFixture.with { fixture in
                let (log, goOn, hasEnded) = (AttemptLog(), Gate(), Gate())
                let workflow = try Self.deaf(log, goOn, hasEnded)
                let first = try fixture.runner(workflow)
                let execution = try await first.executeAsync("deaf")
                await log.reached(1)
                await first.shutDown(drain: .zero)
                #expect(try await first.status(of: execution.id) == .queued)
                goOn.open()
                await hasEnded.wait()
                let second = try fixture.runner(workflow)
                let result = try await fixture.serving(second) { try await second.result(of: execution.id) }
                #expect(result.status == .completed)
                #expect(result.finalContext.values == ["attempt": 2])
                #expect(result.task("deaf")?.attempts.map(\.number) == [1, 2])
                try await PipelineAudit.check([execution.id], in: fixture.schema, tasks: 2)
                try await PipelineAudit.check(log, in: fixture.schema)
            }
        }

        /// The time of a transactional task runs out while its runner waits for the database; before the runner looks, the
        /// task has committed. What counts is what the database says.
        @Test(arguments: [RetryPolicy.none, .fixed(2, delay: .zero)])
        func aTransactionalTaskThatCommittedHasCompletedAlthoughItsTimeRanOut(retry: RetryPolicy) async throws {
            try await EngineFixture.with { fixture in
                let (log, clock) = (AttemptLog(), SteppedClock())
                let (begun, isHeld, mayCommit, mayWrite) = (Gate(), Gate(), Gate(), Gate())
                let workflow = try Workflow("w") {
                    WorkflowTask.transactional("pay", retry: retry, timeout: .seconds(60)) { context, scope, _ in
                        log.note(scope)
                        begun.open()
                        await mayCommit.wait()
                        try context.set("paid", to: scope.attempt)
                    }
                    WorkflowTask("beside") { _, scope in
                        log.note(scope)
                        await begun.wait()
                    }
                }
                // The first write is that of the task beside.
                let store = WatchedStore(fixture.store) { call, number throws(PipelineError) in
                    guard call == .apply, number == 1 else { return }
                    isHeld.open()
                    await mayWrite.wait()
                }
                let runner = try fixture.runner(workflow, store: store, clock: clock)
                let execution = try await runner.executeAsync("w")
                await isHeld.wait()
                await clock.sleepers(1, for: .seconds(60))
                let run = try #require(runner.state.withLock { $0.active[execution.id] })
                clock.advance(by: .seconds(60))
                while run.mailbox.isEmpty { await Task.yield() }
                mayCommit.open()
                try await TenantFixture.withSuperuser { connection in
                    try await connection.waitUntil(
                        """
                        SELECT count(*) = 1 FROM \(identifier: fixture.schema).cloacina_task_commits WHERE task = 'pay'
                        """)
                }
                mayWrite.open()
                try await PipelineAudit.waitForEnds(1, in: fixture.schema)
                try await PipelineAudit.check([execution.id], in: fixture.schema, tasks: 2)
                try await PipelineAudit.check(log, in: fixture.schema)
                #expect(log.entries.count == 2)
                #expect(try await runner.result(of: execution.id).finalContext["paid"] == 1)
            }
        }
    }
}

extension Mailbox {
    /// Whether nothing has come in, without taking it.
    fileprivate var isEmpty: Bool {
        let mail = self.takeNow()
        for letter in mail { self.post(letter) }
        return mail.isEmpty
    }
}
