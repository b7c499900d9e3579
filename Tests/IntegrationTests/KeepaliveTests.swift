import CloacinaPostgres
import Testing

extension ServerTests {
    /// What a connection does to notice that its server has vanished, as libpq has understood it.
    @Suite struct KeepaliveTests {
        /// After 30 s of silence, three questions ten seconds apart; what was sent may stay unconfirmed for 45 s.
        private static let own = [
            "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 45_000,
        ]

        @Test(arguments: [[:], ["keepalives_idle": 7], ["keepalives_interval": 8, "tcp_user_timeout": 1_234]])
        func aVanishedServerIsNoticedWithinAMinuteUnlessTheUserSaysOtherwise(said: [String: Int]) async throws {
            var configuration = try #require(TestDatabase.current).administrator
            if !said.isEmpty {
                configuration.connectionString += "?" + said.map { "\($0)=\($1)" }.joined(separator: "&")
            }
            let options = try await PostgresConnection.withConnection(configuration) { $0.endpoint.options }
            let expected = Self.own.merging(said) { _, users in users }
            for (name, value) in expected { #expect(options[name] == "\(value)") }
            // Nobody has turned them off.
            #expect(options["keepalives"] ?? "1" == "1")
        }
    }
}
