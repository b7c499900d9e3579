import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Synchronization
import Testing

extension ServerTests {
    /// C2: administration excludes itself, and nobody else can hold it up.
    @Suite(.timeLimit(.minutes(40))) struct LeaseTests {
        private func withAdministrator<R>(
            named name: String = "other deployment", _ body: (PostgresConnection) async throws -> R
        ) async throws -> R {
            var configuration = try #require(TestDatabase.current).administrator
            configuration.applicationName = name
            return try await PostgresConnection.withConnection(configuration, body)
        }

        private func keeper(_ connection: PostgresConnection) -> LeaseKeeper {
            LeaseKeeper(connection: connection, schema: "cloacina")
        }

        @Test("C2: a tenant that squats on every lock it can take holds up no administration")
        func aSquattingTenantHoldsUpNothing() async throws {
            let (own, sibling, new) = (TenantFixture.name(), TenantFixture.name(), TenantFixture.name())
            try await TenantFixture.withAdmin { admin in
                let credentials = try await admin.createTenant(TenantConfig(name: own))
                _ = try await admin.createTenant(TenantConfig(name: sibling))
                try await TenantFixture.withTenant(credentials) { squatter in
                    // The keys of the advisory locks of earlier versions, and whatever else is to be had.
                    try await squatter.query(
                        """
                        SELECT pg_advisory_lock(x'434C4F54'::int, hashtext(n)),
                               pg_advisory_lock(x'434C4F41'::int, hashtext(n)), pg_advisory_lock(hashtextextended(n, 0))
                        FROM unnest(\(["", "bootstrap", "fleet", "control", own, sibling, new])::text[]) n
                        """)
                    try await squatter.query(
                        """
                        SELECT pg_advisory_lock(k, o.id) FROM unnest(ARRAY[x'434C4F54'::int, x'434C4F41'::int]) k,
                            (SELECT 0 AS id UNION ALL SELECT oid::bigint::int FROM pg_namespace WHERE oid < 2147483648) o
                        """)
                    for sql in [
                        "DO $$ BEGIN LOCK TABLE cloacina.leases; END $$", "SELECT * FROM cloacina.leases FOR UPDATE",
                        "DO $$ BEGIN LOCK TABLE cloacina.tenants IN ACCESS SHARE MODE; END $$",
                        "DELETE FROM cloacina.leases",
                        "INSERT INTO cloacina.leases SELECT gen_random_uuid(), 'fleet', false, 1, NULL, 1, '', ''",
                    ] {
                        let error = await #expect(throws: PostgresError.self) {
                            try await squatter.query(PostgresStatement(sql, prepared: false))
                        }
                        #expect(error?.sqlState == "42501", "\(sql)")
                    }
                    try await admin.bootstrap()
                    _ = try await admin.createTenant(TenantConfig(name: new))
                    let report = try await admin.migrate(sets: TenantFixture.sets())
                    #expect(report.failures.isEmpty)
                    try await admin.reissueCredentials(forTenant: new)
                    for name in [new, sibling, own] { try await admin.removeTenant(named: name) }
                }
            }
            for name in [own, sibling, new] { #expect(try await TenantFixture.traces(of: name).isEmpty) }
        }

        private static let acme = Lease(object: "tenant acme")
        private static let pairs: [(Lease, Lease, Bool)] = [
            (.control, .control, true), (.control, .tenants, true), (.tenants, .control, true),
            (.tenants, .tenants, false), (Self.acme, Self.acme, true),
            (Self.acme, Lease(object: "tenant globex"), false), (Self.acme, .control, false),
        ]

        @Test("C2: two sessions exclude each other as their leases say", arguments: 0..<7)
        func leasesExcludeEachOther(index: Int) async throws {
            let (first, second, isExcluded) = Self.pairs[index]
            try await self.withAdministrator { one in
                try await self.keeper(one).makeTable()
                try await self.keeper(one).makeTable()
                let held = try #require(try await self.keeper(one).attempt(first).held)
                try await self.withAdministrator { two in
                    let early = try await self.keeper(two).attempt(second)
                    #expect((early == .held) == isExcluded)
                    if let early = early.held { #expect(await self.keeper(two).release([early])) }
                    // A session never keeps itself out.
                    let again = try #require(try await self.keeper(one).attempt(first).held)
                    #expect(await self.keeper(one).release([again]))
                    let late = try await self.keeper(two).attempt(second)
                    #expect((late == .held) == isExcluded)
                    if let late = late.held { #expect(await self.keeper(two).release([late])) }
                    #expect(try await self.keeper(one).isHeld(held))
                    #expect(await self.keeper(one).release([held]))
                    #expect(try await self.keeper(one).isHeld(held) == false)
                    #expect(try await self.keeper(two).attempt(second).held != nil)
                }
            }
        }

        @Test("V32: two clients to which a pooler lends one backend exclude each other as two sessions do")
        func twoClientsOfOneBackendExcludeEachOther() async throws {
            try await self.withAdministrator { backend in
                let one = LeaseKeeper(connection: backend, schema: "cloacina", session: 1)
                let two = LeaseKeeper(connection: backend, schema: "cloacina", session: 2)
                try await one.makeTable()
                let held = try #require(try await one.attempt(Self.acme).held)
                #expect(try await two.attempt(Self.acme) == .held)
                #expect(await two.holders(of: Self.acme).map(\.pid) == [backend.backendPID])
                let again = try #require(try await one.attempt(Self.acme).held)
                #expect(await one.release([again, held]))
                #expect(try await two.attempt(Self.acme).held != nil)
                #expect(try await one.attempt(Self.acme) == .held)
            }
        }

        @Test("V32: behind a pooler, in whatever mode, administration and leases are refused before anything is done")
        func behindAPoolerAdministrationIsRefused() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { _ in }
            try await FaultyProxy.with { proxy, configuration in
                proxy.mode = .pooled
                var declared = configuration
                declared.pooling = .session
                for pooling in [PostgresPooling.detect, .session, .transaction] {
                    var pooled = configuration
                    pooled.pooling = pooling
                    let admin = DatabaseAdmin(pooled)
                    let calls: [() async throws -> Void] = [
                        { try await admin.bootstrap() },
                        { _ = try await admin.createTenant(TenantConfig(name: name)) },
                        { _ = try await admin.migrate() },
                    ]
                    for call in calls {
                        let error = await #expect(throws: AdminError.self) { try await call() }
                        #expect(error?.code == .invalidConfiguration)
                        #expect(error?.message.contains("need a direct connection") == true)
                    }
                    await admin.close()
                }
                try await PostgresConnection.withConnection(declared) { connection in
                    let error = await #expect(throws: PostgresError.self) {
                        try await self.keeper(connection).attempt(Self.acme)
                    }
                    #expect(error?.code == .poolerUnsupported)
                }
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
        }

        @Test("C2: a holder that is killed frees its lease at once")
        func aKilledHolderFreesItsLease() async throws {
            try await self.withAdministrator { one in
                try await self.keeper(one).makeTable()
                _ = try #require(try await self.keeper(one).attempt(Self.acme).held)
                try await self.withAdministrator { two in
                    #expect(try await self.keeper(two).attempt(Self.acme) == .held)
                    try await TenantFixture.withSuperuser { connection in
                        let kill: PostgresStatement = "SELECT pg_terminate_backend(\(one.backendPID), 60000)"
                        let isKilled: Bool = try await connection.query(kill).single()
                        #expect(isKilled)
                    }
                    let attempt = try await self.keeper(two).attempt(Self.acme)
                    #expect(attempt.held != nil)
                }
            }
        }

        @Test(
            "C2: a row of a session that is not the holder's any more is worth nothing",
            arguments: ["holder = 10", "backend_start = backend_start - interval '1 s'", "pid = -1"])
        func aRowWithoutItsHolderIsWorthNothing(change: String) async throws {
            try await self.withAdministrator { one in
                try await self.keeper(one).makeTable()
                _ = try #require(try await self.keeper(one).attempt(Self.acme).held)
                try await one.query(PostgresStatement("UPDATE cloacina.leases SET \(change)", prepared: false))
                try await self.withAdministrator { two in
                    let attempt = try await self.keeper(two).attempt(Self.acme)
                    #expect(attempt.held != nil)
                }
            }
        }

        @Test("C2: who is refused learns who holds the lease: process, role, application, since when")
        func whoIsRefusedLearnsWhoHoldsTheLease() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                try await self.withAdministrator { holder in
                    _ = try #require(try await self.keeper(holder).attempt(Lease(object: "tenant \(name)")).held)
                    let errors = [
                        await #expect(throws: AdminError.self) { try await admin.removeTenant(named: name) },
                        await #expect(throws: AdminError.self) {
                            try await admin.createTenant(TenantConfig(name: name))
                        },
                        await #expect(throws: AdminError.self) {
                            try await admin.reissueCredentials(forTenant: name)
                        },
                    ]
                    let words = ["pid \(holder.backendPID) other deployment", "role \(holder.endpoint.user)", "since "]
                    for error in errors {
                        #expect(error?.code == .busy)
                        for word in words { #expect(error?.message.contains(word) == true, "\(error?.message ?? "")") }
                    }
                }
                #expect(try await admin.tenant(named: name).state == .active)
                try await admin.removeTenant(named: name)
            }
        }

        @Test("C2: a fleet that finds the shared lease taken gives up once, not once per tenant")
        func aFleetGivesUpOnTheSharedLeaseOnce() async throws {
            let names = (0..<3).map { _ in TenantFixture.name() }.sorted()
            var migration = MigrationRunner.Configuration()
            migration.lockWait = .zero
            let admin = DatabaseAdmin(
                try #require(TestDatabase.current).administrator, faults: .none, migration: migration)
            try await admin.bootstrap()
            for name in names { _ = try await admin.createTenant(TenantConfig(name: name)) }
            let sets = try TenantFixture.sets()
            try await self.withAdministrator { holder in
                let keeper = self.keeper(holder)
                let held = try #require(try await keeper.attempt(.control).held)
                // Whoever asked again after the first refusal would be let in.
                let report = try await admin.migrate(sets: sets) { _ in await keeper.release([held]) }
                #expect(report.results.map(\.outcome) == [.busy, .busy, .busy])
                #expect(report.results.allSatisfy { $0.error?.contains("other deployment") == true })
            }
            #expect(try await admin.migrate(sets: sets).failures.isEmpty)
            for name in names { try await admin.removeTenant(named: name) }
            await admin.close()
        }

        @Test("C2: a table of leases that somebody locks is waited for in bounds")
        func aLockedTableOfLeasesIsWaitedForInBounds() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                try await TenantFixture.withSuperuser { holder in
                    try await holder.script("BEGIN; LOCK TABLE cloacina.leases IN ACCESS EXCLUSIVE MODE")
                    let error = await #expect(throws: AdminError.self) {
                        try await admin.reissueCredentials(forTenant: name)
                    }
                    #expect(error?.code == .busy)
                    try await holder.script("ROLLBACK")
                }
                try await admin.removeTenant(named: name)
            }
        }

        @Test("C2: a tenant that is being created is migrated once it is there, and not reported as broken off")
        func aTenantThatIsBeingCreatedIsWaitedFor() async throws {
            let name = TenantFixture.name()
            let database = try #require(TestDatabase.current)
            let migration = Mutex<Task<FleetReport, any Error>?>(nil)
            let faults = FaultPoints { step, moment in
                guard step == .provision, moment == .before else { return }
                let task = Task {
                    let other = DatabaseAdmin(database.administrator)
                    let report = try await other.migrate()
                    await other.close()
                    return report
                }
                migration.withLock { $0 = task }
                try await TenantFixture.withSuperuser { watcher in
                    try await watcher.waitUntil(
                        """
                        SELECT EXISTS (SELECT FROM pg_stat_activity
                                       WHERE datname = current_database() AND query LIKE '%/* lease */')
                        """)
                }
            }
            try await TenantFixture.withAdmin(faults: faults) { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                let task = try #require(migration.withLock { $0 })
                let report = try await task.value
                #expect(report.results.isEmpty)
                #expect(report.upToDate == 1)
                try await admin.removeTenant(named: name)
            }
        }

        @Test("C2: a creation and the migration of the same tenant exclude each other")
        func migrationAndRemovalExcludeEachOther() async throws {
            let name = TenantFixture.name()
            var migration = MigrationRunner.Configuration()
            migration.lockWait = .zero
            let admin = DatabaseAdmin(
                try #require(TestDatabase.current).administrator, faults: .none, migration: migration)
            try await admin.bootstrap()
            _ = try await admin.createTenant(TenantConfig(name: name))
            try await self.withAdministrator { holder in
                let held = try #require(try await self.keeper(holder).attempt(Lease(object: "tenant \(name)")).held)
                let report = try await admin.migrate(sets: TenantFixture.sets())
                #expect(report.results.map(\.outcome) == [.busy])
                // The server may end the session only a moment after it was closed.
                await self.keeper(holder).release([held])
            }
            try await admin.removeTenant(named: name)
            await admin.close()
        }
    }
}
