import CloacinaPostgres
import FoundationEssentials
import Testing

@testable import Cloacina
@testable import cloacina_admin

extension ServerTests {
    /// A task that kills every process that runs it.
    @Suite(.timeLimit(.minutes(40))) struct PoisonTests {
        @Test(arguments: [0, 2]) func aTaskThatKillsEveryProcessIsAbandonedAndHarmsNothingElse(
            maximumRecoveries: Int
        ) async throws {
            try await EngineFixture.with { fixture in
                try await CrashProcessRun.prepare(fixture.label)
                let runner = try fixture.runner(
                    Workflow("crash") { WorkflowTask("stub") { _ in } },
                    Workflow("poison") { WorkflowTask("stub") { _ in } })
                let healthy = try await fixture.enqueue(4, "crash", by: runner)
                let poison = try await fixture.enqueue(1, "poison", by: runner)[0]
                var deaths = 0
                while true {
                    let process = try await CrashProcessRun.serve(
                        fixture.label, point: -1, maximumRecoveries: maximumRecoveries, named: "process \(deaths)")
                    if process.status == 0 { break }
                    deaths += 1
                    try #require([9, 137].contains(process.status), "\(process)")
                    // The first death only says that something is wrong; the next ones find out what it is.
                    try #require(deaths <= maximumRecoveries + 2)
                }
                #expect(deaths == maximumRecoveries + 2)
                var ends = Dictionary(uniqueKeysWithValues: healthy.map { ($0, PipelineStatus.completed) })
                ends[poison] = .failed
                try await PipelineAudit.check(ends, in: fixture.schema, tasks: 5)
                let stored = try #require(try await fixture.store.load(poison))
                #expect(stored.recoveries == deaths)
                let lasts = Dictionary(stored.events.compactMap { event in event.task.map { ($0, event) } }) { $1 }
                #expect(
                    lasts.mapValues(\.kind) == [
                        "before": .taskCompleted, "poison": .taskFailed, "beside": .taskCompleted,
                        "behind": .taskSkipped, "last": .taskSkipped,
                    ])
                #expect(lasts["poison"]?.detail?.hasPrefix("abandoned: ") == true)
                try await CrashProcessRun.check(healthy, fixture.label)
            }
        }
    }
}
