import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import Cloacina
@testable import cloacina_admin

extension ServerTests {
    /// The built command as an operator runs it, by an administrator who is no superuser, over runs of a real tenant.
    @Suite(.timeLimit(.minutes(40))) struct ExecutionCommandTests {
        private struct Broken: Error, CustomStringConvertible { let description = "\u{1b}[31mit broke\n\u{9b}1m" }

        private typealias Answer = AdminCommand.Answer

        private struct Line: Decodable, Equatable {
            let id: String
            let workflow: String
            let state: String
        }

        private struct Waiting: Decodable, Equatable {
            let workflow: String
            let version: String?
            let pipelines: Int
            let hasMore: Bool
            let longestWaiting: String
        }

        private struct Run: Decodable {
            struct Task: Decodable {
                struct Attempt: Decodable { let outcome: String }
                let id: String
                let state: String
                let error: String?
                let attempts: [Attempt]
            }
            struct Event: Decodable { let kind: String }
            let id: String
            let state: String
            let version: String
            let tasks: [Task]
            let history: [Event]?
        }

        /// Where one test's command writes.
        private struct Place {
            let directory: String
            let tenant: String
            /// Another login than the administrator's, whose password is its name.
            var login: String?

            /// Runs the command with standard error apart from standard output.
            func run(_ arguments: [String], input: String? = nil) async throws -> Answer {
                try await AdminCommand(directory: self.directory, login: self.login).run(arguments, input: input)
            }

            func execution(_ arguments: String...) async throws -> Answer {
                try await self.run(["execution"] + arguments + ["--tenant", self.tenant])
            }
        }

        private static func workflows() throws -> (fine: Workflow, broken: Workflow) {
            let fine = try Workflow("fine") {
                WorkflowTask("extract") { context in try context.set("rows", to: 3) }
                WorkflowTask("load", after: "extract") { _ in }
            }
            let broken = try Workflow("broken") {
                WorkflowTask("try", retry: .fixed(2, delay: .zero)) { _ in throw Broken() }
                WorkflowTask("behind", after: "try") { _ in }
            }
            return (fine, broken)
        }

        /// A tenant with three runs of one workflow and a failed one of another.
        private func withRuns(_ body: (Place, _ fine: [UUID], _ broken: UUID) async throws -> Void) async throws {
            let directory = FileManager.default.temporaryDirectory.path + "/" + TestDatabase.uniqueName("execution")
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let name = TenantFixture.name()
            let (ids, failed) = try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                let label = try await admin.tenant(named: name).label(.role)
                let pool = PostgresPoolConfiguration(try #require(TestDatabase.current).superuser)
                return try await PostgresPool.withPool(pool) { pool in
                    let (fine, broken) = try Self.workflows()
                    let runner = try DefaultRunner(pool: pool, label: label, workflows: [fine, broken])
                    var ids: [UUID] = []
                    for _ in 0..<3 { ids.append(try await runner.execute("fine").id) }
                    return (ids, try await runner.execute("broken").id)
                }
            }
            try await body(Place(directory: directory, tenant: name), ids, failed)
        }

        @Test func listPagesFromTheNewestToTheOldest() async throws {
            try await self.withRuns { place, fine, broken in
                let all = try await place.execution("list", "--output", "json")
                #expect(all.status == 0, "\(all.notes)")
                let ids = try all.decoded([Line].self).map(\.id)
                #expect(Set(ids) == Set((fine + [broken]).map(\.text)))
                #expect(ids == ids.sorted(by: >))
                #expect(all.notes.hasPrefix("target: host "))
                #expect(all.notes.contains(", tenant \(place.tenant)\n"))
                #expect(!all.notes.contains("--after"))

                let first = try await place.execution("list", "--limit", "3", "--output", "ndjson")
                #expect(first.output.split(separator: "\n").count == 3)
                #expect(first.notes.hasSuffix("there are more: --after \(ids[2])\n"))
                let second = try await place.execution("list", "--after", ids[2], "--output", "json")
                #expect(try second.decoded([Line].self).map(\.id) == [ids[3]])

                let failed = try await place.execution("list", "--state", "failed", "--output", "json")
                #expect(
                    try failed.decoded([Line].self) == [Line(id: broken.text, workflow: "broken", state: "failed")])
                let none = try await place.execution("list", "--workflow", "'; --", "--output", "json")
                #expect(try none.decoded([Line].self).isEmpty)
                let table = try await place.execution("list", "--workflow", "fine")
                #expect(table.output.split(separator: "\n").count == 4)
            }
        }

        @Test func showTellsTasksAttemptsAndHistory() async throws {
            try await self.withRuns { place, _, broken in
                let answer = try await place.execution("show", broken.text, "--history", "--output", "json")
                #expect(answer.status == 0, "\(answer.notes)")
                let run = try answer.decoded(Run.self)
                #expect(run.id == broken.text)
                #expect(run.state == "failed")
                #expect(run.version == (try Self.workflows().broken.contentVersion.hex))
                #expect(run.tasks.map(\.id) == ["try", "behind"])
                #expect(run.tasks.map(\.state) == ["failed", "skipped"])
                #expect(run.tasks[0].error == Broken().description)
                #expect(run.tasks[0].attempts.map(\.outcome) == ["failed", "failed"])
                #expect(
                    run.history?.map(\.kind) == [
                        "pipeline started", "task retrying", "task failed", "task skipped", "pipeline failed",
                    ])
                let table = try await place.execution("show", broken.text.uppercased(), "--history")
                #expect(table.status == 0)
                #expect(table.output.contains(#"\u{1b}[31mit broke\u{a}\u{9b}1m"#))
                #expect(table.output.unicodeScalars.allSatisfy { $0 == "\n" || !(0..<0x20 ~= $0.value) })
            }
        }

        @Test func graphDrawsTheRunOverItsDefinition() async throws {
            try await self.withRuns { place, fine, broken in
                let definition = place.directory + "/broken.json"
                let json = try JSONEncoder().encode(WorkflowGraph(try Self.workflows().broken))
                try json.write(to: URL(filePath: definition))
                for (format, prefix) in [("svg", "<svg "), ("dot", "digraph "), ("mermaid", "---\n")] {
                    let answer = try await place.execution(
                        "graph", broken.text, "--definition", definition, "--format", format)
                    #expect(answer.status == 0, "\(answer.notes)")
                    #expect(answer.output.hasPrefix(prefix))
                    #expect(answer.output.contains("2 attempts"))
                    #expect(answer.output.contains("skipped"))
                }
                let other = try await place.execution("graph", fine[0].text, "--definition", definition)
                #expect(other.status == 1)
                #expect(other.output.isEmpty)
                let drawing = try await place.run(
                    ["workflow", "graph", "--definition", "-"], input: String(decoding: json, as: UTF8.self))
                #expect(drawing.status == 0)
                #expect(drawing.output == "level  task    after\n1      try     -\n2      behind  try\n")
                let circle = #"{"name":"w","nodes":[{"id":"a"}],"edges":[{"from":"a","to":"a"}]}"#
                let refused = try await place.run(["workflow", "graph", "--definition", "-"], input: circle)
                #expect(refused.status == 1)
                #expect(refused.output.isEmpty)
                #expect(refused.notes.hasPrefix("error: selfDependency: "))
            }
        }

        @Test func unknownIdsAndTenantsEndWithOne() async throws {
            try await self.withRuns { place, fine, _ in
                let none = try await place.execution("show", UUID().text, "--output", "json")
                #expect(none.status == 1)
                #expect(none.output.contains(#""code" : "pipelineNotFound""#))
                #expect(none.notes.contains("error: pipelineNotFound: "))
                let nobody = Place(directory: place.directory, tenant: "no\u{1b}body")
                for arguments in [["list"], ["show", fine[0].text]] {
                    let answer = try await nobody.run(["execution"] + arguments + ["--tenant", nobody.tenant])
                    #expect(answer.status == 1)
                    #expect(answer.output.isEmpty)
                    #expect(answer.notes.contains("error: tenantNotFound: "))
                    #expect(!answer.notes.contains("\u{1b}"))
                }
            }
        }

        /// Who may read the registry may not read the tenants for that.
        @Test func whoCanNotTakeOnTheEnginesRoleEndsWithSix() async throws {
            try await self.withRuns { place, _, _ in
                let login = TestDatabase.uniqueName("reader")
                let quoted = PostgresIdentifier.quote(login)
                try await Self.asSuperuser([
                    "CREATE ROLE \(quoted) LOGIN PASSWORD '\(login)'",
                    "GRANT CONNECT ON DATABASE \(try #require(TestDatabase.current).name) TO \(quoted)",
                    "GRANT USAGE ON SCHEMA cloacina TO \(quoted)",
                    "GRANT SELECT ON ALL TABLES IN SCHEMA cloacina TO \(quoted)",
                ])
                let reader = Place(directory: place.directory, tenant: place.tenant, login: login)
                let refused = try await reader.execution("list")
                let engine = PostgresIdentifier.quote(place.tenant + "_engine")
                try await Self.asSuperuser(["GRANT \(engine) TO \(quoted)"])
                let granted = try await reader.execution("list", "--output", "json")
                try await Self.asSuperuser(["DROP OWNED BY \(quoted)", "DROP ROLE \(quoted)"])
                #expect(refused.status == 6)
                #expect(refused.output.isEmpty)
                #expect(refused.notes.contains("hint: reading takes on the tenant's engine role"), "\(refused.notes)")
                #expect(granted.status == 0, "\(granted.notes)")
                #expect(try granted.decoded([Line].self).count == 4)
            }
        }

        private static func asSuperuser(_ statements: [String]) async throws {
            try await TenantFixture.withSuperuser { connection in
                for sql in statements { _ = try await connection.query(PostgresStatement(sql, prepared: false)) }
            }
        }

        /// C30: what waits for so long that no runner seems to take it, by workflow and version, and nothing else.
        @Test func strandedTellsWhatNobodyTakes() async throws {
            try await self.withRuns { place, _, _ in
                let none = try await place.execution("stranded", "--output", "json")
                #expect(none.status == 0, "\(none.notes)")
                #expect(try none.decoded([Waiting].self).isEmpty)
                // Three of a workflow that nobody has, one that was begun by a version that is gone, one of each that was just put
                // there or put back, and one that is due later.
                try await TenantFixture.withSuperuser { connection in
                    let schema = PostgresIdentifier.quote(place.tenant)
                    try await connection.script(
                        """
                        INSERT INTO \(schema).cloacina_pipelines (id, workflow, version, state, revision, epoch, recoveries,
                            priority, due_at, created_at, started_at, input, format, depth)
                        SELECT format('00000000-0000-7000-0000-00000000000%s', n)::uuid,
                            CASE WHEN n <= 3 OR n = 5 THEN 'ghost' ELSE 'fine' END, 'v' || n, 'queued', 1, 0, 0, 0,
                            now() + CASE WHEN n <= 4 OR n = 6 THEN make_interval(hours => n - 9)
                                WHEN n = 5 THEN interval '-1 second' ELSE interval '1 hour' END,
                            now() - interval '10 hours', CASE WHEN n IN (4, 6) THEN now() - interval '9 hours' END, '{}', 1, 0
                        FROM generate_series(1, 7) AS n;
                        INSERT INTO \(schema).cloacina_events (pipeline_id, revision, position, kind, attempt, at)
                        SELECT id, 1, 0, 'pipeline released', 0,
                            CASE WHEN version = 'v6' THEN now() ELSE now() - interval '9 hours' END
                        FROM \(schema).cloacina_pipelines WHERE version IN ('v4', 'v6')
                        """)
                }
                let ghosts = Waiting(
                    workflow: "ghost", version: nil, pipelines: 3, hasMore: false,
                    longestWaiting: "00000000-0000-7000-0000-000000000001")
                let begun = Waiting(
                    workflow: "fine", version: "v4", pipelines: 1, hasMore: false,
                    longestWaiting: "00000000-0000-7000-0000-000000000004")
                let all = try await place.execution("stranded", "--output", "json")
                #expect(all.status == 3, "\(all.notes)")
                #expect(try all.decoded([Waiting].self) == [ghosts, begun])
                let one = try await place.execution("stranded", "--limit", "1", "--output", "json")
                #expect(one.status == 3 && one.notes.hasSuffix("there are more: raise --limit\n"))
                #expect(try one.decoded([Waiting].self).count == 1)
                let fine = try await place.execution("stranded", "--workflow", "fine", "--output", "json")
                #expect(try fine.decoded([Waiting].self) == [begun])
                let old = try await place.execution("stranded", "--older-than", "23400", "--output", "json")
                #expect(try old.decoded([Waiting].self).map(\.pipelines) == [2])
                let table = try await place.execution("stranded", "--older-than", "31536000")
                #expect(table.status == 0 && table.output.split(separator: "\n").count == 1)
            }
        }

        /// Somebody took the tables away, or the tenant is older than they are.
        @Test func aSchemaWithoutTheTablesIsSaidSo() async throws {
            try await self.withRuns { place, _, _ in
                try await TenantFixture.withSuperuser { connection in
                    _ = try await connection.query(
                        "DROP TABLE \(identifier: place.tenant).cloacina_pipelines CASCADE")
                }
                let answer = try await place.execution("list")
                #expect(answer.status == 1)
                #expect(answer.output.isEmpty)
                #expect(answer.notes.contains("error: storageFailed: "))
                #expect(answer.notes.contains("hint: the tenant's schema is missing or behind"))
            }
        }
    }
}
