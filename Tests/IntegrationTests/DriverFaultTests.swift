import FoundationEssentials
import Glibc
import Synchronization
import Testing

@testable import CloacinaPostgres

extension ServerTests {
    /// What an adversary may try against the driver: other tenants' data, lost answers, hanging threads.
    @Suite(.timeLimit(.minutes(40))) struct DriverFaultTests {
        private func connect() async throws -> PostgresConnection {
            try await PostgresConnection.connect(try #require(TestDatabase.current).administrator)
        }

        /// Two tenants on one connection, which was last used by the first.
        private func withTwoTenants<R>(
            roles: Bool = true, _ body: (PostgresPool, PostgresLabel, PostgresLabel) async throws -> R
        ) async throws -> R {
            let database = try #require(TestDatabase.current)
            let labels = try await MarkedTenants.make(2, in: database).labels
            var configuration = PostgresPoolConfiguration(roles ? database.administrator : database.superuser)
            configuration.maximumConnections = 1
            return try await PostgresPool.withPool(configuration) { pool in
                let (a, b) = (
                    PostgresLabel(schema: labels[0].schema, role: roles ? labels[0].role : nil),
                    PostgresLabel(schema: labels[1].schema, role: roles ? labels[1].role : nil)
                )
                #expect(try await Self.marker(pool, a) == a.schema)
                return try await body(pool, a, b)
            }
        }

        private static func marker(_ pool: PostgresPool, _ label: PostgresLabel) async throws -> String {
            try await pool.withConnection(label) { try await $0.query("SELECT tenant FROM marker").single() }
        }

        // MARK: Mixing tenants

        static let undoings: [[String]] = [
            ["ROLLBACK"], ["ABORT"], ["BEGIN", "ROLLBACK"], ["BEGIN", "COMMIT", "ROLLBACK"], ["/* c */ ROLLBACK"],
            ["DO $$ BEGIN ROLLBACK; END $$"], ["SELECT 1", "ROLLBACK"],
            ["BEGIN", "SAVEPOINT s", "ROLLBACK TO s", "COMMIT"],
            ["PREPARE TRANSACTION 'x'"], ["-- c\nROLLBACK"], [";ROLLBACK"],
        ]

        @Test(arguments: undoings)
        func nothingThatALeaseStartsWithTakesItsLabelBack(statements: [String]) async throws {
            try await self.withTwoTenants { pool, _, b in
                let spy = statements.map { PostgresStatement($0, prepared: false) } + ["SELECT tenant FROM marker"]
                try await pool.withConnection(b) { lease in
                    let together = try? await lease.pipeline(spy)
                    if let together {
                        let marker: String = try together[statements.count].single()
                        #expect(marker == b.schema)
                    }
                    // Whatever became of that, the lease's later statements are its own tenant's as well.
                    _ = try? await lease.query("ROLLBACK")
                    let later: String = try await lease.query("SELECT tenant FROM marker").single()
                    #expect(later == b.schema)
                }
                #expect(try await Self.marker(pool, b) == b.schema)
            }
        }

        @Test func aRollbackInsideATransactionKeepsTheLabel() async throws {
            try await self.withTwoTenants { pool, _, b in
                try await pool.withConnection(b) { lease in
                    _ = try? await lease.withTransaction { transaction in
                        let rows = try await transaction.pipeline(["ROLLBACK", "SELECT tenant FROM marker"])
                        let marker: String = try rows[1].single()
                        #expect(marker == b.schema)
                        let later: String = try await transaction.query("SELECT tenant FROM marker").single()
                        #expect(later == b.schema)
                    }
                }
            }
        }

        @Test func aTenantsOwnSetConfigIsNotCalledToBindTheNextLabel() async throws {
            try await self.withTwoTenants { pool, a, b in
                try await pool.withConnection(a) { lease in
                    let schema = a.schema
                    for sql in [
                        """
                        CREATE FUNCTION \(schema).set_config(text, text, boolean) RETURNS text LANGUAGE sql
                        AS $$ SELECT $2 $$
                        """,
                        """
                        CREATE FUNCTION \(schema).current_setting(text) RETURNS text LANGUAGE sql AS $$
                        SELECT CASE $1 WHEN 'role' THEN '\(schema)' ELSE '"\(schema)", pg_temp' END $$
                        """,
                        "SELECT pg_catalog.set_config('search_path', '\(schema), pg_catalog', false)",
                    ] {
                        try await lease.query(PostgresStatement(sql, prepared: false))
                    }
                }
                #expect(try await Self.marker(pool, b) == b.schema)
            }
        }

        @Test func aTriggerDuringCopyDoesNotMoveTheNextLease() async throws {
            try await self.withTwoTenants { pool, a, b in
                try await pool.withConnection(a) { lease in
                    _ = try await lease.pipeline([
                        PostgresStatement("CREATE TABLE inbox (v int)", prepared: false),
                        PostgresStatement(
                            """
                            CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS
                            $$ BEGIN PERFORM set_config('search_path', 'public', false); RETURN NEW; END $$
                            """, prepared: false),
                        PostgresStatement(
                            "CREATE TRIGGER move BEFORE INSERT ON inbox FOR EACH ROW EXECUTE FUNCTION move()",
                            prepared: false),
                    ])
                }
                #expect(try await Self.marker(pool, b) == b.schema)
                try await pool.withConnection(a) {
                    _ = try await $0.copyIn(table: "inbox", columns: ["v"], rows: [[.int32(1)]])
                }
                #expect(try await Self.marker(pool, a) == a.schema)
            }
        }

        @Test(arguments: [
            PostgresLabel(schema: "a\0b"), PostgresLabel(schema: "a", role: "a\0b"),
            PostgresLabel(schema: "a", role: "none"),
            PostgresLabel(schema: String(repeating: "x", count: 64)), PostgresLabel(schema: ""),
        ])
        func aLabelThatPostgresWouldReadDifferentlyIsRefused(label: PostgresLabel) async throws {
            try await self.withTwoTenants { pool, _, _ in
                _ = await #expect {
                    try await pool.withConnection(label) { _ = try await $0.query("SELECT 1") }
                } throws: {
                    [.invalidValue, .labelRefused].contains(($0 as? PostgresError)?.code)
                }
            }
        }

        @Test func aBatchThatCommittedInTheMiddleIsNotRepeated() async throws {
            let connection = try await self.connect()
            try await connection.query("CREATE TABLE t (a int)")
            try await connection.query("CREATE TABLE u (a int)")
            try await connection.query("SELECT * FROM u")
            try await connection.query("ALTER TABLE u ADD COLUMN b int")
            await #expect {
                try await connection.pipeline(["INSERT INTO t VALUES (1)", "COMMIT", "SELECT * FROM u"])
            } throws: {
                ($0 as? PostgresError)?.sqlState == "0A000"
            }
            #expect(try await connection.query("SELECT count(*) FROM t").single() == 1)
            await connection.close()
        }

        // MARK: The network

        static let largeResult: PostgresStatement = "SELECT repeat('x', 1000) FROM generate_series(1, 50000)"

        @Test(arguments: [FaultyProxy.Mode.cut, .garbage])
        func aConnectionLostInTheMiddleOfAResultIsReported(mode: FaultyProxy.Mode) async throws {
            try await FaultyProxy.with { proxy, configuration in
                let connection = try await PostgresConnection.connect(configuration)
                proxy.switchMode(to: mode, afterBytes: 1_000_000)
                await #expect { try await connection.query(Self.largeResult) } throws: {
                    ($0 as? PostgresError)?.code == .connectionLost
                }
                await #expect { try await connection.query("SELECT 1") } throws: {
                    ($0 as? PostgresError)?.code == .connectionClosed
                }
            }
        }

        @Test func aDeadlineEndsWaitingForAServerThatSaysNothing() async throws {
            try await FaultyProxy.with { proxy, configuration in
                let connection = try await PostgresConnection.connect(configuration)
                proxy.switchMode(to: .stalled, afterBytes: 1_000_000)
                let start = ContinuousClock.now
                await #expect {
                    try await connection.query(Self.largeResult, deadline: .now.advanced(by: .milliseconds(50)))
                } throws: {
                    ($0 as? PostgresError)?.code == .deadlineExceeded
                }
                #expect(start.duration(to: .now) < .seconds(30))
            }
        }

        @Test func abortEndsWaitingForAServerThatSaysNothing() async throws {
            try await FaultyProxy.with { proxy, configuration in
                let connection = try await PostgresConnection.connect(configuration)
                proxy.mode = .stalled
                let query = Task { try await connection.query("SELECT 1") }
                connection.abort()
                let result = await query.result
                #expect { try result.get() } throws: { ($0 as? PostgresError)?.code == .connectionClosed }
            }
        }

        @Test func connectingToSomethingThatNeverAnswersEnds() async throws {
            try await FaultyProxy.with { proxy, configuration in
                proxy.mode = .stalled
                var configuration = configuration
                configuration.connectTimeout = .milliseconds(200)
                await #expect { try await PostgresConnection.connect(configuration) } throws: {
                    ($0 as? PostgresError)?.code == .connectionFailed
                }
                configuration.connectTimeout = .seconds(600)
                let waiting = Task { [configuration] in try await PostgresConnection.connect(configuration) }
                while proxy.accepted < 2 { await Task.yield() }
                waiting.cancel()
                let result = await waiting.result
                #expect { try result.get() } throws: { ($0 as? PostgresError)?.code == .cancelled }
                proxy.mode = .cut
                await #expect { try await PostgresConnection.connect(configuration) } throws: {
                    ($0 as? PostgresError)?.code == .connectionFailed
                }
            }
        }

        @Test func aStalledCopyNeitherFillsMemoryNorHangs() async throws {
            try await FaultyProxy.with { proxy, configuration in
                let connection = try await PostgresConnection.connect(configuration)
                try await connection.query("CREATE TABLE t (a text)")
                let made = Atomic64()
                let text = String(repeating: "x", count: 10_000)
                let rows = sequence(first: 0) { $0 + 1 }.lazy.map { (number: Int) -> [PostgresValue] in
                    made.add(1)
                    if number == 5 { proxy.mode = .stalled }
                    return [.text(text)]
                }
                let endless = UncheckedRows(rows: rows)
                let copy = Task { try await connection.copyIn(table: "t", columns: ["a"], rows: endless) }
                // The socket buffers take some megabytes; then nothing more is made, however long one watches.
                let end = ContinuousClock.now.advanced(by: .seconds(3))
                while made.value < 3000, .now < end { await Task.yield() }
                copy.cancel()
                let result = await copy.result
                #expect { try result.get() } throws: { ($0 as? PostgresError)?.code == .cancelled }
                #expect(made.value < 3000)
            }
        }

        @Test func anEndlessCopyIsBoundedByTheServersPace() async throws {
            let connection = try await self.connect()
            try await connection.query("CREATE TABLE t (a text)")
            let made = Atomic64()
            let text = String(repeating: "x", count: 10_000)
            let endless = UncheckedRows(
                rows: sequence(first: 0) { $0 + 1 }.lazy.map { (_: Int) -> [PostgresValue] in
                    made.add(1)
                    return [.text(text)]
                })
            let copy = Task { try await connection.copyIn(table: "t", columns: ["a"], rows: endless) }
            while made.value < 200 { await Task.yield() }
            copy.cancel()
            let result = await copy.result
            #expect { try result.get() } throws: { ($0 as? PostgresError)?.code == .cancelled }
            #expect(try await connection.query("SELECT count(*) FROM t").single() == 0)
            let other = Task { try await connection.copyIn(table: "t", columns: ["a"], rows: endless) }
            while made.value < 400 { await Task.yield() }
            connection.abort()
            let aborted = await other.result
            #expect { try aborted.get() } throws: { ($0 as? PostgresError)?.code == .connectionClosed }
        }

        @Test func aCopyThatLosesItsConnectionIsReported() async throws {
            try await FaultyProxy.with { proxy, configuration in
                let connection = try await PostgresConnection.connect(configuration)
                try await connection.query("CREATE TABLE t (a text)")
                let made = Atomic64()
                let rows = UncheckedRows(
                    rows: sequence(first: 0) { $0 + 1 }.lazy.map { (number: Int) -> [PostgresValue] in
                        made.add(1)
                        if number == 500 { proxy.mode = .cut }
                        return [.text(String(repeating: "x", count: 10_000))]
                    })
                await #expect { try await connection.copyIn(table: "t", columns: ["a"], rows: rows) } throws: {
                    ($0 as? PostgresError)?.code == .connectionLost
                }
            }
        }

        // MARK: Resources

        @Test func aThousandConnectionsLeaveNeitherDescriptorsNorThreads() async throws {
            func count(_ folder: String) throws -> Int {
                try FileManager.default.contentsOfDirectory(atPath: "/proc/self/\(folder)").count
            }
            let (descriptors, threads) = (try count("fd"), try count("task"))
            let configuration = try #require(TestDatabase.current).administrator
            var wrong = configuration
            wrong.database = "not_there"
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<8 {
                    group.addTask { [wrong] in
                        for number in 0..<125 {
                            if number.isMultiple(of: 5) {
                                _ = try? await PostgresConnection.connect(wrong)
                            } else {
                                let connection = try await PostgresConnection.connect(configuration)
                                // The others are closed with their last reference.
                                if number.isMultiple(of: 2) { await connection.close() }
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
            // Other tests run meanwhile; a leak would be in the thousands.
            #expect(try count("fd") < descriptors + 300)
            #expect(try count("task") < threads + 300)
        }

        @Test func aPipelineLargerThanAllBuffersDoesNotLockUp() async throws {
            let connection = try await self.connect()
            let bytes = [UInt8](repeating: 7, count: 100_000)
            let rows = try await connection.pipeline(Array(repeating: "SELECT \(bytes) AS b", count: 2000))
            #expect(rows.count == 2000)
            #expect(try rows[1999].single(as: [UInt8].self).count == 100_000)
            await connection.close()
        }

        // MARK: Cancellation

        @Test func aStormOfCancellationsLeavesTheConnectionRight() async throws {
            let connection = try await self.connect()
            var cancelled = 0
            for number in 0..<1000 {
                let task = Task {
                    try await connection.query(
                        "SELECT \(number) FROM generate_series(1, \(number % 7 * 2000)) HAVING count(*) >= 0")
                }
                for _ in 0..<(number % 13) { await Task.yield() }
                task.cancel()
                switch await task.result {
                case .success(let rows): #expect(try rows.single() == number)
                case .failure(let error):
                    #expect((error as? PostgresError)?.code == .cancelled)
                    cancelled += 1
                }
                #expect(try await connection.query("SELECT \(number)").single() == number)
            }
            #expect(cancelled > 0)
            await connection.close()
        }

        @Test func cancellingACopyThatWaitsForALockHitsNoLaterStatement() async throws {
            let (connection, blocker) = (try await self.connect(), try await self.connect())
            try await connection.query("CREATE TABLE t (a int)")
            try await blocker.withTransaction { transaction in
                try await transaction.query("LOCK TABLE t")
                let copy = Task { try await connection.copyIn(table: "t", columns: ["a"], rows: [[.int32(1)]]) }
                while try await !transaction.query(
                    "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid = \(connection.backendPID))"
                ).single(as: Bool.self) {}
                copy.cancel()
                let result = await copy.result
                #expect { try result.get() } throws: { ($0 as? PostgresError)?.code == .cancelled }
                for number in 0..<200 { #expect(try await connection.query("SELECT \(number)").single() == number) }
            }
        }

        @Test func aStatementTimeoutIsNotTakenForCancellation() async throws {
            let connection = try await self.connect()
            try await connection.script("SET statement_timeout TO '20ms'")
            await #expect { try await connection.query("SELECT pg_sleep(600)") } throws: {
                ($0 as? PostgresError)?.code == .rejectedByServer && ($0 as? PostgresError)?.sqlState == "57014"
            }
            await connection.close()
        }

        @Test func aPassedDeadlineSendsNothing() async throws {
            let connection = try await self.connect()
            try await connection.query("CREATE TABLE t (a int)")
            await #expect { try await connection.query("INSERT INTO t VALUES (1)", deadline: .now) } throws: {
                ($0 as? PostgresError)?.code == .deadlineExceeded
            }
            #expect(try await connection.query("SELECT count(*) FROM t").single() == 0)
            await connection.close()
        }

        // MARK: Statements

        @Test func aPipelineLargerThanTheStatementCacheWorksAndLeavesNoMoreThanItsCapacity() async throws {
            var configuration = try #require(TestDatabase.current).administrator
            configuration.statementCacheCapacity = 8
            let connection = try await PostgresConnection.connect(configuration)
            for round in 0..<3 {
                let statements = (0..<60).map {
                    PostgresStatement("SELECT \($0 % 30 + round) AS v", [], prepared: true)
                }
                let values = try await connection.pipeline(statements).map { try $0.single(as: Int.self) }
                #expect(values == (0..<60).map { $0 % 30 + round })
                try await connection.withTransaction { transaction in
                    for number in 0..<20 {
                        try await transaction.query(PostgresStatement("SELECT \(number) AS w", prepared: true))
                    }
                    _ = try? await transaction.query("SELECT 1/0 AS z")
                    try await transaction.query("ROLLBACK")
                    try await transaction.query("BEGIN")
                }
            }
            let prepared: Int = try await connection.query(
                PostgresStatement("SELECT count(*) FROM pg_prepared_statements", prepared: false)
            ).single()
            #expect(prepared <= 8)
            await connection.close()
        }

        @Test func bindsOfDifferentTypesUnderOneTextDoNotMix() async throws {
            let connection = try await self.connect()
            for value: PostgresValue in [
                .int64(1), .bool(true), .double(0.5), .bytes([1]), .textArray(["x"]), .int64(2),
            ] {
                let type: String = try await connection.query(PostgresStatement("SELECT pg_typeof($1)::text", [value]))
                    .single()
                switch value {
                case .int64: #expect(type == "bigint")
                case .bool: #expect(type == "boolean")
                case .double: #expect(type == "double precision")
                case .bytes: #expect(type == "bytea")
                default: #expect(type == "text[]")
                }
            }
            await connection.close()
        }

        @Test(arguments: ["ALTER TABLE u ADD COLUMN b int", "DEALLOCATE ALL"])
        func aStalePlanInsideATransactionIsMadeAnewInTheNextOne(change: String) async throws {
            let connection = try await self.connect()
            try await connection.query("CREATE TABLE u (a int)")
            try await connection.query("SELECT * FROM u")
            try await connection.query(PostgresStatement(change, prepared: false))
            await #expect(throws: PostgresError.self) {
                try await connection.withTransaction { try await $0.query("SELECT * FROM u") }
            }
            let rows = try await connection.withTransaction { try await $0.query("SELECT * FROM u") }
            #expect(rows.isEmpty)
            await connection.close()
        }

        @Test func statementsAndBindsBeyondTheProtocolsLimitsAreRefusedAndTheConnectionLives() async throws {
            let connection = try await self.connect()
            let many = PostgresStatement("SELECT 1", Array(repeating: .int64(1), count: 65_536))
            await #expect { try await connection.pipeline(["SELECT 1", many]) } throws: {
                ($0 as? PostgresError)?.code == .invalidValue
            }
            let megabyte = String(repeating: "x", count: 1 << 20)
            let long = PostgresStatement("SELECT $1", [.textArray(Array(repeating: megabyte, count: 2100))])
            await #expect { try await connection.query(long) } throws: { ($0 as? PostgresError)?.code == .invalidValue }
            #expect(try await connection.query("").isEmpty)
            #expect(try await connection.query("-- nothing").affectedRows == 0)
            #expect(try await connection.query("SELECT 6").single() == 6)
            await connection.close()
        }

        // MARK: Transactions

        @Test func aCommitThatFailsIsReportedAndTheConnectionIsFree() async throws {
            let connection = try await self.connect()
            try await connection.query("CREATE TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
            await #expect {
                try await connection.withTransaction { try await $0.query("INSERT INTO t VALUES (1), (1)") }
            } throws: {
                ($0 as? PostgresError)?.sqlState == "23505"
            }
            #expect(connection.report.current.isEmpty)
            #expect(try await connection.query("SELECT count(*) FROM t").single() == 0)
            try await connection.withTransaction { _ = try await $0.query("DEALLOCATE ALL") }
            #expect(connection.report.current.isEmpty)
            await connection.close()
        }

        /// Without a transaction of the caller's, the commit comes after the statement's own answer.
        @Test(arguments: [1, 3]) func aStatementWhoseCommitFailsIsRefused(count: Int) async throws {
            let connection = try await self.connect()
            try await connection.query("CREATE TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
            let insertion = PostgresStatement("INSERT INTO t VALUES (1), (1)")
            for isPrepared in [true, false] {
                let statement = PostgresStatement(insertion.sql, prepared: isPrepared)
                let error = await #expect(throws: PostgresError.self) {
                    try await connection.pipeline(Array(repeating: "SELECT 1", count: count - 1) + [statement])
                }
                #expect(error?.sqlState == "23505")
            }
            #expect(connection.report.current.isEmpty)
            #expect(try await connection.query("SELECT count(*) FROM t").single() == 0)
            await connection.close()
        }

        @Test func transactionsDoNotNestUnnoticed() async throws {
            let connection = try await self.connect()
            try await connection.query("CREATE TABLE t (a int)")
            await #expect {
                try await connection.withTransaction { transaction in
                    try await transaction.query("INSERT INTO t VALUES (1)")
                    try await connection.withTransaction { _ = try await $0.query("SELECT 1") }
                }
            } throws: {
                ($0 as? PostgresError)?.code == .unsupported
            }
            #expect(try await connection.query("SELECT count(*) FROM t").single() == 0)
            await connection.close()
        }

        // MARK: Notifications

        @Test(arguments: [true, false])
        func aReaderOfNotificationsEndsWithTheConnection(aborts: Bool) async throws {
            let connection = try await self.connect()
            try await connection.listen(on: "c")
            let reader = Task { try await connection.notifications.first { _ in true } }
            for _ in 0..<20 { await Task.yield() }
            if aborts { connection.abort() } else { await connection.close() }
            let result = await reader.result
            #expect { try result.get() } throws: { ($0 as? PostgresError)?.code == .connectionClosed }
        }

        // MARK: The pool

        @Test func aHardShutDownEndsLeasesUnderWayAndConnectingOnes() async throws {
            try await FaultyProxy.with { proxy, configuration in
                var configuration = PostgresPoolConfiguration(configuration)
                configuration.connection.connectTimeout = .seconds(600)
                configuration.maximumConnections = 4
                configuration.maximumPerTenant = 4
                let pool = PostgresPool(configuration)
                let label = PostgresLabel(schema: "public")
                let running = Task { try await pool.run() }
                let leased = Atomic64()
                let leases = (0..<2).map { _ in
                    Task {
                        try await pool.withConnection(label) { lease in
                            leased.add(1)
                            _ = try await lease.query("SELECT pg_sleep(600)")
                        }
                    }
                }
                while leased.value < 2 { await Task.yield() }
                proxy.mode = .stalled
                let accepted = proxy.accepted
                let connecting = (0..<2).map { _ in Task { try await pool.withConnection(label) { _ in } } }
                while proxy.accepted < accepted + 2 { await Task.yield() }
                running.cancel()
                try await running.value
                for task in leases + connecting {
                    let result = await task.result
                    #expect { try result.get() } throws: {
                        [.connectionClosed, .poolShutDown].contains(($0 as? PostgresError)?.code)
                    }
                }
                #expect(pool.statistics.connections == 0)
            }
        }

        @Test func aCallerOfAPoolThatDoesNotRunWaitsNoLongerThanItsDeadline() async throws {
            let pool = PostgresPool(PostgresPoolConfiguration(try #require(TestDatabase.current).administrator))
            await #expect {
                try await pool.withConnection(
                    PostgresLabel(schema: "public"), deadline: .now.advanced(by: .milliseconds(50))
                ) {
                    _ in
                }
            } throws: {
                ($0 as? PostgresError)?.code == .checkoutTimedOut
            }
            let waiting = Task { try await pool.withConnection(PostgresLabel(schema: "public")) { _ in } }
            while pool.statistics.waiting == 0 { await Task.yield() }
            waiting.cancel()
            let result = await waiting.result
            #expect { try result.get() } throws: { ($0 as? PostgresError)?.code == .cancelled }
        }

        @Test func aConnectionThatDiedWhileIdleIsReplaced() async throws {
            try await self.withTwoTenants { pool, a, b in
                let database = try #require(TestDatabase.current)
                for label in [a, b, b] {
                    let backend = try await pool.withConnection(label) { $0.backendPID }
                    try await PostgresConnection.withConnection(database.superuser) { superuser in
                        try await superuser.query("SELECT pg_terminate_backend(\(backend))")
                        try await superuser.waitUntil(
                            "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = \(backend))")
                    }
                    // It closes its socket a moment after it has left the view: when the process is gone, that is done.
                    while kill(backend, 0) == 0 || errno == EPERM { await Task.yield() }
                    #expect(try await Self.marker(pool, label) == label.schema)
                }
                #expect(pool.statistics.opened == 4)
            }
        }
    }
}

/// A counter that several threads may touch.
private final class Atomic64: Sendable {
    private let storage = Atomic<Int>(0)
    var value: Int { self.storage.load(ordering: .sequentiallyConsistent) }
    func add(_ number: Int) { self.storage.add(number, ordering: .sequentiallyConsistent) }
}

/// Rows made on demand. Only the connection's thread walks through them, which makes sending them there safe.
private struct UncheckedRows<Rows: Sequence<[PostgresValue]>>: Sequence, @unchecked Sendable {
    let rows: Rows
    func makeIterator() -> Rows.Iterator { self.rows.makeIterator() }
}
