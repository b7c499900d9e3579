import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// Real processes of the built command that migrate the same tenants at the same moment.
    @Suite(.serialized, .timeLimit(.minutes(40))) struct ManyMigratorsTests {
        private static let processes = 16

        /// A step that fails when it is repeated, one that succeeds, and one outside of a transaction, which waits for all
        /// other sessions' snapshots.
        private static let steps = [
            "0001_things": "CREATE TABLE things (id integer PRIMARY KEY, name text NOT NULL);",
            "0002_marks": "CREATE TABLE IF NOT EXISTS marks (made_by integer NOT NULL DEFAULT pg_backend_pid());\n"
                + "INSERT INTO marks DEFAULT VALUES;",
            "0003_index": "CREATE INDEX CONCURRENTLY things_by_name ON things (name);",
            "0004_more_marks": "INSERT INTO marks DEFAULT VALUES;",
        ]
        private static var stepNames: [String] { Self.steps.keys.sorted().map { "app/\($0)" } }

        private static func write(to directory: String) throws {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
            for (name, up) in Self.steps {
                let mode = up.contains("CONCURRENTLY") ? "-- migrate:no-transaction\n" : ""
                let text = "-- For a test of many processes.\n\(mode)-- migrate:up\n\(up)\n"
                try Data(text.utf8).write(to: URL(filePath: "\(directory)/\(name).tenant.sql"))
            }
        }

        /// What `migrate apply --output ndjson` says of a tenant that was behind.
        private struct Line: Decodable {
            let tenant: String?
            let outcome: String
            let applied: [String]
        }

        private struct Answer: Sendable {
            let status: Int32
            let output: String

            func lines() throws -> [Line] {
                try self.output.split(separator: "\n").filter { $0.hasPrefix("{") }.map {
                    try JSONDecoder().decode(Line.self, from: Data($0.utf8))
                }
            }
        }

        /// Runs the command with this environment and nothing of libpq's that could lead elsewhere.
        private func migrate(_ arguments: [String], log: String) async throws -> Answer {
            let database = try #require(TestDatabase.current)
            var url = try #require(URLComponents(string: database.server.administratorURL))
            url.path = "/" + database.name
            var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("PG") }
            let text = try #require(url.string)
            environment[ConnectionOptions.environmentVariable] = text
            let answer = try await ChildProcess.run(
                [try AdminProgram.path(), "migrate", "apply"] + arguments, environment: environment, log: log)
            return Answer(status: answer.status, output: answer.output)
        }

        /// Starts all while nobody gets at the tenants; once each has asked for them, they go off together.
        private func race(_ arguments: [String], in directory: String) async throws -> [Answer] {
            try await withThrowingTaskGroup(of: Answer.self) { group in
                let early = Recorder()
                // The lease of whoever migrates the shared catalog keeps all from the tenants until the session ends.
                try await TenantFixture.withSuperuser { connection in
                    let keeper = LeaseKeeper(connection: connection, schema: "cloacina")
                    _ = try #require(try await keeper.attempt(.control).held)
                    for number in 0..<Self.processes {
                        group.addTask {
                            let answer = try await self.migrate(arguments, log: "\(directory)/\(number).log")
                            early.append("exit code \(answer.status): \(answer.output)")
                            return answer
                        }
                    }
                    while try await connection.query(Self.waiting).single() != Int64(Self.processes) {
                        try #require(early.values.isEmpty, "a process did not wait for the lock")
                        await Task.yield()
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
        }

        /// How many processes have found the tenants locked.
        private static let waiting: PostgresStatement = """
            SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
              AND application_name = 'cloacina-admin' AND query LIKE '%/* lease */'
            """

        private func withDirectory<R>(_ body: (String) async throws -> R) async throws -> R {
            let directory = FileManager.default.temporaryDirectory.path + "/" + TestDatabase.uniqueName("cloacina")
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
            defer { try? FileManager.default.removeItem(atPath: directory) }
            return try await body(directory)
        }

        @Test func sixteenProcessesApplyEachStepToEachTenantExactlyOnce() async throws {
            try await self.withDirectory { directory in
                try await TenantFixture.withAdmin { admin in
                    let names = (0..<5).map { _ in TenantFixture.name() }
                    for name in names { _ = try await admin.createTenant(TenantConfig(name: name)) }
                    try Self.write(to: directory + "/app")
                    let answers = try await self.race(
                        ["--migrations", directory + "/app", "--output", "ndjson"], in: directory)

                    // None gave up on a lock, which would be 4: nobody holds one for as long as they are patient.
                    let failed = answers.filter { $0.status != CommandStatus.done.rawValue }
                    #expect(failed.isEmpty, "\(failed.map(\.output).joined(separator: "\n"))")
                    let lines = try answers.flatMap { try $0.lines() }
                    #expect(lines.allSatisfy { ["migrated", "current"].contains($0.outcome) })
                    for name in names {
                        let applied = lines.filter { $0.tenant == name }.flatMap(\.applied)
                        #expect(applied.sorted() == Self.stepNames, "what the processes say of \(name)")
                        try await self.expectOnce(name)
                    }
                    let status = try await admin.migrationStatus(
                        sets: [try MigrationSet(directory: directory + "/app", source: "app")])
                    #expect(status.isCurrent)
                    for name in names { try await admin.removeTenant(named: name) }
                }
            }
        }

        /// The history, the objects and the audit trail of a tenant show one application of each step.
        private func expectOnce(_ name: String) async throws {
            try await TenantFixture.withSuperuser { connection in
                let schema = PostgresIdentifier.quote(name)
                let history: [String] = try await connection.query(
                    PostgresStatement(
                        """
                        SELECT format('%s/%s_%s %s', source, lpad(version::text, 4, '0'), title, state)
                        FROM \(schema).cloacina_migrations WHERE source = 'app' ORDER BY version
                        """, prepared: false)
                ).column("format")
                #expect(history == Self.stepNames.map { "\($0) applied" })
                let marks = PostgresStatement("SELECT count(*) FROM \(schema).marks", prepared: false)
                #expect(try await connection.query(marks).single() == 2)
                let objects: [String] = try await connection.query(
                    """
                    SELECT relname::text AS name FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
                    WHERE relnamespace = to_regnamespace(\(name)) AND relname = ANY ('{things,marks,things_by_name}')
                      AND coalesce(i.indisvalid, true) ORDER BY 1
                    """
                ).column("name")
                #expect(objects == ["marks", "things", "things_by_name"])
                let audit: [String] = try await connection.query(
                    "SELECT detail FROM cloacina.audit WHERE action = 'tenant.migrated' AND tenant_name = \(name)"
                ).column("detail")
                #expect(audit == [Self.stepNames.joined(separator: " ")])
            }
        }
    }
}

extension LeaseKeeper.Attempt {
    /// The lease, if it was taken.
    var held: HeldLease? { if case .taken(let held) = self { held } else { nil } }
}

/// The command, as the build left it beside the tests.
enum AdminProgram {
    static func path() throws -> String {
        let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let path = ServerLayout.absolute("../cloacina-admin", in: tests)
        try #require(FileManager.default.isExecutableFile(atPath: path), "swift build --build-tests makes \(path)")
        return path
    }
}
