import CloacinaPostgres
import CloacinaTenancy
import Synchronization
import Testing

extension ServerTests {
    /// A server that goes away in the middle of things and comes back.
    ///
    /// One at a time, since they share a server. The limit includes waiting for a place.
    @Suite(.serialized, .privateServer, .timeLimit(.minutes(40))) struct ServerRestartTests {
        /// Lends the suite's server, running, with a fresh database as `TestDatabase.current`.
        private func withServer(_ body: (PrivateServer, TestDatabase) async throws -> Void) async throws {
            let server = try #require(PrivateServer.current)
            try await server.startAgain()
            let database = try await TestDatabase.create(on: server.access)
            try await TestDatabase.$current.withValue(database) { try await body(server, database) }
            try await database.drop()
        }

        // MARK: The pool

        /// How a lease ended; one that hangs is cancelled with the test.
        private static func code(of lease: Task<Void, any Error>) async -> PostgresError.Code? {
            let result = await withTaskCancellationHandler {
                await lease.result
            } onCancel: {
                lease.cancel()
            }
            guard case .failure(let error as PostgresError) = result else { return nil }
            return error.code
        }

        private static func markers(_ pool: PostgresPool, _ label: PostgresLabel) async throws -> [String] {
            try await pool.withConnection(label) { try await $0.query("SELECT tenant FROM marker").column("tenant") }
        }

        @Test func leasesOfAServerThatStopsEndAsLostAndThePoolWorksAgainWhenItIsBack() async throws {
            try await self.withServer { server, database in
                let tenants = try await MarkedTenants.make(2, in: database)
                let (a, b) = (tenants.labels[0], tenants.labels[1])
                var configuration = PostgresPoolConfiguration(database.administrator)
                configuration.maximumConnections = 6
                configuration.maximumPerTenant = 3
                try await PostgresPool.withPool(configuration) { pool in
                    let (isHeld, goOn) = (Gate(), Gate())
                    let inAStatement = [a, b].map { label in
                        Task { try await pool.withConnection(label) { _ = try await $0.query("SELECT pg_sleep(600)") } }
                    }
                    let inATransaction = Task {
                        try await pool.withConnection(a) { lease in
                            try await lease.withTransaction { transaction in
                                try await transaction.query("INSERT INTO marker VALUES ('half done')")
                                _ = try await transaction.query("SELECT pg_sleep(600)")
                            }
                        }
                    }
                    let betweenStatements = Task {
                        try await pool.withConnection(a) { lease in
                            try await lease.query("SELECT 1")
                            isHeld.open()
                            await goOn.wait()
                            _ = try await lease.query("SELECT 1")
                        }
                    }
                    await isHeld.wait()
                    // Tenant b leaves a connection idle; a fourth lease of tenant a has to wait.
                    #expect(try await Self.markers(pool, b) == [b.schema])
                    try await PostgresConnection.withConnection(database.superuser) { superuser in
                        try await superuser.waitUntil(
                            "SELECT count(*) = 3 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
                    }
                    let waiting = Task { try await pool.withConnection(a) { _ = try await $0.query("SELECT 1") } }
                    while pool.statistics.waiting == 0 { await Task.yield() }
                    #expect(pool.statistics.leased == 4)
                    #expect(pool.statistics.connections == 5)

                    try await server.stopImmediately()
                    goOn.open()
                    for lease in inAStatement + [inATransaction, betweenStatements] {
                        #expect(await Self.code(of: lease) == .connectionLost)
                    }
                    // It opened a connection in vain, or got one whose backend was about to end.
                    let waited = await Self.code(of: waiting)
                    #expect(waited == .connectionFailed || waited == .connectionLost)
                    for label in [a, b] {
                        await #expect {
                            _ = try await Self.markers(pool, label)
                        } throws: {
                            ($0 as? PostgresError)?.code == .connectionFailed
                        }
                    }
                    #expect(pool.statistics.leased == 0)
                    #expect(pool.statistics.waiting == 0)

                    try await server.startAgain()
                    try await withThrowingTaskGroup { group in
                        for label in [a, b, a, b, a, b, a, b, a, b] {
                            group.addTask { (label.schema, try await Self.markers(pool, label)) }
                        }
                        for try await (schema, markers) in group { #expect(markers == [schema]) }
                    }
                    #expect(pool.statistics.leased == 0)
                    #expect(pool.statistics.leaksDetected == 0)
                }
            }
        }

        // MARK: Creating a tenant

        /// What a restarted server shows of a creation that it interrupted.
        struct Interruption: Sendable, CustomTestStringConvertible {
            let step: OperationStep
            let moment: FaultPoints.Moment
            /// The last line of the ledger.
            let ledger: String
            /// Whether the schema and the four roles are there.
            let isProvisioned: Bool
            var testDescription: String { "\(self.moment) \(self.step)" }

            static let all = [
                Interruption(step: .reserve, moment: .after, ledger: "create provision started", isProvisioned: false),
                Interruption(step: .register, moment: .after, ledger: "create provision started", isProvisioned: false),
                Interruption(step: .deliver, moment: .before, ledger: "create deliver started", isProvisioned: true),
            ]
        }

        /// Stops the server, once, at a point of the first operation.
        private static func stop(
            _ server: PrivateServer, _ moment: FaultPoints.Moment, _ step: OperationStep, flush: Bool
        ) -> FaultPoints {
            let point = ArmedPoint()
            return FaultPoints { reached, when in
                guard reached == step, when == moment, point.fire() else { return }
                // The reservation is committed without waiting for the disk; a checkpoint makes it outlive the stop.
                if flush { _ = try await TenantFixture.withSuperuser { try await $0.query("CHECKPOINT") } }
                try await server.stopImmediately()
            }
        }

        /// Lends an administrator of the server, which stops at the point.
        private func withStoppingServer(
            _ moment: FaultPoints.Moment, _ step: OperationStep, flush: Bool = true,
            _ body: (PrivateServer, DatabaseAdmin) async throws -> Void
        ) async throws {
            try await self.withServer { server, _ in
                let faults = Self.stop(server, moment, step, flush: flush)
                try await TenantFixture.withAdmin(faults: faults) { admin in try await body(server, admin) }
            }
        }

        private func expectInterrupted(_ body: () async throws -> Void) async {
            let error = await #expect(throws: AdminError.self) { try await body() }
            #expect(error?.code == .connection)
        }

        @Test(arguments: Interruption.all)
        func aCreationThatTheServersStopInterruptsIsInTheLedgerAndASecondCallFinishesIt(
            at point: Interruption
        ) async throws {
            let config = TenantFixture.config(TenantFixture.name(), sets: try TenantFixture.sets())
            try await self.withStoppingServer(point.moment, point.step) { server, admin in
                await self.expectInterrupted { _ = try await admin.createTenant(config) }
                try await server.startAgain()
                #expect(try await admin.tenant(named: config.name).state == .creating)
                #expect(try await TenantFixture.ledger(of: config.name).last == point.ledger)
                #expect(try await TenantFixture.traces(of: config.name).count == (point.isProvisioned ? 6 : 0))

                let credentials = try await admin.createTenant(config)
                try await TenantFixture.withTenant(credentials) { try await $0.query("SELECT * FROM items") }
                #expect(try await admin.tenant(named: config.name).state == .active)
                let ledger = try await TenantFixture.ledger(of: config.name)
                #expect(ledger.last == "create deliver done")
                #expect(!ledger.contains { $0.hasSuffix("started") })
            }
        }

        @Test(arguments: [Interruption.all[0], Interruption.all[2]])
        func aCreationThatTheServersStopInterruptsIsUndoneByRemovingTheTenant(at point: Interruption) async throws {
            let name = TenantFixture.name()
            try await self.withStoppingServer(point.moment, point.step) { server, admin in
                await self.expectInterrupted { _ = try await admin.createTenant(TenantFixture.config(name)) }
                try await server.startAgain()
                #expect(try await TenantFixture.ledger(of: name).last == point.ledger)
                let report = try await admin.removeTenant(named: name)
                #expect(report.proof.allSatisfy { $0.remaining == 0 })
                #expect(try await admin.tenants().isEmpty)
                #expect(try await TenantFixture.traces(of: name).isEmpty)
                #expect(try await !TenantFixture.ledger(of: name).contains { $0.hasSuffix("started") })
            }
        }

        @Test func aReservationThatTheStopTookBackLeavesNothingInTheWay() async throws {
            let name = TenantFixture.name()
            try await self.withStoppingServer(.after, .reserve, flush: false) { server, admin in
                await self.expectInterrupted { _ = try await admin.createTenant(TenantFixture.config(name)) }
                try await server.startAgain()
                // Whether it reached the disk in time is the server's luck, but the registry and the ledger agree.
                let states = try await admin.tenants().map(\.state)
                let ledger = try await TenantFixture.ledger(of: name)
                #expect(states == (ledger.isEmpty ? [] : [.creating]))
                #expect(ledger.isEmpty || ledger.last == "create provision started")
                #expect(try await TenantFixture.traces(of: name).isEmpty)
                try await TenantFixture.withTenant(try await admin.createTenant(TenantFixture.config(name))) { _ in }
            }
        }
    }
}

/// Says yes once.
private final class ArmedPoint: Sendable {
    private let isArmed = Atomic(true)
    func fire() -> Bool { self.isArmed.exchange(false, ordering: .sequentiallyConsistent) }
}
