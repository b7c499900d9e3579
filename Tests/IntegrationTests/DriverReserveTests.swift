import Testing

@testable import CloacinaPostgres

extension ServerTests {
    /// The connection beside the budget, for what the engine has to write while tasks hold everything.
    @Suite(.timeLimit(.minutes(40))) struct DriverReserveTests {
        private func withPool(
            _ body: (PostgresPool, PostgresLabel, PostgresLabel) async throws -> Void
        ) async throws {
            let database = try #require(TestDatabase.current)
            let labels = try await MarkedTenants.make(2, in: database).labels
            var configuration = PostgresPoolConfiguration(database.administrator)
            configuration.maximumConnections = 1
            try await PostgresPool.withPool(configuration) { try await body($0, labels[0], labels[1]) }
        }

        private static func marker(_ lease: borrowing PostgresLease) async throws -> String {
            try await lease.query("SELECT tenant FROM marker").single()
        }

        @Test func theEngineWritesAlthoughATaskHoldsEveryConnection() async throws {
            try await self.withPool { pool, a, b in
                var backends: Set<Int32> = []
                try await pool.withConnection(a) { held in
                    let marker = try await Self.marker(held)
                    #expect(marker == a.schema)
                    for label in [b, a, b] {
                        let (marker, backend) = try await pool.withReservedConnection(label) {
                            (try await Self.marker($0), $0.backendPID)
                        }
                        #expect(marker == label.schema)
                        backends.insert(backend)
                    }
                    let statistics = pool.statistics
                    #expect(statistics.connections == 2 && statistics.leased == 1 && statistics.waiting == 0)
                }
                #expect(backends.count == 1, "the reserve connects anew for each write")
                #expect(pool.statistics.opened == 2)
                #expect(pool.statistics.timedOut == 0)
                #expect(pool.statistics.leaksDetected == 0)
            }
        }

        @Test func aFreeConnectionOfTheBudgetComesFirst() async throws {
            try await self.withPool { pool, a, b in
                _ = try await pool.withConnection(a) { try await Self.marker($0) }
                let marker = try await pool.withReservedConnection(b) { try await Self.marker($0) }
                #expect(marker == b.schema)
                #expect(pool.statistics.opened == 1)
            }
        }

        @Test func theDeadlineBoundsTheWaitForTheReserveToo() async throws {
            try await self.withPool { pool, a, b in
                try await pool.withConnection(a) { _ in
                    try await pool.withReservedConnection(b) { _ in
                        let error = await #expect(throws: PostgresError.self) {
                            try await pool.withReservedConnection(a, deadline: .now + .milliseconds(60)) { _ in }
                        }
                        #expect(error?.code == .checkoutTimedOut)
                    }
                }
                #expect(pool.statistics.timedOut == 1)
            }
        }

        private static func holding(
            _ count: Int, of pool: PostgresPool, _ label: PostgresLabel, _ body: () async throws -> Void
        ) async throws {
            guard count > 0 else { return try await body() }
            try await pool.withConnection(label) { _ in try await Self.holding(count - 1, of: pool, label, body) }
        }

        /// Tasks hold all of a larger budget: tenants' heartbeats don't go one after the other.
        @Test func theReserveOfALargerBudgetLendsSeveralAtATime() async throws {
            let database = try #require(TestDatabase.current)
            let labels = try await MarkedTenants.make(3, in: database).labels
            var configuration = PostgresPoolConfiguration(database.administrator)
            configuration.maximumConnections = 8
            configuration.maximumPerTenant = 8
            try await PostgresPool.withPool(configuration) { pool in
                try await Self.holding(8, of: pool, labels[0]) {
                    try await pool.withReservedConnection(labels[1]) { first in
                        let second = try await pool.withReservedConnection(labels[2]) { try await Self.marker($0) }
                        let marker = try await Self.marker(first)
                        #expect([marker, second] == labels[1...].map(\.schema))
                    }
                    #expect(pool.statistics.opened == 10 && pool.statistics.timedOut == 0)
                }
            }
        }

        @Test func nothingOfTheReserveIsLeftWhenThePoolEnds() async throws {
            let database = try #require(TestDatabase.current)
            let label = try await MarkedTenants.make(1, in: database).labels[0]
            var configuration = PostgresPoolConfiguration(database.administrator)
            configuration.maximumConnections = 1
            let pool = try await PostgresPool.withPool(configuration) { pool in
                try await pool.withConnection(label) { _ in
                    _ = try await pool.withReservedConnection(label) { try await Self.marker($0) }
                }
                return pool
            }
            #expect(pool.statistics.connections == 0 && pool.statistics.leased == 0)
            let error = await #expect(throws: PostgresError.self) {
                try await pool.withReservedConnection(label) { _ in }
            }
            #expect(error?.code == .poolShutDown)
        }
    }
}
