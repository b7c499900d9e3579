import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// Own commits among rules, pauses and other default isolations (engine faults A1, A11).
    @Suite(.timeLimit(.minutes(40))) struct OwnCommitOrderTests {
        private static func workflow() throws -> Workflow {
            try Workflow("w") {
                WorkflowTask.transactional("T") { context, _, _ in try context.set("flag", to: true) }
                WorkflowTask("X", after: "T") { context in try context.set("x", to: 1) }
                WorkflowTask("Y", after: "X", triggerRule: .taskSucceeded("T")) { context in try context.set("y", to: 1)
                }
                WorkflowTask("Z", after: "Y") { context in try context.set("z", to: 1) }
            }
        }

        /// A1: execute and another process must tell the same.
        @Test func whatExecuteReturnsIsWhatIsRead() async throws {
            try await EngineFixture.with { fixture in
                let runner = try fixture.runner(Self.workflow())
                let result = try await runner.execute("w")
                #expect(result.tasks.map(\.status) == [.completed, .completed, .completed, .completed])
                let other = try fixture.runner(Self.workflow())
                #expect(try await other.result(of: result.id).sightForTests == result.sightForTests)
                let apart: Int = try await fixture.pool.withConnection(fixture.label) { lease in
                    try await lease.query("SELECT count(*) FROM cloacina_task_commits").single()
                }
                #expect(apart == 0)
                let history = try await other.history(of: result.id).compactMap(\.task)
                #expect(history == ["T", "X", "Y", "Z"])
            }
        }

        /// C25: enough tasks that hold a connection and wait for another would wait for each other for ever.
        @Test func aTaskThatHoldsAConnectionIsRefusedAnotherAtOnce() async throws {
            try await EngineFixture.with { fixture in
                let child = try Workflow("child") { WorkflowTask("t") { _ in } }
                let parent = try Workflow("parent") {
                    WorkflowTask("connection") { _, scope in
                        try await scope.withConnection { (_: borrowing PostgresLease) in
                            try await scope.withConnection { (_: borrowing PostgresLease) in }
                        }
                    }
                    WorkflowTask("child") { _, scope in
                        try await scope.withConnection { (_: borrowing PostgresLease) in
                            _ = try await scope.execute("child")
                        }
                    }
                    WorkflowTask("after") { _, scope in
                        try await scope.withConnection { (_: borrowing PostgresLease) in }
                        try await scope.execute("child").completed()
                    }
                }
                let result = try await fixture.runner(child, parent).execute("parent")
                for id in ["connection", "child"] {
                    #expect(result.task(id)?.error?.hasPrefix("nestedConnection") == true)
                }
                #expect(result.task("after")?.status == .completed)
            }
        }

        /// A11: the engine's transactions don't depend on the database's default.
        @Test(arguments: ["serializable", "repeatable read"])
        func aStricterDefaultIsolationFailsNoTask(isolation: String) async throws {
            try await EngineFixture.with { fixture in
                let database = try #require(TestDatabase.current).name
                try await TenantFixture.withSuperuser { connection in
                    try await connection.script(
                        "ALTER DATABASE \(PostgresIdentifier.quote(database)) SET default_transaction_isolation = '\(isolation)'"
                    )
                }
                var configuration = PostgresPoolConfiguration(fixture.connection)
                configuration.maximumConnections = 4
                try await PostgresPool.withPool(configuration) { pool in
                    let workflow = try Workflow("w") {
                        WorkflowTask.transactional("own") { _, _, transaction in
                            for _ in 0..<20 { try await transaction.query("SELECT pg_sleep(0.002)") }
                        }
                        for number in 0..<8 { WorkflowTask("t\(number)") { _ in } }
                        WorkflowTask("after", after: "t0", "t1", "t2", "t3") { _ in }
                    }
                    let runner = try DefaultRunner(pool: pool, label: fixture.label, workflows: [workflow])
                    for _ in 0..<5 { #expect(try await runner.execute("w").status == .completed) }
                }
            }
        }
    }
}
