import CloacinaPostgres
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// Two versions of one workflow at the same time on one database, as during a deployment.
    @Suite(.timeLimit(.minutes(40))) struct VersionTests {
        /// Begins like the other version and goes on differently.
        private static func workflow(_ version: String, _ log: AttemptLog, hangs: Bool = false) throws -> Workflow {
            try Workflow("w") {
                WorkflowTask("a", codeVersion: version) { context, scope in
                    log.note(scope)
                    try context.set("begun by", to: version)
                }
                WorkflowTask("only in \(version)", after: "a") { context, scope in
                    log.note(scope)
                    if hangs { try await Task.sleep(for: .seconds(3_600)) }
                    try context.set("ended by", to: version)
                }
            }
        }

        /// Which versions' tasks each pipeline's history tells of, beside the version that it is pinned to.
        private func checkVersions(_ fixture: EngineFixture, _ versions: [String: Workflow]) async throws {
            let rows = try await TenantFixture.withSuperuser { connection in
                try await connection.query(
                    """
                    SELECT p.version, array_agg(DISTINCT e.task ORDER BY e.task) AS tasks
                    FROM \(identifier: fixture.schema).cloacina_pipelines AS p
                    JOIN \(identifier: fixture.schema).cloacina_events AS e ON e.pipeline_id = p.id AND e.task IS NOT NULL
                    GROUP BY p.id
                    """)
            }
            #expect(!rows.isEmpty)
            for row in rows {
                let version: String = try row.value("version")
                let name = try #require(versions.first { $0.value.contentVersion.hex == version }?.key)
                #expect(try row.value("tasks", as: [String].self) == ["a", "only in \(name)"])
            }
        }

        @Test func whoeverTakesAPipelineRunsAllOfItInOneVersion() async throws {
            try await EngineFixture.with { fixture in
                let log = AttemptLog()
                let versions = ["1": try Self.workflow("1", log), "2": try Self.workflow("2", log)]
                var configuration = EngineFixture.configuration
                configuration.maximumQueuedPipelines = 4
                let runners = try versions.keys.sorted().map { name in
                    try fixture.runner(try #require(versions[name]), configuration: configuration)
                }
                let ids = try await fixture.serving(runners[0], runners[1]) {
                    async let old = fixture.enqueue(50, "w", by: runners[0])
                    async let new = fixture.enqueue(50, "w", by: runners[1])
                    async let direct = runners[0].execute("w").id
                    let ids = try await old + new + [direct]
                    try await PipelineAudit.waitForEnds(101, in: fixture.schema)
                    return ids
                }
                try await self.checkVersions(fixture, versions)
                try await PipelineAudit.check(ids, in: fixture.schema, tasks: 2)
                try await PipelineAudit.check(log, in: fixture.schema)
            }
        }

        @Test func whatHasBegunWaitsForARunnerOfItsVersion() async throws {
            try await EngineFixture.with { fixture in
                let log = AttemptLog()
                let old = try fixture.runner(Self.workflow("1", log, hangs: true))
                var ids: [UUID] = []
                for _ in 0..<10 { ids.append(try await old.executeAsync("w").id) }
                await log.reached(20)
                await old.shutDown(drain: .zero)

                let store = WatchedStore(fixture.store)
                let new = try fixture.runner(Self.workflow("2", log), store: store)
                try await fixture.serving(new) {
                    // It takes what comes after them in the queue.
                    ids += try await fixture.enqueue(5, "w", by: new)
                    try await PipelineAudit.waitForEnds(5, in: fixture.schema)
                    #expect(try await new.list(PipelineQuery(statuses: [.queued])).count == 10)
                    let again = try fixture.runner(Self.workflow("1", log))
                    try await fixture.serving(again) { try await PipelineAudit.waitForEnds(15, in: fixture.schema) }
                }
                let versions = ["1": try Self.workflow("1", log), "2": try Self.workflow("2", log)]
                try await self.checkVersions(fixture, versions)
                try await PipelineAudit.check(ids, in: fixture.schema, tasks: 2)
                try await PipelineAudit.check(log, in: fixture.schema)
            }
        }

        /// Whatever a runner of another version is asked to do with a pipeline that has begun, it writes nothing about tasks
        /// that the pipeline doesn't have.
        @Test func aRunnerOfAnotherVersionMixesNothingIntoAHistory() async throws {
            try await EngineFixture.with { fixture in
                let log = AttemptLog()
                let old = try fixture.runner(Self.workflow("1", log, hangs: true))
                let id = try await old.executeAsync("w").id
                await log.reached(2)
                await old.shutDown(drain: .zero)
                let new = try fixture.runner(Self.workflow("2", log))
                try? await new.pause(id)
                try? await new.resume(id)
                try? await new.cancel(id)
                let strangers = try await new.history(of: id).filter { $0.task == "only in 2" }
                #expect(strangers.isEmpty)
                if let seen = try? await new.snapshot(of: id) { #expect(seen.task("only in 2") == nil) }
            }
        }
    }
}
