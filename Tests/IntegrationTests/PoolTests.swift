import Synchronization
import Testing

@testable import CloacinaPostgres

extension ServerTests {
    /// The pool against a real server: labels, leaks, isolation, faults.
    @Suite struct PoolTests {
        /// Two tenants made by hand, since the driver knows nothing of tenants: a schema, a role and a marker row each.
        private func withTenants<R>(
            budget: Int = 1, _ configure: (inout PostgresPoolConfiguration) -> Void = { _ in },
            _ body: (PostgresPool, PostgresLabel, PostgresLabel) async throws -> R
        ) async throws -> R {
            let database = try #require(TestDatabase.current)
            let tenants = try await MarkedTenants.make(2, in: database)
            var configuration = PostgresPoolConfiguration(database.administrator)
            configuration.maximumConnections = budget
            configuration.maximumPerTenant = budget
            configure(&configuration)
            return try await PostgresPool.withPool(configuration) { pool in
                try await body(pool, tenants.labels[0], tenants.labels[1])
            }
        }

        private static func marker(_ lease: borrowing PostgresLease) async throws -> String {
            try await lease.query("SELECT tenant FROM marker").single()
        }

        private func expectOwnMarker(
            _ pool: PostgresPool, _ label: PostgresLabel, sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            let marker = try await pool.withConnection(label) { try await Self.marker($0) }
            #expect(marker == label.schema, sourceLocation: sourceLocation)
        }

        @Test func eachLeaseSeesItsOwnTenantOnOneConnection() async throws {
            try await self.withTenants { pool, a, b in
                var backends: Set<Int32> = []
                for _ in 0..<10 {
                    for label in [a, b] {
                        let (marker, backend) = try await pool.withConnection(label) {
                            (try await Self.marker($0), $0.backendPID)
                        }
                        #expect(marker == label.schema)
                        backends.insert(backend)
                    }
                }
                #expect(backends.count == 1)
                #expect(pool.statistics.leaksDetected == 0)
            }
        }

        /// Whoever ends in good order, as a runner does, has something to write at the end.
        @Test func aCancelledClosureHasItsPoolToItsEnd() async throws {
            let (begun, begin) = AsyncStream.makeStream(of: Void.self)
            let task = Task {
                try await self.withTenants { pool, a, _ in
                    try await self.expectOwnMarker(pool, a)
                    begin.yield()
                    for await _ in AsyncStream<Void>.makeStream().stream {}
                    #expect(Task.isCancelled)
                    try await Task { try await self.expectOwnMarker(pool, a) }.value
                }
            }
            for await _ in begun { break }
            task.cancel()
            try await task.value
        }

        @Test func relabellingAddsNoRoundTrip() async throws {
            try await self.withTenants { pool, a, b in
                for label in [a, b, a, b] {
                    try await pool.withConnection(label) { lease in
                        let before = lease.connection.report.roundTrips.load(ordering: .relaxed)
                        let marker = try await Self.marker(lease)
                        #expect(marker == label.schema)
                        #expect(lease.connection.report.roundTrips.load(ordering: .relaxed) == before + 1)
                    }
                }
                #expect(pool.statistics.relabels == 4)
            }
        }

        @Test func aMissingSchemaFailsClosed() async throws {
            try await self.withTenants { pool, a, _ in
                try await self.expectOwnMarker(pool, a)
                let gone = PostgresLabel(schema: "not_there", role: a.role)
                await #expect {
                    try await pool.withConnection(gone) { try await $0.query("SELECT tenant FROM marker") }
                } throws: {
                    ($0 as? PostgresError)?.code == .missingSchema
                }
                try await self.expectOwnMarker(pool, a)
            }
        }

        @Test func aRoleThatTheLoginMayNotTakeOnIsRefused() async throws {
            try await self.withTenants { pool, a, _ in
                let forbidden = PostgresLabel(schema: a.schema, role: "postgres")
                await #expect { try await pool.withConnection(forbidden) { try await $0.query("SELECT 1") } } throws: {
                    ($0 as? PostgresError)?.code == .labelRefused
                }
            }
        }

        @Test func publicIsNeverInThePath() async throws {
            try await self.withTenants { pool, a, _ in
                let database = try #require(TestDatabase.current)
                try await PostgresConnection.withConnection(database.superuser) {
                    try await $0.script("CREATE TABLE public.bait (a int); GRANT ALL ON public.bait TO public")
                }
                await #expect {
                    try await pool.withConnection(a) { try await $0.query("SELECT * FROM bait") }
                } throws: {
                    ($0 as? PostgresError)?.sqlState == "42P01"
                }
            }
        }

        static let leaks: [String] = [
            "SET search_path TO public", "SELECT set_config('search_path', 'public', false)", "SELECT leak()",
            "SET ROLE NONE", "RESET ROLE", "RESET search_path", "RESET ALL", "DISCARD ALL",
            "SELECT set_config('role', 'none', false)", "SET SESSION statement_timeout TO '1h'", "LISTEN x",
        ]

        @Test(arguments: leaks)
        func whateverALeaseDoesToItsSessionTheNextOneSeesItsOwnTenant(statement: String) async throws {
            try await self.withTenants { pool, a, b in
                let database = try #require(TestDatabase.current)
                try await PostgresConnection.withConnection(database.superuser) {
                    try await $0.script(
                        """
                        CREATE FUNCTION \(a.schema).leak() RETURNS void LANGUAGE sql
                        AS $$ SELECT set_config('search_path', 'public', false) $$;
                        GRANT EXECUTE ON FUNCTION \(a.schema).leak() TO public
                        """)
                }
                try await pool.withConnection(a) {
                    _ = try await $0.query(PostgresStatement(statement, prepared: false))
                }
                for label in [a, b, a] {
                    try await self.expectOwnMarker(pool, label)
                }
                #expect(pool.statistics.leaksDetected == 1, "after \(statement)")
            }
        }

        @Test func aSettingRolledBackLeavesTheLabelRight() async throws {
            try await self.withTenants { pool, a, b in
                for label in [a, b, a] {
                    _ = try? await pool.withConnection(label) { lease in
                        try await lease.withTransaction { transaction in
                            try await transaction.query(PostgresStatement("SET LOCAL search_path TO public"))
                            try await transaction.query("SELECT 1/0")
                        }
                    }
                    try await self.expectOwnMarker(pool, label)
                }
                #expect(pool.statistics.leaksDetected == 0)
            }
        }

        @Test func aFailedFirstStatementTakesTheRelabellingBackAndTheNextOneBindsAgain() async throws {
            try await self.withTenants { pool, a, b in
                try await self.expectOwnMarker(pool, a)
                try await pool.withConnection(b) { lease in
                    _ = await #expect(throws: PostgresError.self) { try await lease.query("SELECT 1/0") }
                    let marker = try await Self.marker(lease)
                    #expect(marker == b.schema)
                }
                try await self.expectOwnMarker(pool, a)
                #expect(pool.statistics.leaksDetected == 0)
                #expect(pool.statistics.opened == 1)
            }
        }

        @Test func anOpenTransactionIsNeverHandedOn() async throws {
            try await self.withTenants { pool, a, b in
                try await pool.withConnection(a) { _ = try await $0.query(PostgresStatement("BEGIN", prepared: false)) }
                try await self.expectOwnMarker(pool, b)
                #expect(pool.statistics.discarded == 1)
                #expect(pool.statistics.opened == 2)
            }
        }

        @Test func aRoleKeepsTheOtherTenantsTablesOut() async throws {
            try await self.withTenants { pool, a, b in
                let spy: PostgresStatement = "SELECT tenant FROM \(identifier: b.schema).marker"
                await #expect { try await pool.withConnection(a) { try await $0.query(spy) } } throws: {
                    ($0 as? PostgresError)?.sqlState == "42501"
                }
            }
        }

        @Test func aLoginLabelAuthenticatesAsTheTenant() async throws {
            let database = try #require(TestDatabase.current)
            let tenants = try await MarkedTenants.make(2, in: database, password: "pw-\(database.name)")
            var configuration = PostgresPoolConfiguration(database.administrator)
            configuration.maximumConnections = 1
            configuration.password = { _ in "pw-\(database.name)" }
            try await PostgresPool.withPool(configuration) { pool in
                for _ in 0..<2 {
                    for label in tenants.labels {
                        let own = PostgresLabel(schema: label.schema, login: label.role)
                        let (marker, user) = try await pool.withConnection(own) { lease in
                            let user: String = try await lease.query("SELECT session_user").single()
                            return (try await Self.marker(lease), user)
                        }
                        #expect(marker == label.schema)
                        #expect(user == label.role)
                    }
                }
                #expect(pool.statistics.opened == 4)  // one place: each change of login needs a new connection
                await #expect {
                    try await pool.withConnection(
                        PostgresLabel(schema: tenants.labels[0].schema, login: tenants.labels[0].role)
                    ) {
                        try await $0.query("SET ROLE \(identifier: tenants.labels[1].role ?? "")")
                    }
                } throws: {
                    ($0 as? PostgresError)?.sqlState == "42501"
                }
            }
        }

        @Test func aCallerWhoWaitsTooLongGetsATypedError() async throws {
            try await self.withTenants { pool, a, b in
                try await pool.withConnection(a) { _ in
                    _ = await #expect {
                        try await pool.withConnection(b, deadline: .now.advanced(by: .milliseconds(20))) { _ in }
                    } throws: {
                        ($0 as? PostgresError)?.code == .checkoutTimedOut
                    }
                }
                #expect(pool.statistics.timedOut == 1)
                try await self.expectOwnMarker(pool, b)
            }
        }

        @Test func aCancelledCallerStopsWaiting() async throws {
            try await self.withTenants { pool, a, b in
                try await pool.withConnection(a) { _ in
                    let waiting = Task { try await pool.withConnection(b) { _ in } }
                    while pool.statistics.waiting == 0 { await Task.yield() }
                    waiting.cancel()
                    let result = await waiting.result
                    #expect { try result.get() } throws: { ($0 as? PostgresError)?.code == .cancelled }
                    #expect(pool.statistics.waiting == 0)
                }
            }
        }

        @Test func aBusyTenantDoesNotStarveAQuietOne() async throws {
            try await self.withTenants(budget: 2) { pool, busy, quiet in
                let order = Recorder()
                let gate = Gate()
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for _ in 0..<2 { group.addTask { try await pool.withConnection(busy) { _ in await gate.wait() } } }
                    while pool.statistics.leased < 2 { await Task.yield() }
                    for _ in 0..<50 {
                        group.addTask {
                            try await pool.withConnection(busy) { _ in order.append(busy.schema) }
                        }
                    }
                    while pool.statistics.waiting < 50 { await Task.yield() }
                    group.addTask {
                        try await pool.withConnection(quiet) { _ in order.append(quiet.schema) }
                    }
                    while pool.statistics.waiting < 51 { await Task.yield() }
                    gate.open()
                    try await group.waitForAll()
                }
                let place = try #require(order.values.firstIndex(of: quiet.schema))
                #expect(place <= 2, "the quiet tenant came last in a queue of 51 and was served as number \(place)")
            }
        }

        @Test func theBudgetHoldsUnderAStorm() async throws {
            try await self.withTenants(budget: 3) { pool, a, b in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for number in 0..<200 {
                        let label = number.isMultiple(of: 2) ? a : b
                        group.addTask {
                            let marker = try await pool.withConnection(label) { try await Self.marker($0) }
                            #expect(marker == label.schema)
                        }
                    }
                    try await group.waitForAll()
                }
                #expect(pool.statistics.connections <= 3)
                #expect(pool.statistics.opened <= 3)
            }
        }

        @Test func connectionsAreRecycledByTheNumberOfTenantsServed() async throws {
            try await self.withTenants(configuring: 1) { pool, a, b in
                for label in [a, b, a, b] { try await pool.withConnection(label) { _ = try await Self.marker($0) } }
                #expect(pool.statistics.opened == 4)
                #expect(pool.statistics.recycled >= 3)
            }
        }

        private func withTenants(
            configuring maximumTenants: Int, _ body: (PostgresPool, PostgresLabel, PostgresLabel) async throws -> Void
        ) async throws {
            try await self.withTenants(budget: 1, { $0.maximumTenantsPerConnection = maximumTenants }, body)
        }

        @Test func afterShutDownNothingIsLentAndNothingStaysConnected() async throws {
            let database = try #require(TestDatabase.current)
            let tenants = try await MarkedTenants.make(1, in: database)
            var configuration = PostgresPoolConfiguration(database.administrator)
            configuration.connection.applicationName = database.name
            let pool = try await PostgresPool.withPool(configuration) { pool in
                _ = try await pool.withConnection(tenants.labels[0]) { try await Self.marker($0) }
                return pool
            }
            await #expect { try await pool.withConnection(tenants.labels[0]) { _ in } } throws: {
                ($0 as? PostgresError)?.code == .poolShutDown
            }
            #expect(pool.statistics.connections == 0)
            try await PostgresConnection.withConnection(database.superuser) { connection in
                try await connection.waitUntil(
                    "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = \(database.name))")
            }
        }

        @Test func aServerThatCannotBeReachedFailsTheCallerAtOnce() async throws {
            let configuration = PostgresPoolConfiguration(PostgresConfiguration("host=/nonexistent port=1"))
            try await PostgresPool.withPool(configuration) { pool in
                _ = await #expect { try await pool.withConnection(PostgresLabel(schema: "a")) { _ in } } throws: {
                    ($0 as? PostgresError)?.code == .connectionFailed
                }
            }
        }
    }
}

/// Schemas with a role and a table `marker` that holds the schema's name.
struct MarkedTenants {
    let labels: [PostgresLabel]

    static func make(_ count: Int, in database: TestDatabase, password: String? = nil) async throws -> MarkedTenants {
        let names = (0..<count).map { _ in TestDatabase.uniqueName("t") }
        try await PostgresConnection.withConnection(database.superuser) { connection in
            let administrator = try await PostgresConnection.withConnection(database.administrator) { $0.endpoint.user }
            for name in names {
                let login = password.map { "LOGIN PASSWORD \(PostgresIdentifier.literal($0))" } ?? "NOLOGIN"
                try await connection.pipeline(
                    [
                        "CREATE ROLE \(name) \(login)", "GRANT \(name) TO \(administrator)",
                        "CREATE SCHEMA \(name) AUTHORIZATION \(name)",
                        "CREATE TABLE \(name).marker AS SELECT '\(name)'::text AS tenant",
                        "ALTER TABLE \(name).marker OWNER TO \(name)",
                    ].map { PostgresStatement($0, prepared: false) })
            }
        }
        return MarkedTenants(labels: names.map { PostgresLabel(schema: $0, role: $0) })
    }
}

/// Remembers texts in the order in which they came.
final class Recorder: Sendable {
    private let state = Mutex<[String]>([])
    var values: [String] { self.state.withLock { $0 } }
    func append(_ value: String) { self.state.withLock { $0.append(value) } }
}

/// Holds everyone up until it is opened.
final class Gate: Sendable {
    private struct State {
        var isOpen = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    func wait() async {
        await withCheckedContinuation { continuation in
            let isOpen = self.state.withLock { state in
                if !state.isOpen { state.waiting.append(continuation) }
                return state.isOpen
            }
            if isOpen { continuation.resume() }
        }
    }

    func open() {
        let waiting = self.state.withLock { state in
            state.isOpen = true
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }
}
