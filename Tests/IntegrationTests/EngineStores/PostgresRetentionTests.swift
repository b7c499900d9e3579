import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// How a server finds what is older than its retention.
    @Suite(.timeLimit(.minutes(20))) struct PostgresRetentionTests {
        @Test func onlyWhatIsOldIsRead() async throws {
            try await EngineFixture.with { fixture in
                let prune = PostgresWorkflowQueries.prune(
                    endedBefore: Date(), below: StoreConformance.id(100), limit: 1_000)
                let plan = try await fixture.pool.withConnection(fixture.label) { lease in
                    try await lease.withTransaction { transaction in
                        // Small tables would be read as a whole.
                        try await transaction.query("SET LOCAL enable_seqscan = off")
                        let explain = PostgresStatement("EXPLAIN " + prune.sql, prune.binds, prepared: false)
                        return try await transaction.query(explain).column("QUERY PLAN", as: String.self)
                    }
                }
                #expect(plan.contains { $0.contains("Index Cond: (") && $0.contains("id < '") }, "\(plan)")
            }
        }
    }
}
