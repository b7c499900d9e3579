import CloacinaPostgres
import FoundationEssentials
import Glibc

@testable import Cloacina

/// What a process does that is killed at it: the last argument, as JSON, of `crash-process SCHEMA ROLE job JSON`.
enum CrashJob: Sendable, Codable {
    /// Comes to every kind of write, and dies at one of them. It asks for something of a pipeline that another process has, and
    /// takes over from one runner, which is dead.
    case writing(DeathPoint, asking: UUID, ghost: UUID)
    /// Runs a pipeline, and dies in its task or is killed at it.
    case running(UUID, PaymentMoment)

    func run(_ pool: PostgresPool, _ label: PostgresLabel) async throws {
        switch self {
        case .writing(let point, let asked, let ghost):
            try await Self.write(pool, label, dyingAt: point, asking: asked, ghost: ghost)
        case .running(let id, let moment):
            let workflows = try [
                TracedWorkflows.long(in: "victim"), TracedWorkflows.payment(in: "victim", dyingAt: moment),
            ]
            let runner = try DefaultRunner(pool: pool, label: label, workflows: workflows)
            await runner.serveOnce()
            _ = try await runner.result(of: id)
        }
    }

    private static func write(
        _ pool: PostgresPool, _ label: PostgresLabel, dyingAt point: DeathPoint, asking asked: UUID, ghost: UUID
    ) async throws {
        var configuration = RunnerConfiguration()
        configuration.heartbeatInterval = .milliseconds(1)
        configuration.leaseDuration = .nanoseconds(1)
        let runner = try DefaultRunner(
            store: MortalStore(PostgresWorkflowStore(pool: pool, label: label), dyingAt: point, mayDie: [ghost]),
            database: TenantDatabase(pool: pool, label: label), workflows: [CrashProcess.workflow()],
            configuration: configuration, logger: nil)
        _ = try await runner.prune(endedBefore: Date(), limit: 2)
        try await runner.pause(asked)
        try await runner.resume(asked)
        try await runner.cancel(asked)
        try await Self.accept(runner.enqueue("crash").id, pool, label)
        try await Self.accept(runner.executeAsync("crash").id, pool, label)
        let open = PipelineQuery(workflow: "crash", statuses: [.queued, .running])
        while try await !runner.list(open).isEmpty { await runner.serveOnce() }
        await runner.shutDown(drain: .zero)
    }

    /// Notes that whoever asked for a pipeline was told that it is there.
    static func accept(_ id: UUID, _ pool: PostgresPool, _ label: PostgresLabel) async throws {
        try await pool.withConnection(label) { lease in
            _ = try await lease.query("INSERT INTO accepted (pipeline_id) VALUES (\(id))")
        }
    }
}

/// When the process of a payment dies of itself, or is at when it is killed.
enum PaymentMoment: String, Sendable, Codable, CaseIterable {
    /// When the payment is written, before the commit is asked for.
    case paying
    /// In the commit, which succeeds after that.
    case committing
    /// In the commit, which does not.
    case rollingBack
    /// After the commit, before its runner has written anything else.
    case committed
}

/// Workflows whose tasks note in a table, which no engine writes to, that they ran, and in which process.
enum TracedWorkflows {
    private static func note(_ scope: TaskScope, in process: String) async throws {
        try await scope.withConnection { lease in
            _ = try await lease.query(
                """
                INSERT INTO effects (task, attempt, process)
                VALUES (\(scope.task), \(Int32(scope.attempt)), \(process))
                """)
        }
    }

    /// One task that goes on in the victim until that is killed, between two others.
    static func long(in process: String) throws -> Workflow {
        try Workflow("long") {
            WorkflowTask("before") { context, scope in
                try await self.note(scope, in: process)
                try context.set("before", to: process)
            }
            WorkflowTask("long", after: "before") { context, scope in
                try await self.note(scope, in: process)
                if process == "victim" { try await Task.sleep(for: .seconds(3_600)) }
                try context.set("long", to: process)
            }
            WorkflowTask("after", after: "long") { context, scope in
                try await self.note(scope, in: process)
                try context.set("after", to: process)
            }
        }
    }

    static func payment(in process: String, dyingAt moment: PaymentMoment? = nil) throws -> Workflow {
        try Workflow("payment") {
            WorkflowTask.transactional("pay") { context, scope, transaction in
                // In another task, since a task that holds a connection may ask for no other.
                try await Task.detached { try await self.note(scope, in: process) }.value
                try await transaction.query("INSERT INTO payments (pipeline_id) VALUES (\(scope.executionID))")
                if moment == .paying { kill(getpid(), SIGKILL) }
                try context.set("paid by", to: process)
            }
            WorkflowTask("after", after: "pay") { _, scope in
                try await self.note(scope, in: process)
                if moment == .committed { kill(getpid(), SIGKILL) }
            }
        }
    }
}
