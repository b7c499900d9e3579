import TestSupport
import Testing

@testable import CloacinaPostgres

extension ServerTests {
    @Suite(.timeLimit(.minutes(40))) struct PoolMetricsTests {
        @Test func theMetricsSayWhatTheStatisticsSay() async throws {
            let recorder = MetricsRecorder()
            let database = try #require(TestDatabase.current)
            let labels = try await MarkedTenants.make(2, in: database).labels
            var configuration = PostgresPoolConfiguration(database.administrator)
            configuration.maximumConnections = 1
            configuration.maximumTenantsPerConnection = 1
            let pool = PostgresPool(configuration, logger: nil, metrics: recorder)
            async let running: Void = pool.run()
            for label in [labels[0], labels[1], labels[0]] {
                _ = try await pool.withConnection(label) { try await $0.query("SELECT 1") }
            }
            try await pool.withConnection(labels[0]) { _ in
                _ = await #expect(throws: PostgresError.self) {
                    try await pool.withConnection(labels[1], deadline: .now.advanced(by: .milliseconds(20))) { _ in }
                }
            }
            _ = try? await pool.withConnection(labels[0]) {
                try await $0.query("SELECT set_config('role', 'none', false)")
            }
            let seen = pool.statistics
            pool.shutDown()
            try await running
            #expect(seen.recycled > 0 && seen.timedOut == 1)
            #expect(recorder.counts["cloacina_pool_connections_opened"] == pool.statistics.opened)
            #expect(recorder.counts["cloacina_pool_connections_recycled"] == pool.statistics.recycled)
            #expect(recorder.counts["cloacina_pool_checkouts_timed_out"] == 1)
            #expect(recorder.counts["cloacina_pool_leaks_detected"] ?? 0 == pool.statistics.leaksDetected)
            #expect(recorder.counts["cloacina_pool_wait_time", default: 0] > 0)
            #expect(recorder.counts["cloacina_pool_connections"] == 0)
        }
    }
}
