import CloacinaPostgres
import FoundationEssentials
import Synchronization
import Testing

@testable import Cloacina

extension ServerTests {
    /// A clock that is put forward or back by an hour while an engine works.
    @Suite(.timeLimit(.minutes(40))) struct SteppedClockTests {
        private static let hour: TimeInterval = 3_600

        /// One task, which ends when it is told to.
        private static func patient(_ log: AttemptLog, _ goOn: Gate) throws -> Workflow {
            try Workflow("patient") {
                WorkflowTask("wait") { _, scope in
                    log.note(scope)
                    await goOn.wait()
                }
            }
        }

        /// The owner beats between any two looks that the other takes, however far the clocks are from each other; a lease is
        /// so short that whoever is believed to be silent loses what it has at the second look.
        @Test(arguments: [hour, -hour], [true, false])
        func aLivingRunnerKeepsWhatItHas(step: TimeInterval, ownersClock: Bool) async throws {
            try await EngineFixture.with { fixture in
                let (log, goOn) = (AttemptLog(), Gate())
                let (ownClock, otherClock) = (SteppedClock(), SteppedClock())
                var configuration = RunnerConfiguration()
                configuration.leaseDuration = .nanoseconds(1)
                let beats = WatchedStore(fixture.store)
                let owner = try fixture.runner(
                    Self.patient(log, goOn), store: beats, configuration: configuration, clock: ownClock)
                let recoveries = WatchedStore(fixture.store)
                let other = try fixture.runner(
                    Self.patient(log, goOn), store: recoveries, configuration: configuration, clock: otherClock)
                let execution = try await owner.executeAsync("patient")
                await log.reached(1)
                for round in 0..<20 {
                    (ownersClock ? ownClock : otherClock).step(by: round % 2 == 0 ? step : -step)
                    await ownClock.sleepers(1, for: configuration.heartbeatInterval)
                    let answered = beats.answered(.beat)
                    ownClock.advance(by: configuration.heartbeatInterval)
                    while beats.answered(.beat) == answered { await Task.yield() }
                    await other.serveOnce()
                }
                #expect(recoveries.recovered == 0)
                // And one that is silent does lose it.
                while recoveries.recovered == 0 { await other.serveOnce() }
                await log.reached(2)
                let robbed = try #require(owner.state.withLock { $0.active[execution.id]?.task })
                goOn.open()
                guard case .broken(let error) = await robbed.value else {
                    Issue.record("it ended a pipeline that it had lost")
                    return
                }
                #expect(error.code == .takenOver)
                try await PipelineAudit.waitForEnds(1, in: fixture.schema)
                try await PipelineAudit.check([execution.id], in: fixture.schema, tasks: 1)
                try await PipelineAudit.check(log, in: fixture.schema)
            }
        }

        @Test(arguments: [hour, -hour]) func aRetryWaitsItsTimeAndRunsOnce(step: TimeInterval) async throws {
            struct Busy: Error {}
            try await EngineFixture.with { fixture in
                let (log, clock) = (AttemptLog(), SteppedClock())
                let workflow = try Workflow("w") {
                    WorkflowTask("busy", retry: .fixed(2, delay: .seconds(60))) { _, scope in
                        log.note(scope)
                        if scope.attempt == 1 { throw Busy() }
                    }
                    WorkflowTask("next", after: "busy") { _, scope in log.note(scope) }
                }
                let runner = try fixture.runner(workflow, clock: clock)
                var ids: [UUID] = []
                for _ in 0..<20 { ids.append(try await runner.executeAsync("w").id) }
                await clock.sleepers(20, for: .seconds(60))
                clock.step(by: step)
                clock.advance(by: .seconds(59))
                #expect(log.entries.count == 20)
                clock.advance(by: .seconds(1))
                try await PipelineAudit.waitForEnds(20, in: fixture.schema)
                try await PipelineAudit.check(ids, in: fixture.schema, tasks: 2)
                try await PipelineAudit.check(log, in: fixture.schema)
                #expect(log.entries.count == 60)
            }
        }

        /// What is to begin at a time begins when the clock shows it: an hour early or late, but once.
        @Test(arguments: [hour, -hour]) func whatIsDelayedBeginsOnce(step: TimeInterval) async throws {
            try await EngineFixture.with { fixture in
                let (log, clock) = (AttemptLog(), SteppedClock())
                let runner = try fixture.runner(EngineFixture.chain(log), clock: clock)
                await runner.serveOnce()
                var ids: [UUID] = []
                for _ in 0..<20 {
                    ids.append(try await runner.enqueue("chain", options: ExecutionOptions(delay: .seconds(30))).id)
                }
                clock.step(by: step)
                await runner.serveOnce()
                if step < 0 {
                    clock.advance(by: .seconds(Self.hour))
                    clock.advance(by: .seconds(30))
                    await runner.serveOnce()
                }
                try await PipelineAudit.waitForEnds(20, in: fixture.schema)
                try await PipelineAudit.check(ids, in: fixture.schema, tasks: 3)
                try await PipelineAudit.check(log, in: fixture.schema)
                #expect(log.entries.count == 60)
            }
        }

        /// A limit on what a run may take is no time of day.
        @Test(arguments: [hour, -hour], [PipelineStatus.completed, .failed])
        func aRunsTimeIsWhatHasPassed(step: TimeInterval, end: PipelineStatus) async throws {
            try await EngineFixture.with { fixture in
                let (log, goOn, clock) = (AttemptLog(), Gate(), SteppedClock())
                let runner = try fixture.runner(Self.patient(log, goOn), clock: clock)
                let execution = try await runner.executeAsync(
                    "patient", options: ExecutionOptions(timeout: .seconds(600)))
                await log.reached(1)
                await clock.sleepers(1, for: .seconds(600))
                clock.step(by: step)
                clock.advance(by: .seconds(end == .completed ? 599 : 600))
                if end == .completed { goOn.open() }
                try await PipelineAudit.waitForEnds(1, in: fixture.schema)
                goOn.open()
                try await PipelineAudit.check([execution.id: end], in: fixture.schema, tasks: 1)
                try await PipelineAudit.check(log, in: fixture.schema)
            }
        }
    }
}
