import Cloacina
import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// Every verb of the command, in an order in which each succeeds: one JSON document on standard output.
    @Suite(.timeLimit(.minutes(40))) struct CommandDocumentTests {
        private struct Step {
            let verb: String
            let rest: [String]
            var status: Int32 = 0
            /// Makes what has to be there before, and answers further arguments.
            var preparation: () async throws -> [String] = { [] }
        }

        /// Any JSON value; what follows it is an error of the decoder's.
        private struct Anything: Decodable {
            init(from decoder: any Decoder) {}
        }

        private struct Place {
            let command: AdminCommand
            let name: String
            let server: String

            var migrations: [String] { ["--migrations", self.command.directory + "=app"] }
            var definition: [String] { ["--definition", self.command.path("w.json")] }

            func write(_ table: String) throws {
                let text = "-- A table.\n-- migrate:up\nCREATE TABLE \(table) (id int);\n"
                try Data(text.utf8).write(to: URL(filePath: self.command.path("0001_m1.tenant.sql")))
            }

            func define() throws {
                let graph = WorkflowGraph(name: "w", nodes: [.init(id: "a")], edges: [])
                try JSONEncoder().encode(graph).write(to: URL(filePath: self.command.path("w.json")))
            }

            /// Puts a pipeline into the queue, as the tenant.
            func enqueue() async throws -> [String] {
                let url = try self.command.document("c2.json").connectionString
                return try await PostgresConnection.withConnection(PostgresConfiguration(url)) { connection in
                    [try await connection.query("SELECT cloacina_enqueue('w')::text").single(as: String.self)]
                }
            }

            /// The id of the pipeline that waits.
            func pipeline() async throws -> [String] {
                try await TenantFixture.withSuperuser { connection in
                    try await connection.query("SELECT id::text AS id FROM \(unescaped: self.name).cloacina_pipelines")
                        .column("id")
                }
            }

            func breakOff() async throws -> [String] {
                try await TenantFixture.withSuperuser {
                    try await $0.script(
                        "UPDATE \(self.name).cloacina_migrations SET state = 'failed_unknown' WHERE source = 'app'")
                }
                return []
            }
        }

        private static func steps(_ place: Place) throws -> [Step] {
            let (name, tenant) = (place.name, ["--tenant", place.name])
            let file = { (name: String) in ["--credentials-file", place.command.path(name)] }
            let directory = ["--directory", place.server]
            let binaries = try #require(TestServer.configured).binaries
            return [
                Step(verb: "bootstrap", rest: []),
                Step(verb: "tenant create", rest: [name] + place.migrations + file("c.json")),
                Step(verb: "tenant list", rest: []), Step(verb: "tenant show", rest: [name]),
                Step(verb: "tenant limits", rest: [name, "--connections", "7"]),
                Step(verb: "tenant access", rest: [name, "--no-engine"]), Step(verb: "tenant adopt", rest: [name]),
                Step(verb: "tenant reissue", rest: [name, "--end-sessions"] + file("c2.json")),
                Step(verb: "migrate apply", rest: place.migrations),
                Step(verb: "migrate status", rest: place.migrations),
                Step(verb: "migrate status", rest: place.migrations, status: 3) {
                    try place.write("other")
                    return []
                },
                Step(verb: "migrate rebless", rest: ["app/1"] + tenant + place.migrations),
                Step(
                    verb: "migrate resolve", rest: ["app/1", "--as", "applied"] + tenant, preparation: place.breakOff),
                Step(verb: "execution list", rest: tenant) {
                    _ = try await place.enqueue()
                    return []
                },
                Step(verb: "execution stranded", rest: tenant),
                Step(verb: "execution show", rest: tenant + ["--history"], preparation: place.pipeline),
                Step(verb: "execution graph", rest: tenant + place.definition, preparation: place.pipeline),
                Step(verb: "workflow graph", rest: place.definition + ["--format", "svg"]),
                Step(verb: "dev status", rest: directory, status: 3),
                Step(verb: "dev start", rest: directory + (binaries.isEmpty ? [] : ["--postgres-bin", binaries])),
                Step(verb: "dev status", rest: directory), Step(verb: "dev stop", rest: directory),
                Step(verb: "tenant drop", rest: [name, "--confirm", name]),
            ]
        }

        @Test("Every verb that succeeds, or finds something, writes one document")
        func everyVerbWritesOneDocument() async throws {
            try await AdminCommand.with { command in
                try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: command.directory)
                let server = command.path("server")
                let home = try DevelopmentServer(directory: server, report: { _ in }).directory
                defer { try? FileManager.default.removeItem(atPath: home) }
                let place = Place(command: command, name: TenantFixture.name(), server: server)
                try place.write("things")
                try place.define()
                let steps = try Self.steps(place)
                #expect(Set(steps.map(\.verb)) == Set(CloacinaAdmin.verbs.map { $0.words.joined(separator: " ") }))
                for step in steps {
                    let words = step.verb.split(separator: " ").map(String.init)
                    let answer = try await command.run(
                        words + (try await step.preparation()) + step.rest + ["--output", "json"])
                    #expect(answer.status == step.status, "\(step.verb): \(answer.notes)")
                    #expect(throws: Never.self, "\(step.verb): \(answer.output)") {
                        _ = try answer.decoded(Anything.self)
                    }
                }
            }
        }
    }
}
