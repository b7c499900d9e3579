import Cloacina
import CloacinaPostgres
import FoundationEssentials
import Testing

extension ServerTests {
    /// An `@Task` function that takes a transaction.
    @Suite(.timeLimit(.minutes(40))) struct TransactionalMacroTests {
        @Workflow(name: "billing")
        struct Billing {
            struct Refused: Error {}

            @Task
            func price(_ context: inout Context) throws { try context.set("cents", to: 500) }

            @Task(dependencies: ["price"], retry: .fixed(3, delay: .zero))
            func pay(
                _ context: inout Context, _ scope: TaskScope, in transaction: borrowing PostgresTransaction
            ) async throws {
                let cents = try context.get("cents", as: Int.self)
                try await transaction.query("INSERT INTO account (cents) VALUES (\(cents))")
                guard scope.attempt > 1 else { throw Refused() }
                try context.set("paid by attempt", to: scope.attempt)
            }

            @Task(dependencies: ["pay"])
            func count(_ context: inout Context, _ transaction: borrowing PostgresTransaction) async throws {
                let payments: Int = try await transaction.query("SELECT count(*) FROM account").single()
                try context.set("payments", to: payments)
            }
        }

        /// What the attempt that failed has written is gone.
        @Test func writesWithItsCompletionOrNotAtAll() async throws {
            try await EngineFixture.with { fixture in
                try await TenantFixture.withSuperuser { connection in
                    let table = "\(PostgresIdentifier.quote(fixture.schema)).account"
                    let role = try #require(fixture.label.role)
                    try await connection.script(
                        """
                        CREATE TABLE \(table) (cents int8 NOT NULL);
                        GRANT SELECT, INSERT ON \(table) TO \(PostgresIdentifier.quote(role))
                        """)
                }
                let runner = try DefaultRunner(
                    pool: fixture.pool, label: fixture.label, workflows: [Billing().workflow])
                let result = try await runner.execute("billing")
                #expect(result.status == .completed, "\(result)")
                #expect(result.task("pay")?.attempts.map(\.succeeded) == [false, true])
                #expect(result.finalContext.values == ["cents": 500, "paid by attempt": 2, "payments": 1])
            }
        }
    }
}
