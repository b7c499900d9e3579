import CloacinaPostgres
import CloacinaTenancy
import Testing

extension ServerTests {
    /// The attack log: sessions, settings of the own login, and the service login.
    @Suite(.serialized, .attackedTenants, .timeLimit(.minutes(40))) struct AttackLogSessionTests {
        // MARK: The own login's settings

        /// A login may set these for itself. They hold for its own sessions, and change nothing of what it reaches.
        @Test(arguments: [
            "search_path = {them}", "search_path = cloacina, {them}, public", "role = '{them}_owner'",
            "role = '{me}_owner'", "role = '{me}_runtime'", "session_authorization = '{them}_a'",
            "row_security = off", "statement_timeout = 0", "default_transaction_isolation = serializable",
        ])
        func aLoginsOwnSettingsOpenNothing(setting: String) async throws {
            let tenants = try AttackedTenants.shared()
            let role = "\(tenants.me)_a"
            let change = try tenants.fill("ALTER ROLE \(role) SET \(setting)")
            try await TenantFixture.withTenant(tenants.attacker) { try await $0.script(change) }
            try await TenantFixture.withTenant(tenants.attacker) { session in
                let roles = try await session.query(
                    "SELECT session_user::text AS session, current_user::text AS acting")[0]
                #expect(try roles.value("session") == role)
                let acting: String = try roles.value("acting")
                #expect([role, "\(tenants.me)_runtime"].contains(acting))
                for sql in ["SELECT * FROM {them}.items", "SELECT * FROM cloacina.tenants", "CREATE TABLE {me}.x ()"] {
                    try await AttackedTenants.expectRefused(try tenants.fill(sql), ["42501"], by: session)
                }
            }
            try await self.expectThePoolSees(tenants)
            try await TenantFixture.withTenant(tenants.attacker) { session in
                try await session.script(
                    """
                    SET ROLE NONE; ALTER ROLE \(role) RESET ALL;
                    ALTER ROLE \(role) SET search_path TO \(tenants.me), pg_temp
                    """)
            }
        }

        /// The pool binds path and role itself, whatever the login has set for its sessions.
        private func expectThePoolSees(_ tenants: AttackedTenants) async throws {
            var configuration = PostgresPoolConfiguration(try #require(TestDatabase.current).superuser)
            configuration.maximumConnections = 2
            configuration.password = { _ in tenants.attacker.password }
            let admin = DatabaseAdmin(try #require(TestDatabase.current).administrator)
            let tenant = try await admin.tenant(named: tenants.me)
            await admin.close()
            try await PostgresPool.withPool(configuration) { pool in
                for label in [tenant.label(.login), tenant.label(.role, for: .data)] {
                    let rows = try await pool.withConnection(label) { lease in
                        try await lease.query(
                            """
                            SELECT current_schema()::text AS schema, count(*) AS secrets FROM items
                            WHERE name = 'secret'
                            """)
                    }
                    let row = try #require(rows.first)
                    #expect(try row.value("schema") == tenants.me)
                    #expect(try row.value("secrets") == 0)
                }
            }
        }

        // MARK: Others' sessions

        @Test func theAdministratorsAndTheServersProcessesAreOutOfReach() async throws {
            let tenants = try AttackedTenants.shared()
            try await TenantFixture.withSuperuser { superuser in
                let checkpointer: Int32 = try await superuser.query(
                    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
                ).single()
                for call in ["pg_terminate_backend", "pg_cancel_backend"] {
                    try await tenants.expectRefused(Attempt("SELECT \(call)(\(superuser.backendPID))", "42501"))
                    // No backend to a server before 16, which warns and answers false.
                    let statement = PostgresStatement("SELECT \(call)(\(checkpointer))", prepared: false)
                    let isSignalled = try? await TenantFixture.withTenant(tenants.attacker) {
                        try await $0.query(statement).single(as: Bool.self)
                    }
                    #expect(isSignalled != true)
                }
                let query: String = try await TenantFixture.withTenant(tenants.attacker) {
                    try await $0.query("SELECT query FROM pg_stat_activity WHERE pid = \(superuser.backendPID)")
                        .single()
                }
                #expect(query == "<insufficient privilege>")
                let (alive, same): (Int, Int32) = (
                    try await superuser.query("SELECT 1").single(),
                    try await superuser.query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
                        .single()
                )
                #expect(alive == 1 && same == checkpointer)
            }
        }

        @Test func afterRemovalAndCreationOldCredentialsAndSessionsAreDead() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin(bootstrap: false) { admin in
                let old = try await admin.createTenant(TenantConfig(name: name))
                let session = try await PostgresConnection.connect(PostgresConfiguration(old.connectionString))
                try await admin.removeTenant(named: name)
                let new = try await admin.createTenant(TenantConfig(name: name))
                #expect(new.username == old.username && new.password != old.password)
                await #expect(throws: PostgresError.self) { try await session.query("SELECT 1") }
                await session.close()
                let error = await #expect(throws: PostgresError.self) {
                    try await TenantFixture.withTenant(old) { try await $0.query("SELECT 1") }
                }
                #expect(error?.code == .connectionFailed)
                try await TenantFixture.withTenant(new) { try await $0.query("SELECT 1") }
                try await admin.removeTenant(named: name)
            }
        }

        // MARK: The service login

        @Test(
            arguments: [
                "SELECT * FROM cloacina.tenants", "SELECT * FROM {me}.items", "SELECT * FROM {me}.cloacina_pipelines",
                "SELECT {me}.answer()", "SET ROLE {me}_owner", "SET ROLE {me}_a", "SET ROLE {me}_b",
                "SET ROLE cloacina_tenants", "SET ROLE \"{administrator}\"", "CREATE ROLE x", "CREATE DATABASE x",
                "CREATE SCHEMA x", "CREATE TABLE public.x ()", "CREATE TEMPORARY TABLE x ()",
                "GRANT {me}_runtime TO {them}_a", "ALTER ROLE {me}_a PASSWORD 'x'",
                "ALTER ROLE cloacina_service CREATEROLE", "DROP OWNED BY {me}_owner",
                "REASSIGN OWNED BY {me}_owner TO cloacina_service",
                // And in a tenant's role, no more than that role may.
                "SET ROLE {me}_runtime; SELECT * FROM {them}.items",
                "SET ROLE {me}_runtime; SELECT * FROM {me}.cloacina_pipelines",
                "SET ROLE {me}_engine; SELECT * FROM {them}.cloacina_pipelines",
                "SET ROLE {me}_engine; DELETE FROM {me}.cloacina_migrations",
                "SET ROLE {me}_engine; CREATE TABLE {me}.x ()", "SET ROLE {me}_engine; CREATE TEMPORARY TABLE x ()",
            ] as [Attempt])
        func theServiceLoginReachesNothingByItself(attempt: Attempt) async throws {
            let sql = try AttackedTenants.shared().fill(attempt.sql)
            try await TenantFixture.withSuperuser { session in
                try await session.query("SET SESSION AUTHORIZATION cloacina_service")
                try await AttackedTenants.expectRefused(sql, attempt.states, by: session)
            }
        }
    }
}
