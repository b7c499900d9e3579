import CloacinaPostgres
import Foundation
import Testing

@testable import cloacina_admin
@testable import crash_process

/// A real process that does a job on a tenant and is killed at it: `crash-process`.
struct VictimProcess {
    private let process: ChildProcess

    /// Starts it.
    init(_ job: CrashJob, _ label: PostgresLabel) throws {
        let text = String(decoding: try JSONEncoder().encode(job), as: UTF8.self)
        let command = try CrashProcessRun.command(label, "job", text)
        self.process = try ChildProcess.start(
            command.line, environment: command.environment, output: STDERR_FILENO)
    }

    func kill() { Foundation.kill(self.process.processID, SIGKILL) }

    /// Waits for its end, of which nothing must be left but the signal.
    func expectDeath() async {
        var status: Int32?
        while status == nil {
            await Task.yield()
            status = self.process.exitStatus()
        }
        #expect(status == 128 + SIGKILL)
    }

    /// Makes the tables that its tasks write to. Payments wait in their commit for whoever has the advisory lock 77.
    static func prepare(_ label: PostgresLabel) async throws {
        try await CrashProcessRun.prepare(label)
        let (schema, role) = (
            PostgresIdentifier.quote(label.schema), PostgresIdentifier.quote(try #require(label.role))
        )
        try await TenantFixture.withSuperuser { connection in
            try await connection.script(
                """
                CREATE TABLE \(schema).accepted (pipeline_id uuid PRIMARY KEY);
                CREATE TABLE \(schema).effects (
                    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, task text, attempt integer, process text);
                GRANT SELECT, INSERT ON \(schema).accepted, \(schema).effects TO \(role);
                CREATE FUNCTION \(schema).hold() RETURNS trigger LANGUAGE plpgsql AS
                    $$ BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(77); RETURN NULL; END $$;
                CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON \(schema).payments
                    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION \(schema).hold();
                """)
        }
    }

    /// The pipelines of which whoever asked for them was told that they are there.
    static func accepted(_ label: PostgresLabel) async throws -> [UUID] {
        try await TenantFixture.withSuperuser { connection in
            try await connection.query("SELECT pipeline_id FROM \(identifier: label.schema).accepted").column(
                "pipeline_id")
        }
    }

    /// What the tasks did, in order.
    static func effects(_ label: PostgresLabel) async throws -> [String] {
        try await TenantFixture.withSuperuser { connection in
            try await connection.query(
                """
                SELECT concat_ws(' ', task, attempt, process) AS effect FROM \(identifier: label.schema).effects
                ORDER BY number
                """
            ).column("effect")
        }
    }

    /// Waits until a task runs. The server is the clock.
    static func waitForEffect(of task: String, _ label: PostgresLabel) async throws {
        try await TenantFixture.withSuperuser { connection in
            try await connection.waitUntil(
                "SELECT count(*) > 0 FROM \(identifier: label.schema).effects WHERE task = \(task)")
        }
    }
}
