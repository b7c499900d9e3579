import CloacinaPostgres
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// What a runner says of itself.
@Suite(.timeLimit(.minutes(5))) struct RunnerHealthTests {
    private let clock = HandClock()
    private let shared = InMemoryWorkflowStore()
    private static let readOnly = PipelineError(
        .storageFailed, "on demand", underlying: PostgresError(.rejectedByServer, sqlState: "25006"))

    /// A store that refuses some calls while it is told to.
    private final class RefusingStore: Sendable {
        let isRefusing = Atomic(true)
        private let call: HookedStore.Call
        private let error: PipelineError

        init(_ call: HookedStore.Call, _ error: PipelineError = HookedStore.fault) {
            (self.call, self.error) = (call, error)
        }

        func store(_ underlying: any WorkflowStore) -> HookedStore {
            HookedStore(
                underlying,
                before: { call throws(PipelineError) in
                    let isSurvey = if case .survey = call, case .survey = self.call { true } else { false }
                    if call == self.call || isSurvey, self.isRefusing.load(ordering: .relaxed) { throw self.error }
                })
        }

        func stop() { self.isRefusing.store(false, ordering: .relaxed) }
    }

    @Test func aRunnerThatHasNothingToDoIsHealthy() async throws {
        let runner = try self.clock.runner(store: self.shared)
        await self.clock.advance(by: .seconds(3_600))
        let health = runner.health
        #expect(health.isHealthy && health.problems.isEmpty && health.id == runner.id)
        #expect(!health.isServing && !health.isStopping && !health.isReadOnly && health.isListening == nil)
        #expect(health.lastSweep == nil && health.lastHeartbeat == nil && health.stranded == nil)
        #expect(health.at == self.clock.date(3_600))
        await runner.serveOnce()
        #expect(runner.health.isServing && runner.health.lastSweep == self.clock.date(3_600))
        await runner.shutDown()
        await self.clock.advance(by: .seconds(3_600))
        #expect(runner.health.isStopping && runner.health.problems == ["the runner was shut down"])
    }

    @Test func aHeartbeatThatIsNotStoredForALeaseIsAProblem() async throws {
        let mayEnd = Tally()
        let refusing = RefusingStore(.beat)
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in await mayEnd.reached(1) } }
        let runner = try self.clock.runner(workflow, store: refusing.store(self.shared))
        let execution = try await runner.executeAsync("w")
        await self.clock.settle()
        #expect(runner.health.heartbeatError?.message == "on demand" && runner.health.lastHeartbeat == nil)
        await self.clock.advance(by: runner.configuration.leaseDuration)
        #expect(runner.health.isHealthy)
        await self.clock.advance(by: .seconds(1))
        #expect(runner.health.problems.map { $0.hasPrefix("no heartbeat was stored for 21 s") } == [true])
        #expect(runner.health.problems[0].contains("on demand"))
        refusing.stop()
        await self.clock.advance(by: .seconds(4))
        #expect(runner.health.isHealthy && runner.health.heartbeatError == nil)
        #expect(runner.health.lastHeartbeat == self.clock.date(25))
        mayEnd.add()
        _ = await execution.waitHere()
        // Who has no pipelines says nothing, and is asked for nothing.
        await self.clock.advance(by: .seconds(3_600))
        #expect(runner.health.isHealthy)
    }

    @Test func aQueueThatIsNotLookedAtIsAProblem() async throws {
        let refusing = RefusingStore(.survey(everyOwner: false))
        let runner = try self.clock.runner(store: refusing.store(self.shared))
        await runner.serveOnce()
        #expect(runner.health.isHealthy && runner.health.sweepError?.message == "on demand")
        await self.clock.advance(by: .seconds(80))
        #expect(runner.health.isHealthy)
        await self.clock.advance(by: .seconds(1))
        #expect(runner.health.problems.map { $0.hasPrefix("the queue was not looked at for 81 s") } == [true])
        refusing.stop()
        _ = await runner.sweep()
        #expect(runner.health.isHealthy && runner.health.sweepError == nil)
        #expect(runner.health.lastSweep == self.clock.date(81))
    }

    @Test func aDatabaseThatTakesNoWritesIsAProblemUntilItDoes() async throws {
        let refusing = RefusingStore(.claim, Self.readOnly)
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
        let runner = try self.clock.runner(workflow, store: refusing.store(self.shared))
        let id = try await runner.enqueue("w").id
        await runner.serveOnce()
        await self.clock.settle()
        #expect(runner.health.isReadOnly && runner.health.problems.count == 1)
        refusing.stop()
        await self.clock.advance(by: runner.configuration.heartbeatInterval)
        #expect(try await runner.status(of: id) == .completed)
        #expect(!runner.health.isReadOnly && runner.health.isHealthy)
    }

    /// Nobody may write again, as long as a process is held to be unready.
    @Test func aRefusalIsForgottenAfterAWhile() async {
        let watch = RefusalWatch(self.clock)
        let patience = Duration.seconds(80)
        watch.note(HookedStore.fault)
        #expect(!watch.isReadOnly(at: self.clock.now(), for: patience))
        watch.note(Self.readOnly)
        await self.clock.advance(by: patience)
        #expect(watch.isReadOnly(at: self.clock.now(), for: patience))
        await self.clock.advance(by: .seconds(1))
        #expect(!watch.isReadOnly(at: self.clock.now(), for: patience))
        watch.note(PipelineError(.storageFailed, "", underlying: SQLiteError(.readOnly, "")))
        #expect(watch.isReadOnly(at: self.clock.now(), for: patience))
        watch.note(nil)
        #expect(!watch.isReadOnly(at: self.clock.now(), for: patience))
    }

    @Test func aListenerThatIsNotConnectedForALeaseIsAProblem() {
        let passed = Mutex(Duration.zero)
        let start = ContinuousClock.now
        let listener = ListenerWatch { start + passed.withLock { $0 } }
        var record = HealthRecord()
        record.listener = listener
        func problems() -> [String] { record.problems(at: self.clock.now(), configuration: RunnerConfiguration()) }
        func wait(_ seconds: Int) { passed.withLock { $0 += .seconds(seconds) } }
        listener.disconnected(PostgresError(.connectionFailed))
        wait(20)
        #expect(!listener.isReadOnly && problems().isEmpty)
        listener.disconnected(PostgresError(.rejectedByServer, sqlState: "25006"))
        listener.disconnected(nil)
        wait(1)
        #expect(listener.isReadOnly)
        #expect(problems().map { $0.hasPrefix("the listener has not been connected for 21 s") } == [true])
        listener.connected()
        wait(3_600)
        #expect(!listener.isReadOnly && listener.outage == nil && problems().isEmpty)
        listener.disconnected(nil)
        wait(1)
        #expect(listener.outage?.duration == .seconds(1) && problems().isEmpty)
        listener.begin()
        #expect(listener.outage?.duration == .zero)
    }

    @Test func aHealthIsToldWithLimitsOfAnySize() async throws {
        let runner = try self.clock.runner(store: self.shared) {
            $0.leaseDuration = .seconds(Int64.max)
            $0.sweepInterval = .seconds(Int64.max) * 4
        }
        await runner.serveOnce()
        await self.clock.advance(by: .seconds(3_600))
        #expect(runner.health.isHealthy)
    }

    @Test func aRunnerKnowsWhatItHas() async throws {
        let mayEnd = Tally()
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in await mayEnd.reached(1) } }
        let refusing = RefusingStore(.apply)
        let runner = try self.clock.runner(workflow, store: refusing.store(self.shared))
        _ = try await runner.executeAsync("w")
        try await runner.enqueue("w")
        await runner.serveOnce()
        await self.clock.settle()
        var health = runner.health
        #expect(health.activePipelines == 2 && health.claimedPipelines == 1 && health.adriftPipelines == 0)
        runner.state.withLock { $0.stranded = 3 }
        mayEnd.add()
        await self.clock.settle()
        health = runner.health
        #expect(health.activePipelines == 0 && health.claimedPipelines == 0 && health.adriftPipelines == 2)
        // What no runner can go on with is for a person to see to.
        #expect(health.stranded == 3 && health.isHealthy)
    }

    @Test func aGroupTellsOfAllItsRunners() async throws {
        let runners = [try DefaultRunner(store: self.shared), try DefaultRunner(store: self.shared)]
        let group = RunnerGroup(runners)
        #expect(group.health.map(\.id) == runners.map(\.id))
        #expect(group.health.allSatisfy { $0.isHealthy && $0.isListening == nil })
        await runners[1].shutDown()
        #expect(group.health.map(\.isHealthy) == [true, false])
    }
}
