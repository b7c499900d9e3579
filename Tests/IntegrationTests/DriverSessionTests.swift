import Synchronization
import Testing

@testable import CloacinaPostgres

extension ServerTests {
    /// Lock timeout and isolation: what the engine's statements run under, and what is left for others.
    @Suite(.timeLimit(.minutes(40))) struct DriverSessionTests {
        private func withPool(
            defaultIsolation: String? = nil, _ body: (PostgresPool, PostgresLabel, PostgresLabel) async throws -> Void
        ) async throws {
            let database = try #require(TestDatabase.current)
            let labels = try await MarkedTenants.make(2, in: database).labels
            if let defaultIsolation {
                try await PostgresConnection.withConnection(database.superuser) {
                    try await $0.script(
                        """
                        ALTER DATABASE \(PostgresIdentifier.quote(database.name))
                        SET default_transaction_isolation TO '\(defaultIsolation)'
                        """)
                }
            }
            var configuration = PostgresPoolConfiguration(database.administrator)
            configuration.maximumConnections = 1
            try await PostgresPool.withPool(configuration) { try await body($0, labels[0], labels[1]) }
        }

        private static func setting(_ name: String) -> PostgresStatement {
            PostgresStatement(trusted: "SELECT pg_catalog.current_setting($1)", [.text(name)])
        }

        private static func engine(
            _ lease: borrowing PostgresLease, _ statements: PostgresStatement..., lockTimeout: Duration?
        ) async throws -> [PostgresRows] {
            try await lease.pipeline(statements, deadline: nil, lockTimeout: lockTimeout)
        }

        @Test func theLockTimeoutIsTheEnginesAloneAndCostsNoRoundTrip() async throws {
            try await self.withPool { pool, a, b in
                for (label, timeout, expected) in [
                    (a, Duration?.some(.milliseconds(250)), "250ms"), (b, .some(.milliseconds(250)), "250ms"),
                    (b, nil, "0"), (a, .some(.seconds(2)), "2s"), (a, .some(.seconds(2)), "2s"),
                ] {
                    try await pool.withConnection(label) { lease in
                        let before = lease.connection.report.roundTrips.load(ordering: .relaxed)
                        let seen: String = try await Self.engine(
                            lease, Self.setting("lock_timeout"), lockTimeout: timeout)[0].single()
                        #expect(seen == expected)
                        #expect(lease.connection.report.roundTrips.load(ordering: .relaxed) == before + 1)
                    }
                }
                try await pool.withConnection(a) { lease in
                    let before = lease.connection.report.roundTrips.load(ordering: .relaxed)
                    let seen: String = try await lease.query(Self.setting("lock_timeout")).single()
                    #expect(seen == "0")
                    #expect(lease.connection.report.roundTrips.load(ordering: .relaxed) == before + 1)
                    _ = try await Self.engine(lease, "SELECT 1", lockTimeout: .seconds(3))
                    let inside: String = try await lease.withTransaction {
                        try await $0.query(Self.setting("lock_timeout")).single()
                    }
                    #expect(inside == "0")
                }
            }
        }

        @Test func aFailedFlushTakesTheLockTimeoutBackAndTheNextOneSetsIt() async throws {
            try await self.withPool { pool, a, _ in
                try await pool.withConnection(a) { lease in
                    _ = try await lease.query(Self.setting("lock_timeout"))
                    _ = await #expect(throws: PostgresError.self) {
                        try await Self.engine(lease, "SELECT 1/0", lockTimeout: .seconds(1))
                    }
                    let seen: String = try await Self.engine(
                        lease, Self.setting("lock_timeout"), lockTimeout: .seconds(1))[0].single()
                    #expect(seen == "1s")
                }
                #expect(pool.statistics.discarded == 0 && pool.statistics.leaksDetected == 0)
            }
        }

        @Test func aTenantsLockHoldsTheEngineUpForTheTimeoutOnly() async throws {
            try await self.withPool { pool, a, _ in
                let superuser = try await PostgresConnection.connect(try #require(TestDatabase.current).superuser)
                try await superuser.withTransaction { transaction in
                    try await transaction.query("LOCK TABLE \(identifier: a.schema).marker IN ACCESS EXCLUSIVE MODE")
                    let error = await #expect(throws: PostgresError.self) {
                        try await pool.withConnection(a) {
                            try await Self.engine($0, "SELECT tenant FROM marker", lockTimeout: .milliseconds(50))
                        }
                    }
                    #expect(error?.sqlState == "55P03")
                }
                await superuser.close()
            }
        }

        @Test(arguments: ["serializable", "repeatable read"])
        func theEngineRunsReadCommittedWhateverTheDefaultIs(level: String) async throws {
            try await self.withPool(defaultIsolation: level) { pool, a, b in
                for label in [a, b] {
                    try await pool.withConnection(label) { lease in
                        let before = lease.connection.report.roundTrips.load(ordering: .relaxed)
                        let rows = try await Self.engine(
                            lease, Self.setting("transaction_isolation"), "SELECT tenant FROM marker",
                            lockTimeout: .seconds(1))
                        #expect(lease.connection.report.roundTrips.load(ordering: .relaxed) == before + 1)
                        #expect(rows.count == 2)
                        #expect(try rows[0].single() == "read committed")
                        #expect(try rows[1].single() == label.schema)
                        let ordinary: String = try await lease.query(Self.setting("transaction_isolation")).single()
                        #expect(ordinary == level)
                    }
                }
                try await pool.withConnection(a) { lease in
                    let error = await #expect(throws: PostgresError.self) {
                        try await Self.engine(
                            lease, "UPDATE marker SET tenant = 'x'", "SELECT 1/0", lockTimeout: .seconds(1))
                    }
                    #expect(error?.sqlState == "22012" && error?.statementIndex == 1)
                    let marker: String = try await Self.engine(
                        lease, "SELECT tenant FROM marker", lockTimeout: nil)[0].single()
                    #expect(marker == a.schema)
                }
                #expect(pool.statistics.discarded == 0 && pool.statistics.opened == 1)
            }
        }

        @Test func aTransactionHasTheIsolationThatWasAskedFor() async throws {
            try await self.withPool(defaultIsolation: "serializable") { pool, a, _ in
                try await pool.withConnection(a) { lease in
                    for (level, expected) in [
                        (PostgresIsolation?.some(.readCommitted), "read committed"),
                        (.some(.repeatableRead), "repeatable read"), (.some(.serializable), "serializable"),
                        (nil, "serializable"),
                    ] {
                        let seen: String = try await lease.withTransaction(isolation: level) {
                            try await $0.query(Self.setting("transaction_isolation")).single()
                        }
                        #expect(seen == expected)
                    }
                }
            }
            let connection = try await PostgresConnection.connect(try #require(TestDatabase.current).administrator)
            let seen: String = try await connection.withTransaction(isolation: .repeatableRead) {
                try await $0.query(Self.setting("transaction_isolation")).single()
            }
            #expect(seen == "repeatable read")
            await connection.close()
        }

        @Test func aTenantMadeAnewUnderItsNameIsBoundAnew() async throws {
            try await self.withPool { pool, a, _ in
                let name = PostgresIdentifier.quote(a.schema)
                let read = PostgresStatement(trusted: "SELECT tenant FROM marker")
                let before: String = try await pool.withConnection(a) { try await $0.query(read).single() }
                #expect(before == a.schema)
                let database = try #require(TestDatabase.current)
                let administrator = try await PostgresConnection.withConnection(database.administrator) {
                    $0.endpoint.user
                }
                try await PostgresConnection.withConnection(database.superuser) {
                    try await $0.script(
                        """
                        DROP SCHEMA \(name) CASCADE; DROP ROLE \(name);
                        CREATE ROLE \(name) NOLOGIN; GRANT \(name) TO \(PostgresIdentifier.quote(administrator));
                        CREATE SCHEMA \(name) AUTHORIZATION \(name);
                        CREATE TABLE \(name).marker AS SELECT 'new'::text AS tenant;
                        ALTER TABLE \(name).marker OWNER TO \(name)
                        """)
                }
                let after: String = try await pool.withConnection(a) { try await $0.query(read).single() }
                #expect(after == "new")
                #expect(pool.statistics.opened == 1 && pool.statistics.leaksDetected == 0)
            }
        }

        /// With more tenants than have plans of their own on a connection, and statements whose types are the tenant's.
        @Test func noTenantRunsWhatWasPreparedForAnother() async throws {
            let database = try #require(TestDatabase.current)
            let labels = try await MarkedTenants.make(20, in: database).labels
            try await PostgresConnection.withConnection(database.superuser) { superuser in
                for (number, label) in labels.enumerated() {
                    let schema = PostgresIdentifier.quote(label.schema)
                    try await superuser.script(
                        """
                        CREATE TYPE \(schema).state AS ENUM ('open', 'closed');
                        CREATE TABLE \(schema).tickets (id int PRIMARY KEY, state \(schema).state NOT NULL,
                            at \(number.isMultiple(of: 2) ? "date" : "timestamptz"));
                        INSERT INTO \(schema).tickets VALUES (1, 'open');
                        \(number.isMultiple(of: 3) ? "ALTER TABLE \(schema).tickets ADD COLUMN title text;" : "")
                        GRANT USAGE ON SCHEMA \(schema) TO \(schema);
                        ALTER TABLE \(schema).tickets OWNER TO \(schema)
                        """)
                }
            }
            var configuration = PostgresPoolConfiguration(database.administrator)
            configuration.maximumConnections = 1
            try await PostgresPool.withPool(configuration) { pool in
                for _ in 0..<2 {
                    for (number, label) in labels.enumerated() {
                        try await pool.withConnection(label) { lease in
                            let (state, at) = ("closed", "2024-01-31 12:00+00")
                            try await lease.query("UPDATE tickets SET state = \(state), at = \(at) WHERE id = 1")
                            let rows = try await lease.withTransaction { try await $0.query("SELECT * FROM tickets") }
                            #expect(rows.columnNames.count == (number.isMultiple(of: 3) ? 4 : 3))
                            #expect(try rows[0].value("state", as: String.self) == "closed")
                            let expected = number.isMultiple(of: 2) ? "2024-01-31" : "2024-01-31 12:00:00+00"
                            #expect(try rows[0].value("at", as: String.self) == expected)
                        }
                    }
                }
                #expect(pool.statistics.opened == 1)
            }
        }
    }
}
