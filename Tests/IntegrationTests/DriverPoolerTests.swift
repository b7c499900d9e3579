import FoundationEssentials
import Glibc
import Testing

@testable import CloacinaPostgres
@testable import cloacina_admin

extension ServerTests {
    /// The driver behind PgBouncer. Skipped where it isn't installed.
    @Suite(
        .enabled(
            if: FileManager.default.isExecutableFile(atPath: Bouncer.program),
            "needs \(Bouncer.program) (Debian: pgbouncer)"),
        .timeLimit(.minutes(40)))
    struct DriverPoolerTests {
        private func expectRefusal(_ body: () async throws -> Void) async {
            let error = await #expect(throws: PostgresError.self) { try await body() }
            #expect(error?.code == .poolerUnsupported)
            #expect(error?.description.contains("pool_mode = session") == true)
        }

        @Test func whereSessionsAreHandedOnARoleIsRefusedAndALoginsPathIsRight() async throws {
            let database = try #require(TestDatabase.current)
            let labels = try await MarkedTenants.make(2, in: database).labels
            try await Bouncer.with(mode: "transaction", database) { connection in
                var configuration = PostgresPoolConfiguration(connection)
                configuration.maximumConnections = 6
                try await PostgresPool.withPool(configuration) { pool in
                    await self.expectRefusal {
                        try await pool.withConnection(labels[0]) { _ = try await $0.query("SELECT tenant FROM marker") }
                    }
                    try await withThrowingTaskGroup(of: Void.self) { group in
                        for number in 0..<200 {
                            let label = PostgresLabel(schema: labels[number % 2].schema)
                            group.addTask {
                                try await pool.withConnection(label) { lease in
                                    for _ in 0..<3 {
                                        let seen: String = try await lease.query("SELECT tenant FROM marker").single()
                                        #expect(seen == label.schema)
                                    }
                                    let inside: String = try await lease.withTransaction {
                                        try await $0.query("SELECT tenant FROM marker").single()
                                    }
                                    #expect(inside == label.schema)
                                }
                            }
                        }
                        try await group.waitForAll()
                    }
                }
                let plain = try await PostgresConnection.connect(connection)
                await self.expectRefusal { try await plain.listen(on: "c") }
                await self.expectRefusal { try await plain.query(PostgresStatement("SET a.b TO 'c'", prepared: false)) }
                #expect(try await plain.query("SELECT 1").single() == 1)
                await plain.close()
            }
        }

        @Test func whereASessionIsTheClientsOwnEverythingWorks() async throws {
            let database = try #require(TestDatabase.current)
            let labels = try await MarkedTenants.make(2, in: database).labels
            try await Bouncer.with(mode: "session", database) { connection in
                var configuration = PostgresPoolConfiguration(connection)
                configuration.maximumConnections = 3
                try await PostgresPool.withPool(configuration) { pool in
                    try await withThrowingTaskGroup(of: Void.self) { group in
                        for number in 0..<100 {
                            let label = labels[number % 2]
                            group.addTask {
                                let seen: String = try await pool.withConnection(label) {
                                    try await $0.query("SELECT tenant FROM marker").single()
                                }
                                #expect(seen == label.schema)
                            }
                        }
                        try await group.waitForAll()
                    }
                    #expect(pool.statistics.leaksDetected == 0 && pool.statistics.discarded == 0)
                }
                let plain = try await PostgresConnection.connect(connection)
                try await plain.listen(on: "c")
                #expect(try await plain.query("SELECT pg_backend_pid()").single() == plain.backendPID)
                await plain.close()
                var direct = connection
                direct.pooling = .none
                let refused = direct
                let error = await #expect(throws: PostgresError.self) { try await PostgresConnection.connect(refused) }
                #expect(error?.code == .poolerUnsupported)
            }
        }

        /// PgBouncer lends the session that was free last, so somebody's open transaction pushes the lease to another.
        @Test func aSessionThatMovedInSpiteOfWhatWasDeclaredRunsNothing() async throws {
            let database = try #require(TestDatabase.current)
            let label = try await MarkedTenants.make(1, in: database).labels[0]
            try await Bouncer.with(mode: "transaction", database) { connection in
                var declared = connection
                declared.pooling = .session
                var configuration = PostgresPoolConfiguration(declared)
                configuration.maximumConnections = 1
                let other = try await PostgresConnection.connect(declared)
                try await PostgresPool.withPool(configuration) { pool in
                    let backend = try await pool.withConnection(label) {
                        try await $0.query("SELECT pg_backend_pid()").single(as: Int32.self)
                    }
                    try await other.query(PostgresStatement("BEGIN", prepared: false))
                    #expect(try await other.query("SELECT pg_backend_pid()").single() == backend)
                    await self.expectRefusal {
                        try await pool.withConnection(label) { _ = try await $0.query("DELETE FROM marker") }
                    }
                    try await other.query(PostgresStatement("ROLLBACK", prepared: false))
                    #expect(pool.statistics.discarded == 1)
                }
                await other.close()
            }
            try await PostgresConnection.withConnection(database.superuser) { superuser in
                let left: Int = try await superuser.query("SELECT count(*) FROM \(identifier: label.schema).marker")
                    .single()
                #expect(left == 1)
            }
        }
    }
}

/// A PgBouncer of a test's own, on a Unix socket, that logs in as a superuser.
private enum Bouncer {
    static let program = "/usr/sbin/pgbouncer"
    private static let port = 6432

    static func with(
        mode: String, _ database: TestDatabase, _ body: (PostgresConfiguration) async throws -> Void
    ) async throws {
        let directory = FileManager.default.temporaryDirectory.path + "/" + TestDatabase.uniqueName("bouncer")
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let account = try ServerAccount.forServer()
        let settings = directory + "/pgbouncer.ini"
        try await self.settings(mode: mode, directory, database).write(
            toFile: settings, atomically: true, encoding: .utf8)
        for path in [directory, settings] {
            try #require(unsafe chown(path, account.userID, account.groupID) == 0)
        }
        let process = try ChildProcess.start(
            account.command(self.program, ["-q", settings]), environment: ["PATH": "/usr/sbin:/usr/bin:/bin"],
            output: STDERR_FILENO)
        let ended: Result<Void, any Error>
        do {
            let configuration = PostgresConfiguration(
                "host=\(directory) port=\(self.port) dbname=\(database.name) user=bouncer")
            try await self.waitUntilUp(configuration)
            ended = .success(try await body(configuration))
        } catch {
            ended = .failure(error)
        }
        kill(process.processID, SIGKILL)
        while process.exitStatus() == nil { await Task.yield() }
        try ended.get()
    }

    private static func settings(mode: String, _ directory: String, _ database: TestDatabase) async throws -> String {
        let endpoint = try await PostgresConnection.withConnection(database.superuser) { $0.endpoint }
        let authority = try #require(
            database.server.superuserURL.split(separator: "/").dropFirst().first?.split(separator: "@").first)
        let password = authority.split(separator: ":").dropFirst().joined(separator: ":")
        return """
            [databases]
            * = host=\(endpoint.host) port=\(endpoint.port) user=\(endpoint.user) password=\(password)
            [pgbouncer]
            listen_addr =
            unix_socket_dir = \(directory)
            listen_port = \(self.port)
            auth_type = any
            pool_mode = \(mode)
            default_pool_size = \(mode == "session" ? 8 : 3)
            """
    }

    /// Its first answer, by a client that asks nothing about poolers.
    private static func waitUntilUp(_ configuration: PostgresConfiguration) async throws {
        var patient = configuration
        patient.pooling = .session
        let deadline = ContinuousClock.now.advanced(by: .seconds(60))
        while true {
            do {
                return await (try PostgresConnection.connect(patient)).close()
            } catch {
                guard ContinuousClock.now < deadline else { throw error }
                await Task.yield()
            }
        }
    }
}
