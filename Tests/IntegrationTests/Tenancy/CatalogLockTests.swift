import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// Locks on the server's catalogs, which every login may take, or wait for before it is refused; and what else of other databases
    /// reaches the administration: names of prepared transactions, numbers of roles, settings.
    ///
    /// A server of its own: a locked catalog holds up everybody.
    @Suite(
        .serialized, .privateServer { _ in [ServerSetting("max_prepared_transactions", "10")] },
        .timeLimit(.minutes(40)))
    struct CatalogLockTests {
        /// A command that changes a login, or reads what catalogs hold of one.
        enum Command: CaseIterable {
            case limit, reissue, reissueEndingSessions, create, remove

            func run(_ admin: DatabaseAdmin, on name: String) async throws {
                var options = ReissueOptions()
                switch self {
                case .limit: try await admin.setLimits(.none, forTenantNamed: name)
                case .reissue: try await admin.reissueCredentials(forTenant: name)
                case .reissueEndingSessions:
                    options.endsSessions = true
                    try await admin.reissueCredentials(forTenant: name, options: options)
                case .create:
                    let new = TenantFixture.name()
                    _ = try await admin.createTenant(TenantConfig(name: new))
                    try await admin.removeTenant(named: new)
                case .remove: try await admin.removeTenant(named: name)
                }
            }
        }

        @Test("A catalog that somebody locks holds up no command beyond the time to connect")
        func aLockedCatalogHoldsUpNoOpening() async throws {
            try await self.withPair { admin, name, _ in
                try await TenantFixture.withSuperuser { holder in
                    try await holder.script("BEGIN; LOCK TABLE pg_auth_members IN ACCESS EXCLUSIVE MODE")
                    var configuration = try #require(TestDatabase.current).administrator
                    configuration.connectTimeout = .seconds(2)
                    let hurried = DatabaseAdmin(configuration)
                    let error = await #expect(throws: AdminError.self) { try await hurried.tenant(named: name) }
                    #expect([.busy, .connection].contains(error?.code))
                    #expect(try await holder.query("SELECT 1").single() == 1)
                    try await holder.script("ROLLBACK")
                    #expect(try await hurried.tenant(named: name).state == .active)
                    await hurried.close()
                }
                try await admin.removeTenant(named: name)
            }
        }

        @Test(
            "Another tenant's locks on a catalog, and what it waits for there, hold up no command",
            arguments: Command.allCases)
        func anothersLocksOnACatalogHoldUpNoCommand(command: Command) async throws {
            try await self.withPair { admin, name, other in
                // Whoever is refused has waited for its lock first, and everybody else behind it.
                let wanted = """
                    CREATE TRIGGER t AFTER INSERT ON pg_authid FOR EACH STATEMENT
                    EXECUTE FUNCTION suppress_redundant_updates_trigger()
                    """
                var configuration = PostgresConfiguration(other.connectionString)
                configuration.database = "postgres"
                try await PostgresConnection.withConnection(configuration) { holder in
                    try await holder.script("SET lock_timeout = 0; BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'x'")
                    let waiter = try await PostgresConnection.connect(configuration)
                    try await waiter.script("SET lock_timeout = 0")
                    async let isRefused = Self.isRefused(wanted, waiter)
                    try await Self.awaitWaiter(for: "pg_authid")
                    let before = try await Self.endings(admin)
                    try await command.run(admin, on: name)
                    #expect(await isRefused)
                    #expect(try await Self.endings(admin) > before)
                    await waiter.close()
                }
                if command != .remove { try await admin.removeTenant(named: name) }
            }
        }

        @Test("Whoever is no tenant and holds a login, or a catalog, is named and not ended")
        func strangersThatHoldACatalogAreNamed() async throws {
            try await self.withPair { _, name, _ in
                try await TenantFixture.withAdmin(patience: .seconds(5), bootstrap: false) { admin in
                    try await TenantFixture.withSuperuser { stranger in
                        let named = "pid \(stranger.backendPID) of "
                        for (lock, command) in [
                            ("ALTER ROLE \(name)_a CONNECTION LIMIT 3", Command.reissue),
                            ("LOCK TABLE pg_shdepend IN ACCESS EXCLUSIVE MODE", .remove),
                        ] {
                            try await stranger.script("BEGIN; \(lock)")
                            let error = await #expect(throws: AdminError.self) {
                                try await command.run(admin, on: name)
                            }
                            #expect(error?.code == .busy)
                            #expect(error?.message.contains(named) == true, "\(error?.message ?? "")")
                            #expect(error?.message.contains("--end-sessions") == false)
                            try await stranger.script("ROLLBACK")
                        }
                    }
                    // Nothing was begun.
                    #expect(try await admin.tenant(named: name).state == .active)
                    try await admin.removeTenant(named: name)
                }
            }
        }

        @Test(
            "A prepared transaction of any name goes with its tenant, and holds up nobody else's removal",
            arguments: [("SQL_ASCII", #"E'\xff\xfe\\x'"#), ("LATIN1", "'caf\u{e9}'"), ("UTF8", "'caf\u{e9}'")])
        func aPreparedTransactionOfAnyNameIsRolledBack(encoding: String, identifier: String) async throws {
            try await self.withPair { admin, name, other in
                let database = TestDatabase.uniqueName("encoded")
                try await self.asSuperuser(
                    "CREATE DATABASE \(database) TEMPLATE template0 ENCODING '\(encoding)' LC_COLLATE 'C' LC_CTYPE 'C'")
                var configuration = PostgresConfiguration(other.connectionString)
                configuration.database = database
                try await PostgresConnection.withConnection(configuration) { intruder in
                    try await intruder.script("SELECT lo_create(4711)")
                    try await intruder.script(
                        """
                        BEGIN; GRANT SELECT ON LARGE OBJECT 4711 TO \(name)_a; PREPARE TRANSACTION \(identifier)
                        """)
                }
                #expect(try await admin.removeTenant(named: name).rolledBackTransactions == 1)
                try await PostgresConnection.withConnection(configuration) { intruder in
                    try await intruder.script("BEGIN; SELECT lo_create(0); PREPARE TRANSACTION \(identifier)")
                }
                #expect(try await admin.removeTenant(named: other.tenant).rolledBackTransactions == 1)
                try await self.asSuperuser("DROP DATABASE \(database)")
            }
        }

        @Test("A stranger that has the number of a tenant's role, as after a restore, is not ended for it")
        func aStrangerWithATenantsNumberIsNotEnded() async throws {
            try await self.withPair { _, name, other in
                let stranger = TenantFixture.name()
                let database = try #require(TestDatabase.current)
                try await self.asSuperuser("CREATE ROLE \(stranger) LOGIN PASSWORD 'x'")
                try await self.asSuperuser("GRANT CONNECT ON DATABASE \(database.name) TO \(stranger)")
                try await self.asSuperuser(
                    """
                    UPDATE cloacina.tenants SET role_oids = role_oids || to_regrole('\(stranger)')::oid
                    WHERE name = '\(other.tenant)'
                    """)
                var configuration = PostgresConfiguration(other.connectionString)
                (configuration.user, configuration.password) = (stranger, "x")
                try await TenantFixture.withAdmin(patience: .seconds(3), bootstrap: false) { admin in
                    try await PostgresConnection.withConnection(configuration) { session in
                        try await session.script(
                            """
                            BEGIN; SELECT pg_get_viewdef(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                            WHERE n.nspname = '\(name)' AND c.relname = 'cloacina_pipeline_list'
                            """)
                        let error = await #expect(throws: AdminError.self) { try await admin.removeTenant(named: name) }
                        #expect(error?.code == .busy)
                        #expect(error?.message.contains("pid \(session.backendPID) of \(stranger)") == true)
                        #expect(try await session.query("SELECT 1").single() == 1)
                    }
                    try await admin.removeTenant(named: name)
                }
                try await self.asSuperuser("REVOKE CONNECT ON DATABASE \(database.name) FROM \(stranger)")
                try await self.asSuperuser("DROP ROLE \(stranger)")
            }
        }

        @Test("A database whose sessions begin read-only stops no removal")
        func aDatabaseThatIsReadOnlyByDefaultStopsNoRemoval() async throws {
            try await self.withPair { admin, name, other in
                let database = TestDatabase.uniqueName("archive")
                try await self.asSuperuser("CREATE DATABASE \(database)")
                var configuration = PostgresConfiguration(other.connectionString)
                configuration.database = database
                _ = try await PostgresConnection.withConnection(configuration) {
                    try await $0.query("SELECT lo_create(0)")
                }
                for name in [database, try #require(TestDatabase.current).name] {
                    try await self.asSuperuser("ALTER DATABASE \(name) SET default_transaction_read_only = on")
                }
                try await TenantFixture.withAdmin(bootstrap: false) { again in
                    let report = try await again.migrate(tenant: name, sets: try TenantFixture.sets())
                    #expect(report.results.map(\.outcome) == [.migrated], "\(report)")
                    #expect(try await again.removeTenant(named: other.tenant).cleanedDatabases == [database])
                }
                try await self.asSuperuser("DROP DATABASE \(database)")
                try await admin.removeTenant(named: name)
            }
        }

        /// Lends a tenant, by name, and another one, on a database of the suite's server; what is left of the other is removed.
        private func withPair(_ body: (DatabaseAdmin, String, TenantCredentials) async throws -> Void) async throws {
            try await withPrivateDatabase { _ in
                try await TenantFixture.withAdmin(patience: .seconds(60)) { admin in
                    let name = TenantFixture.name()
                    _ = try await admin.createTenant(TenantConfig(name: name))
                    let other = try await admin.createTenant(TenantConfig(name: TenantFixture.name()))
                    try await body(admin, name, other)
                    #expect(try await TenantFixture.traces(of: name).isEmpty)
                    if try await !TenantFixture.traces(of: other.tenant).isEmpty {
                        try await admin.removeTenant(named: other.tenant)
                    }
                }
            }
        }

        private func asSuperuser(_ sql: String) async throws {
            try await TenantFixture.withSuperuser {
                try await $0.script("SET default_transaction_read_only = off")
                try await $0.script(sql)
            }
        }

        private static func isRefused(_ sql: String, _ connection: PostgresConnection) async -> Bool {
            do { try await connection.script(sql) } catch { return true }
            return false
        }

        /// The number of other tenants' sessions that the audit says were ended.
        private static func endings(_ admin: DatabaseAdmin) async throws -> Int {
            try await admin.withBackend {
                try await $0.query("SELECT count(*)::int8 FROM cloacina.audit WHERE action = 'tenant.intruder_ended'")
                    .single()
            }
        }

        /// Waits until somebody waits for a lock on a catalog.
        private static func awaitWaiter(for catalog: String) async throws {
            try await TenantFixture.withSuperuser { connection in
                let query: PostgresStatement = """
                    SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = to_regclass(\(catalog))::oid)
                    """
                while try await !connection.query(query).single(as: Bool.self) { await Task.yield() }
            }
        }
    }
}
