import CloacinaPostgres
import Foundation
import Testing

@testable import Cloacina
@testable import crash_process

extension ServerTests {
    /// A process that is killed, really, in the middle of a task, and what another runner of the same tenant makes of it.
    @Suite(.timeLimit(.minutes(40))) struct KilledRunnerTests {
        /// Whether a payment waits in its commit.
        private static let isCommitting: PostgresStatement = """
            SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            """

        /// Ends it there.
        private static let cutOff: PostgresStatement = """
            SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            """

        private func survivor(_ fixture: EngineFixture) throws -> DefaultRunner {
            var configuration = EngineFixture.configuration
            configuration.leaseDuration = .milliseconds(100)
            return try fixture.runner(
                TracedWorkflows.long(in: "survivor"), TracedWorkflows.payment(in: "survivor"),
                configuration: configuration)
        }

        @Test func aTaskWhoseProcessIsKilledRunsAgainOnceTheLeaseHasRunOut() async throws {
            try await EngineFixture.with { fixture in
                try await VictimProcess.prepare(fixture.label)
                let survivor = try self.survivor(fixture)
                let id = try await survivor.enqueue("long").id
                let process = try VictimProcess(.running(id, .paying), fixture.label)
                try await VictimProcess.waitForEffect(of: "long", fixture.label)
                let victim = try #require(try await fixture.store.load(id)?.owner)
                process.kill()
                await process.expectDeath()
                let result = try await fixture.serving(survivor) { try await survivor.result(of: id) }
                #expect(result.status == .completed)
                #expect(result.finalContext.values == ["before": "victim", "long": "survivor", "after": "survivor"])
                let history = try await survivor.history(of: id)
                let lines = history.map { event in
                    let who = event.worker.map { $0 == victim ? "victim" : $0 == survivor.id ? "survivor" : "\($0)" }
                    return [event.kind.rawValue, event.task, event.task.map { _ in "\(event.attempt)" }, who]
                        .compactMap { $0 }.joined(separator: " ")
                }
                #expect(
                    lines == [
                        "pipeline queued", "pipeline started victim", "task completed before 1 victim",
                        "pipeline recovered survivor", "pipeline started survivor", "task started long 2 survivor",
                        "task completed long 2 survivor", "task completed after 1 survivor",
                        "pipeline completed survivor",
                    ])
                #expect(history.first { $0.kind == .pipelineRecovered }?.detail == PipelineEvent.recovery(of: victim))
                #expect(
                    try await VictimProcess.effects(fixture.label) == [
                        "before 1 victim", "long 1 victim", "long 2 survivor", "after 1 survivor",
                    ])
                try await PipelineAudit.check([id], in: fixture.schema, tasks: 3)
            }
        }

        /// What the task writes is there once, and is the work of whoever committed it.
        @Test(arguments: PaymentMoment.allCases)
        func aPaymentIsMadeOnceWhereverItsCommitIsCutOff(moment: PaymentMoment) async throws {
            try await EngineFixture.with { fixture in
                try await VictimProcess.prepare(fixture.label)
                let survivor = try self.survivor(fixture)
                let id = try await survivor.enqueue("payment").id
                let isHeld = moment == .committing || moment == .rollingBack
                try await TenantFixture.withSuperuser { superuser in
                    if isHeld { try await superuser.query("SELECT pg_advisory_lock(77)") }
                    let process = try VictimProcess(.running(id, moment), fixture.label)
                    if isHeld {
                        try await superuser.waitUntil(Self.isCommitting)
                        process.kill()
                    }
                    await process.expectDeath()
                    let victim = try #require(try await fixture.store.load(id)?.owner)
                    if isHeld {
                        // The server doesn't know yet that it commits for nobody; until then nobody takes its place.
                        let beats = try #require(try await fixture.store.beats(everyOwner: true)[victim])
                        let recovered = try await fixture.store.recover(
                            victim, beats: beats, by: survivor.id, at: Date())
                        #expect(recovered == 0)
                        #expect(try await fixture.store.load(id)?.owner == victim)
                    }
                    if moment == .rollingBack {
                        try await superuser.query(Self.cutOff)
                        while try await superuser.query(Self.isCommitting).single(as: Bool.self) {
                            await Task.yield()
                        }
                    }
                    if isHeld { try await superuser.query("SELECT pg_advisory_unlock(77)") }
                    let result = try await fixture.serving(survivor) { try await survivor.result(of: id) }
                    let payer = moment == .committing || moment == .committed ? "victim" : "survivor"
                    #expect(result.status == .completed && result.finalContext.values == ["paid by": .string(payer)])
                    let payments: [UUID] = try await superuser.query(
                        "SELECT pipeline_id FROM \(identifier: fixture.schema).payments"
                    ).column("pipeline_id")
                    #expect(payments == [id])
                    let ran = try await VictimProcess.effects(fixture.label)
                    #expect(
                        ran.filter { $0.hasPrefix("pay") }
                            == (payer == "victim" ? ["pay 1 victim"] : ["pay 1 victim", "pay 2 survivor"]))
                    #expect(
                        ran.filter { $0.hasPrefix("after") }.compactMap { $0.split(separator: " ").last }
                            == (moment == .committed ? ["victim", "survivor"] : ["survivor"]))
                    let history = try await survivor.history(of: id)
                    let completions = history.filter { $0.kind == .taskCompleted && $0.task == "pay" }
                    #expect(completions.map(\.worker) == [payer == "victim" ? victim : survivor.id])
                    let recoveries = history.filter { $0.kind == .pipelineRecovered }
                    #expect(recoveries.map(\.worker) == [survivor.id])
                    #expect(recoveries.map(\.detail) == [PipelineEvent.recovery(of: victim)])
                }
            }
        }
    }
}
