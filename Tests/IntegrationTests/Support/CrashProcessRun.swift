import CloacinaPostgres
import FoundationEssentials
import Testing

@testable import cloacina_admin

/// Real processes that serve a tenant's queue and die at it: `crash-process`.
enum CrashProcessRun {
    /// Makes the tables that its tasks write to.
    static func prepare(_ label: PostgresLabel) async throws {
        let (schema, role) = (
            PostgresIdentifier.quote(label.schema), PostgresIdentifier.quote(try #require(label.role))
        )
        try await TenantFixture.withSuperuser { connection in
            try await connection.script(
                """
                CREATE TABLE \(schema).payments (pipeline_id uuid PRIMARY KEY);
                CREATE TABLE \(schema).traces (
                    pipeline_id uuid, task text, attempt integer, PRIMARY KEY (pipeline_id, task, attempt));
                GRANT SELECT, INSERT ON \(schema).payments, \(schema).traces TO \(role);
                """)
        }
    }

    /// Starts a process and waits for its end.
    ///
    /// - Parameter point: Between which of its writes it kills itself; -1 for nowhere.
    static func serve(
        _ label: PostgresLabel, point: Int, maximumRecoveries: Int = 100, named name: String
    ) async throws -> (status: Int32, output: String) {
        let command = try self.command(label, "\(point)", "\(maximumRecoveries)")
        let place = FileManager.default.temporaryDirectory.appending(path: "crash-\(UUID())")
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: place) }
        return try await ChildProcess.run(
            command.line, environment: command.environment, log: place.appending(path: "\(name).log").path)
    }

    /// What starts a process, and what tells it where the server is.
    static func command(
        _ label: PostgresLabel, _ arguments: String...
    ) throws -> (line: [String], environment: [String: String]) {
        let superuser = try #require(TestDatabase.current).superuser
        var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("PG") }
        environment["CRASH_DATABASE_URL"] = superuser.connectionString
        environment["CRASH_DATABASE"] = superuser.database
        let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let program = ServerLayout.absolute("../crash-process", in: tests)
        return ([program, label.schema, try #require(label.role)] + arguments, environment)
    }

    /// Reads what is left of pipelines that completed: each paid once, and each completion has its trace.
    static func check(_ ids: [UUID], _ label: PostgresLabel) async throws {
        let schema = label.schema
        try await TenantFixture.withSuperuser { connection in
            let payments: [UUID] = try await connection.query(
                "SELECT pipeline_id FROM \(identifier: schema).payments"
            ).column("pipeline_id")
            #expect(Set(payments) == Set(ids))
            #expect(payments.count == ids.count)
            let untraced: Int = try await connection.query(
                """
                SELECT count(*) FROM \(identifier: schema).cloacina_events AS e
                WHERE e.kind = 'task completed' AND e.task <> 'pay' AND NOT EXISTS (
                    SELECT FROM \(identifier: schema).traces AS t
                    WHERE t.pipeline_id = e.pipeline_id AND t.task = e.task AND t.attempt = e.attempt)
                """
            ).single()
            #expect(untraced == 0)
        }
    }
}
