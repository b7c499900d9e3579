import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// What one tenant can do against the removal of another one, with no right on its things. Issue 11, point 2.
    @Suite(
        .serialized, .privateServer { _ in [ServerSetting("max_prepared_transactions", "10")] },
        .timeLimit(.minutes(40)))
    struct TenantRemovalIntruderTests {
        @Test("C2, C3: another tenant's locks, in a session or prepared, hold up no removal", arguments: [false, true])
        func anothersLocksHoldUpNoRemoval(isPrepared: Bool) async throws {
            try await self.withPair { admin, name, other in
                try await TenantFixture.withTenant(other) { intruder in
                    try await intruder.script("SELECT lo_create(4711)")
                    // No right is asked for: the view's tables stay locked, and so does the role.
                    try await intruder.script(
                        """
                        BEGIN; GRANT SELECT ON LARGE OBJECT 4711 TO \(name)_runtime;
                        SELECT pg_get_viewdef(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                        WHERE n.nspname = '\(name)' AND c.relname = 'cloacina_pipeline_list'
                        """)
                    if isPrepared { try await intruder.script("PREPARE TRANSACTION 'kept'") }
                    let report = try await admin.removeTenant(named: name)
                    #expect(report.rolledBackTransactions == (isPrepared ? 1 : 0))
                }
                let audit = try await TenantFixture.withSuperuser { connection in
                    try await connection.query(
                        """
                        SELECT detail FROM cloacina.audit WHERE action = 'tenant.intruder_ended' AND tenant_name = \(name)
                        """
                    ).column("detail", as: String.self)
                }
                #expect(audit.contains { $0.contains(other.username) && $0.contains("kept") == isPrepared })
            }
        }

        /// Two of them, in their own database or in another one: what the one gives, the other changes and doesn't commit.
        @Test(
            "C2, C3: a change of what a third one was given, which is not committed, holds up no removal",
            arguments: ["postgres", nil], [false, true])
        func anUncommittedChangeHoldsUpNoRemoval(elsewhere: String?, isPrepared: Bool) async throws {
            try await self.withPair { admin, name, other in
                let given = try await admin.reissueCredentials(forTenant: name).credentials
                var (owner, intruder) = (
                    PostgresConfiguration(given.connectionString), PostgresConfiguration(other.connectionString)
                )
                if let elsewhere { (owner.database, intruder.database) = (elsewhere, elsewhere) }
                let object: Int = try await PostgresConnection.withConnection(owner) { connection in
                    let object: Int = try await connection.query("SELECT lo_create(0)::bigint AS object").single()
                    try await connection.script(
                        "GRANT SELECT ON LARGE OBJECT \(object) TO \(other.username) WITH GRANT OPTION")
                    return object
                }
                try await PostgresConnection.withConnection(intruder) { connection in
                    try await connection.script("BEGIN; GRANT SELECT ON LARGE OBJECT \(object) TO PUBLIC")
                    if isPrepared { try await connection.script("PREPARE TRANSACTION 'held'") }
                    let report = try await admin.removeTenant(named: name)
                    #expect(report.unlinkedLargeObjects == 1)
                    // A session that has prepared its transaction is in nobody's way.
                    if !isPrepared {
                        await #expect(throws: PostgresError.self) { try await connection.query("SELECT 1") }
                    }
                }
            }
        }

        /// A backup, for example, has read what is to go, and waits for a table of somebody else's.
        @Test("C2: whoever is waited for by a session in the way is ended by no removal", arguments: [false, true])
        func whatASessionInTheWayWaitsForIsLeftAlone(isPrepared: Bool) async throws {
            try await self.withPair { admin, name, other in
                let own = "\(other.tenant).own"
                try await TenantFixture.withSuperuser {
                    try await $0.script("CREATE TABLE \(own) (id int); GRANT ALL ON \(own) TO \(other.username)")
                }
                try await TenantFixture.withTenant(other) { innocent in
                    try await innocent.script("BEGIN; LOCK TABLE own")
                    if isPrepared { try await innocent.script("PREPARE TRANSACTION 'innocent'") }
                    try await TenantFixture.withSuperuser { backup in
                        let pid = backup.backendPID
                        try await backup.script("BEGIN; LOCK TABLE \(name).items IN ACCESS SHARE MODE")
                        let waiting = Task {
                            try await backup.script("LOCK TABLE \(other.tenant).own IN ACCESS SHARE MODE")
                        }
                        try await TenantFixture.withSuperuser {
                            try await $0.waitUntil("SELECT cardinality(pg_blocking_pids(\(pid))) > 0")
                        }
                        let error = await #expect(throws: AdminError.self) {
                            try await admin.removeTenant(named: name, patience: .seconds(2))
                        }
                        #expect(error?.code == .busy && error?.message.contains("pid \(pid) of") == true)
                        // The innocent one's lock is still there, or its session.
                        try await innocent.script(isPrepared ? "ROLLBACK PREPARED 'innocent'" : "COMMIT")
                        try await waiting.value
                        try await backup.script("ROLLBACK")
                    }
                }
                try await admin.removeTenant(named: name)
            }
        }

        /// The administrator may not use it, and nothing is asked of it but the catalogs.
        @Test("C3: another database's schema of the registry's name is no registry, whoever owns it")
        func aStrangersSchemaOfTheRegistrysNameIsNoRegistry() async throws {
            try await self.withPair { admin, name, _ in
                let given = try await admin.reissueCredentials(forTenant: name).credentials
                var configuration = try #require(TestDatabase.current).superuser
                configuration.database = "postgres"
                try await PostgresConnection.withConnection(configuration) { stranger in
                    try await stranger.script("CREATE SCHEMA cloacina")
                    try await self.asTenant(given, in: "postgres") { try await $0.script("SELECT lo_create(4713)") }
                    let report = try await admin.removeTenant(named: name)
                    #expect(report.cleanedDatabases == ["postgres"])
                    try await stranger.script("DROP SCHEMA cloacina")
                }
            }
        }

        /// One that has read the catalog of roles, and another one who keeps all from writing it.
        @Test("C2: a prepared transaction whose lock is in nobody's way stays")
        func aPreparedTransactionInNobodysWayStays() async throws {
            try await self.withPair { admin, name, other in
                try await TenantFixture.withTenant(other) {
                    try await $0.script(
                        "BEGIN; SELECT count(*) FROM pg_roles; PREPARE TRANSACTION 'reader'")
                }
                try await TenantFixture.withSuperuser { stranger in
                    try await stranger.script("BEGIN; LOCK TABLE pg_authid IN SHARE MODE")
                    let error = await #expect(throws: AdminError.self) {
                        try await admin.removeTenant(named: name, patience: .seconds(2))
                    }
                    #expect(error?.code == .busy)
                    try await stranger.script("ROLLBACK")
                }
                try await TenantFixture.withTenant(other) { try await $0.script("ROLLBACK PREPARED 'reader'") }
                try await admin.removeTenant(named: name)
            }
        }

        @Test("C2: another tenant's locks hold up no migration")
        func anothersLocksHoldUpNoMigration() async throws {
            try await self.withPair { admin, name, other in
                let file = try Migration(
                    fileName: "0001_locks.tenant.sql",
                    contents: Array(
                        """
                        -- migrate:up
                        LOCK TABLE cloacina_pipelines IN ACCESS EXCLUSIVE MODE;
                        CREATE TABLE made (id int);
                        """.utf8))
                let set = try MigrationSet(source: "locking", lane: .tenant, migrations: [file])
                try await TenantFixture.withTenant(other) { intruder in
                    try await intruder.script(
                        """
                        BEGIN;
                        SELECT pg_get_viewdef(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                        WHERE n.nspname = '\(name)' AND c.relname = 'cloacina_pipeline_list'
                        """)
                    let report = try await admin.migrate(tenant: name, sets: try TenantFixture.sets() + [set])
                    #expect(report.results.map(\.outcome) == [.migrated])
                }
                try await admin.removeTenant(named: name)
            }
        }

        /// Locks the tables of a tenant's list of pipelines, as anybody may.
        private static func lockingScript(_ name: String) -> String {
            """
            BEGIN; SELECT pg_get_viewdef(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = '\(name)' AND c.relname = 'cloacina_pipeline_list'
            """
        }

        @Test("C2: another tenant's locks hold up no statement that runs outside of a transaction")
        func anothersLocksHoldUpNoStatementOnItsOwn() async throws {
            try await self.withPair { admin, name, other in
                let set = try MigrationFixture.set(
                    [1: "-- migrate:no-transaction\nVACUUM (FULL) cloacina_pipelines;"], source: "locking")
                var configuration = MigrationRunner.Configuration()
                configuration.concurrentLockTimeout = .milliseconds(200)
                try await TenantFixture.withTenant(other) { intruder in
                    try await intruder.script(Self.lockingScript(name))
                    let report = try await admin.migrate(
                        tenant: name, sets: try TenantFixture.sets() + [set], configuration: configuration)
                    #expect(report.results.map(\.outcome) == [.migrated], "\(report)")
                }
                try await admin.removeTenant(named: name)
            }
        }

        @Test("C2: another tenant's locks hold up no file of a new tenant")
        func anothersLocksHoldUpNoNewTenantsFile() async throws {
            try await self.withPair { admin, name, other in
                let new = TenantFixture.name()
                let broken = try MigrationFixture.set([1: "SELECT 1 / 0;"])
                let mended = try MigrationFixture.set([1: "LOCK TABLE cloacina_pipelines IN ACCESS EXCLUSIVE MODE;"])
                await #expect(throws: AdminError.self) {
                    try await admin.createTenant(TenantFixture.config(new, sets: [broken]))
                }
                try await TenantFixture.withTenant(other) { intruder in
                    try await intruder.script(Self.lockingScript(new))
                    _ = try await admin.createTenant(TenantFixture.config(new, sets: [mended]))
                }
                #expect(try await admin.tenant(named: new).state == .active)
                for name in [new, name] { try await admin.removeTenant(named: name) }
            }
        }

        @Test(
            "C3: what another tenant granted to the tenant's roles, here and elsewhere, is taken back; the rest stays its own"
        )
        func anothersGrantsAreTakenBack() async throws {
            try await self.withPair { admin, name, other in
                for database in [nil, "postgres"] {
                    try await self.asTenant(other, in: database) { intruder in
                        try await intruder.script(
                            """
                            SELECT lo_from_bytea(4711, 'mine');
                            GRANT ALL ON LARGE OBJECT 4711 TO \(name)_a, \(name)_runtime, \(name)_owner WITH GRANT OPTION;
                            ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO \(name)_runtime
                            """)
                        try await intruder.script(
                            """
                            SET ROLE \(other.tenant)_runtime; SELECT lo_create(4712);
                            GRANT SELECT ON LARGE OBJECT 4712 TO \(name)_engine
                            """)
                    }
                }
                let report = try await admin.removeTenant(named: name)
                #expect(report.cleanedDatabases == ["postgres"])
                #expect(report.unlinkedLargeObjects == 0)
                for database in [nil, "postgres"] {
                    try await self.asTenant(other, in: database) { intruder in
                        let mine: String = try await intruder.query("SELECT convert_from(lo_get(4711), 'utf8')")
                            .single()
                        #expect(mine == "mine")
                    }
                }
                let kept: [String] = try await TenantFixture.withSuperuser { connection in
                    try await connection.query(
                        """
                        SELECT m.roleid::regrole::text AS role FROM pg_auth_members m
                        WHERE m.grantor <> 10 AND m.member = (SELECT nspowner FROM pg_namespace WHERE nspname = 'cloacina')
                        ORDER BY 1
                        """
                    ).column("role")
                }
                #expect(kept == ["\(other.tenant)_engine", "\(other.tenant)_owner"])
            }
        }

        @Test("C3: another tenant that grants time and again holds up no removal")
        func anotherThatGrantsTimeAndAgainHoldsUpNoRemoval() async throws {
            try await self.withPair { admin, name, other in
                try await self.asTenant(other, in: nil) { try await $0.script("SELECT lo_create(4711)") }
                let grants = """
                    DO $$ BEGIN
                        FOR attempt IN 1..100000 LOOP
                            BEGIN
                                GRANT SELECT ON LARGE OBJECT 4711 TO \(name)_runtime, \(name)_a;
                            EXCEPTION WHEN internal_error THEN NULL;
                            END;
                            COMMIT;
                        END LOOP;
                    END $$
                    """
                let report = try await withThrowingTaskGroup(of: Void.self) { group in
                    let (begun, continuation) = AsyncStream.makeStream(of: Void.self)
                    for _ in 0..<4 {
                        group.addTask {
                            while !Task.isCancelled {
                                try? await self.asTenant(other, in: nil) { intruder in
                                    continuation.yield()
                                    try await intruder.script(grants)
                                }
                                await Task.yield()
                            }
                        }
                    }
                    for await _ in begun { break }
                    defer { group.cancelAll() }
                    return try await admin.removeTenant(named: name)
                }
                #expect(report.proof.allSatisfy { $0.remaining == 0 })
            }
        }

        /// Lends a tenant that is to go, by name, and another one.
        private func withPair(_ body: (DatabaseAdmin, String, TenantCredentials) async throws -> Void) async throws {
            try await withPrivateDatabase { _ in
                let name = TenantFixture.name()
                try await TenantFixture.withAdmin(patience: .seconds(60)) { admin in
                    _ = try await admin.createTenant(TenantFixture.config(name, sets: TenantFixture.sets()))
                    let other = try await admin.createTenant(TenantConfig(name: TenantFixture.name()))
                    try await body(admin, name, other)
                    #expect(try await TenantFixture.traces(of: name).isEmpty)
                    try await TenantFixture.withTenant(other) { try await $0.query("SELECT 1") }
                    try await admin.removeTenant(named: other.tenant)
                }
            }
        }

        private func asTenant(
            _ credentials: TenantCredentials, in database: String?, _ body: (PostgresConnection) async throws -> Void
        ) async throws {
            var configuration = PostgresConfiguration(credentials.connectionString)
            if let database { configuration.database = database }
            try await PostgresConnection.withConnection(configuration, body)
        }
    }
}
