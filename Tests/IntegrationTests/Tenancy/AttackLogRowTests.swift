import CloacinaPostgres
import CloacinaTenancy
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// The attack log: rows that a tenant writes for its runners, as the login that an operator let run them.
    @Suite(.serialized, .attackedTenantsWithEngines, .timeLimit(.minutes(40))) struct AttackLogRowTests {
        /// A row of the engine's tables, some of its columns given as SQL.
        private static func insertion(
            into table: String, _ defaults: [String: String], _ given: [String: String]
        ) -> String {
            let values = defaults.merging(given) { $1 }.sorted { $0.key < $1.key }
            return "INSERT INTO \(table) (\(values.map(\.key).joined(separator: ", "))) "
                + "VALUES (\(values.map(\.value).joined(separator: ", ")))"
        }

        private static func pipeline(_ given: [String: String]) -> String {
            let columns = [
                "id": "gen_random_uuid()", "workflow": "'w'", "version": "'newest'", "format": "1", "state": "'queued'",
                "revision": "1", "epoch": "0", "recoveries": "0", "priority": "0",
                "due_at": "now() - interval '1 hour'",
                "created_at": "now() - interval '1 hour'", "depth": "0", "input": "'{}'",
            ]
            return Self.insertion(into: "cloacina_pipelines", columns, given)
        }

        private static func event(_ given: [String: String]) -> String {
            let columns = [
                "pipeline_id": "gen_random_uuid()", "revision": "2", "position": "0", "kind": "'task interrupted'",
                "task": "'t'", "attempt": "1", "at": "now()",
            ]
            return Self.insertion(into: "cloacina_events", columns, given)
        }

        private static func commit(_ given: [String: String]) -> String {
            let columns = [
                "pipeline_id": "gen_random_uuid()", "task": "'t'", "epoch": "0", "attempt": "1", "at": "now()",
            ]
            return Self.insertion(into: "cloacina_task_commits", columns, given)
        }

        /// C1 and C6: numbers, words and sizes beyond what a runner reads.
        static let refused: [String] = [
            Self.pipeline(["revision": "2147483647"]), Self.pipeline(["epoch": "2147483647"]),
            Self.pipeline(["recoveries": "2147483647"]), Self.pipeline(["depth": "2147483647"]),
            Self.pipeline(["state": "'teleported'"]), Self.pipeline(["request": "'bogus'"]),
            Self.pipeline(["timeout_ms": "-9223372036854775808"]), Self.pipeline(["version": "'a b'"]),
            Self.pipeline(["input": "repeat('x', 16777217)"]),
            Self.event(["attempt": "2147483647"]), Self.event(["attempt": "-1"]),
            Self.event(["revision": "1000000001"]),
            Self.event(["kind": "'made up'"]), Self.event(["detail": "repeat('x', 2000001)"]),
            Self.commit(["attempt": "2147483647"]), Self.commit(["epoch": "2147483647"]),
        ]

        @Test(arguments: Self.refused)
        func whatARunnerCouldNotBearIsRefused(row: String) async throws {
            let tenants = try AttackedTenants.shared()
            try await TenantFixture.withTenant(tenants.attacker) { session in
                try await AttackedTenants.expectRefused(row, ["23514"], by: session)
                try await AttackedTenants.expectRefused(
                    row.replacing("INTO ", with: "INTO \(tenants.them)."), ["42501"], by: session)
            }
        }

        /// Rows that the tables take and no library wrote; `{id}` is a queued pipeline of the workflow that is served.
        static let hostile: [[String]] = [
            [Self.pipeline(["priority": "2147483647"])], [Self.pipeline(["priority": "-2147483648"])],
            [Self.pipeline(["due_at": "'-infinity'", "created_at": "'-infinity'"])],
            [Self.pipeline(["due_at": "'infinity'", "created_at": "'infinity'"])],
            [Self.pipeline(["due_at": "'4713-01-01 BC'", "created_at": "'294276-12-31'"])],
            [Self.pipeline(["timeout_ms": "9223372036854775807"])], [Self.pipeline(["timeout_ms": "0"])],
            [Self.pipeline(["input": "'[]'"])], [Self.pipeline(["input": "'not JSON'"])],
            [Self.pipeline(["input": "repeat('{\"a\":', 150) || '1' || repeat('}', 150)"])],
            [Self.pipeline(["workflow": "'nobody''s'"])], [Self.pipeline(["format": "1000000"])],
            [Self.pipeline(["parent_id": "gen_random_uuid()", "depth": "1000000"])],
            [Self.pipeline(["state": "'running'", "owner": "gen_random_uuid()", "recoveries": "1000000000"])],
            [
                Self.pipeline(["id": "{id}", "revision": "9"]),
                Self.event(["pipeline_id": "{id}", "kind": "'task skipped'"]),
                Self.event(["pipeline_id": "{id}", "kind": "'task completed'", "revision": "3"]),
                Self.event(["pipeline_id": "{id}", "attempt": "1000000000", "revision": "1000000000"]),
            ],
            [
                Self.pipeline(["id": "{id}"]), Self.commit(["pipeline_id": "{id}", "task": "'unknown'"]),
                Self.commit(["pipeline_id": "{id}", "attempt": "1000000000", "delta": "'[]'"]),
            ],
            // Where the engine writes its own next lines.
            [Self.pipeline(["id": "{id}"]), Self.event(["pipeline_id": "{id}"])],
            [Self.pipeline(["id": "{id}"]), Self.event(["pipeline_id": "{id}", "revision": "3", "position": "1"])],
        ]

        /// The process lives, the queue goes on, and what is there can be listed.
        @Test(arguments: Self.hostile)
        func aRunnerGoesOnWhateverItsTenantWrote(rows: [String]) async throws {
            let tenants = try AttackedTenants.shared()
            let id = UUID.version7()
            let script = rows.joined(separator: ";\n").replacing("{id}", with: "'\(id)'")
            try await TenantFixture.withTenant(tenants.attacker) { try await $0.script(script) }
            var configuration = PostgresPoolConfiguration(try #require(TestDatabase.current).superuser)
            configuration.maximumConnections = 4
            configuration.maximumPerTenant = 4
            configuration.password = { _ in tenants.attacker.password }
            let label = PostgresLabel(schema: tenants.me, login: tenants.attacker.username)
            try await PostgresPool.withPool(configuration) { pool in
                let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                let runner = try DefaultRunner(
                    pool: pool, label: label, workflows: [workflow], configuration: EngineFixture.configuration)
                let group = Task { try await RunnerGroup([runner], drain: .zero).run() }
                let queued = try await runner.enqueue("w")
                #expect(try await runner.result(of: queued.id).status == .completed)
                #expect(try await runner.execute("w").status == .completed)
                group.cancel()
                _ = await group.result
                #expect(try await runner.list(PipelineQuery(limit: 1_000)).contains { $0.id == queued.id })
                _ = try? await runner.snapshot(of: id)
            }
        }

        /// A line in the place of the one that a claim or a recovery writes next holds up no other pipeline.
        @Test func aLineInTheNextOnesPlaceHoldsUpNoOther() async throws {
            let tenants = try AttackedTenants.shared()
            let (hostile, honest, claimer) = (UUID.version7(), UUID.version7(), UUID())
            let (workflow, place) = (["workflow": "'taken'"], ["pipeline_id": "'\(hostile)'"])
            let rows = [
                Self.pipeline(workflow.merging(["id": "'\(hostile)'"]) { $1 }),
                Self.pipeline(workflow.merging(["id": "'\(honest)'"]) { $1 }),
                Self.event(place.merging(["revision": "2"]) { $1 }),
                Self.event(place.merging(["revision": "3"]) { $1 }),
            ]
            try await TenantFixture.withTenant(tenants.attacker) { try await $0.script(rows.joined(separator: ";\n")) }
            var configuration = PostgresPoolConfiguration(try #require(TestDatabase.current).superuser)
            configuration.password = { _ in tenants.attacker.password }
            let label = PostgresLabel(schema: tenants.me, login: tenants.attacker.username)
            try await PostgresPool.withPool(configuration) { pool async throws -> Void in
                let store = PostgresWorkflowStore(pool: pool, label: label)
                let claim = StoreConformance.claim(claimer, workflows: ["taken": "v1"], at: Date())
                #expect(try await Set(store.claim(claim).map(\.id)) == [hostile, honest])
                #expect(try await store.recover(claimer, beats: 0, by: UUID(), at: Date()) == 2)
                #expect(try await store.load(honest)?.status == .queued)
            }
        }
    }
}
