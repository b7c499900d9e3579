import CloacinaPostgres
import Foundation
import Glibc

@testable import Cloacina

/// A process that serves a tenant's queue and kills itself, as SIGKILL does, before or after its n-th write: what
/// `CrashTests` starts two of. It ends by itself when every pipeline has ended.
///
/// Arguments: schema, role, the fault point (2n before the n-th write, 2n + 1 after it; -1 for none), how often a task is
/// begun again that processes died of. Or the word `job` and a ``CrashJob``. The server is in `CRASH_DATABASE_URL`, the database in `CRASH_DATABASE`.
@main
enum CrashProcess {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 5, let url = ProcessInfo.processInfo.environment["CRASH_DATABASE_URL"] else {
            print("usage: crash-process SCHEMA ROLE (POINT RECOVERIES | job JSON), with CRASH_DATABASE_URL")
            exit(2)
        }
        let label = PostgresLabel(schema: arguments[1], role: arguments[2])
        var connection = PostgresConfiguration(url)
        connection.database = ProcessInfo.processInfo.environment["CRASH_DATABASE"]
        var poolConfiguration = PostgresPoolConfiguration(connection)
        poolConfiguration.maximumConnections = 3
        let pool = PostgresPool(poolConfiguration)
        let running = Task { try await pool.run() }
        if arguments[3] == "job" {
            try await JSONDecoder().decode(CrashJob.self, from: Data(arguments[4].utf8)).run(pool, label)
        } else if let point = Int(arguments[3]), let maximumRecoveries = Int(arguments[4]) {
            try await self.serve(pool, label, dyingAt: DeathPoint(number: point), maximumRecoveries: maximumRecoveries)
        }
        pool.shutDown()
        try await running.value
    }

    private static func serve(
        _ pool: PostgresPool, _ label: PostgresLabel, dyingAt point: DeathPoint, maximumRecoveries: Int
    ) async throws {
        var configuration = RunnerConfiguration()
        configuration.maximumQueuedPipelines = 2
        configuration.heartbeatInterval = .milliseconds(100)
        configuration.leaseDuration = .milliseconds(600)
        configuration.maximumRecoveries = maximumRecoveries
        let store = MortalStore(
            PostgresWorkflowStore(pool: pool, label: label), dyingAt: point)
        let runner = try DefaultRunner(
            store: store, database: TenantDatabase(pool: pool, label: label),
            workflows: [self.workflow(), self.poison()], configuration: configuration, logger: nil)
        let group = Task { try await RunnerGroup([runner], drain: .zero).run() }
        let open = PipelineQuery(statuses: [.queued, .running, .paused])
        while try await !runner.list(open).isEmpty {
            // The queue is looked at often: what the other process leaves must not wait for a sweep.
            try await Task.sleep(for: .milliseconds(20))
            _ = await runner.sweep()
        }
        group.cancel()
        _ = await group.result
    }

    /// Each attempt leaves a row that may not be there twice; the transactional task's row may be there once at all.
    static func workflow() throws -> Workflow {
        try Workflow("crash") {
            WorkflowTask("first") { _, scope in try await self.leaveTrace(scope) }
            WorkflowTask.transactional("pay", after: "first") { context, scope, transaction in
                try await transaction.query("INSERT INTO payments (pipeline_id) VALUES (\(scope.executionID))")
                try context.set("paid", to: true)
            }
            WorkflowTask("left", after: "pay") { _, scope in try await self.leaveTrace(scope) }
            WorkflowTask("flaky", after: "first", retry: .fixed(100, delay: .milliseconds(30))) { _, scope in
                try await self.leaveTrace(scope)
                if scope.attempt == 1 { throw Flake() }
            }
            WorkflowTask("right", after: "pay") { context, scope in
                guard try context.get("paid", as: Bool.self) else { return }
                try await self.leaveTrace(scope)
            }
        }
    }

    /// One task kills every process that runs it; what runs beside it has done nothing wrong.
    static func poison() throws -> Workflow {
        try Workflow("poison") {
            WorkflowTask("before") { _, scope in try await self.leaveTrace(scope) }
            WorkflowTask("poison", after: "before") { _, scope in
                try await self.leaveTrace(scope)
                kill(getpid(), SIGKILL)
            }
            WorkflowTask("beside", after: "before") { _, scope in try await self.leaveTrace(scope) }
            WorkflowTask("behind", after: "poison") { _, scope in try await self.leaveTrace(scope) }
            WorkflowTask("last", after: "behind") { _, scope in try await self.leaveTrace(scope) }
        }
    }

    private struct Flake: Error {}

    /// Notes an attempt, which fails when it is not the first one of its number.
    static func leaveTrace(_ scope: TaskScope) async throws {
        try await scope.withConnection { lease in
            _ = try await lease.query(
                """
                INSERT INTO traces (pipeline_id, task, attempt)
                VALUES (\(scope.executionID), \(scope.task), \(Int32(scope.attempt)))
                """)
        }
    }
}
