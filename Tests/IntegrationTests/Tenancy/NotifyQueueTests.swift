import CloacinaPostgres
import CloacinaTenancy
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// The server's one queue of notifications, which every login can fill.
    @Suite(.timeLimit(.minutes(40))) struct NotifyQueueTests {
        /// Before PostgreSQL 17 the queue has eight gigabytes, which takes minutes.
        private static func isSmallQueuePossible() async throws -> Bool {
            guard let server = TestServer.configured else { return false }
            let configuration = PostgresConfiguration(server.superuserURL)
            return try await PostgresConnection.withConnection(configuration) { $0.serverVersion >= 170_000 }
        }

        @Test(
            "A tenant that fills the server's queue of notifications stops nobody else's enqueue and signal",
            .enabled("the server has no max_notify_queue_pages") { try await Self.isSmallQueuePossible() })
        func aFullQueueStopsNobody() async throws {
            try await PrivateServer.with(settings: { _ in [ServerSetting("max_notify_queue_pages", "64")] }) { server in
                try await PrivateServer.$current.withValue(server) {
                    try await withPrivateDatabase { _ in try await self.fillTheQueue() }
                }
            }
        }

        private func fillTheQueue() async throws {
            try await TenantFixture.withAdmin { admin in
                let victim = try await admin.createTenant(TenantConfig(name: TenantFixture.name()))
                let other = try await admin.createTenant(TenantConfig(name: TenantFixture.name()))
                try await TenantFixture.withTenant(other) { listener in
                    // It listens once that is committed, and reads nothing from then on.
                    try await listener.script("SET idle_in_transaction_session_timeout TO 0; LISTEN x")
                    try await listener.script("BEGIN; SELECT 1")
                    try await TenantFixture.withTenant(other) { caller in
                        let full = await #expect(throws: PostgresError.self) {
                            for _ in 0..<1_000 { try await caller.query("SELECT pg_notify('x', repeat('y', 7900))") }
                        }
                        #expect(full?.serverMessage?.contains("NOTIFY queue") == true)
                    }
                    try await TenantFixture.withTenant(victim) { tenant in
                        let id: String = try await tenant.query("SELECT cloacina_enqueue('etl')::text AS id").single()
                        let state: String = try await tenant.query(
                            "SELECT cloacina_signal(\(id)::uuid, 'cancel') AS state"
                        ).single()
                        #expect(state == "queued")
                    }
                }
                for name in [victim.tenant, other.tenant] { try await admin.removeTenant(named: name) }
            }
        }
    }
}
