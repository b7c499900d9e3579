import CloacinaPostgres
import Testing

@testable import CloacinaTenancy

extension ServerTests {
    /// What a tenant's logins may use of the server (point 7 of issue 11).
    @Suite(.timeLimit(.minutes(40))) struct TenantLimitsTests {
        private struct Login {
            let connections: Int32
            let settings: [String]
        }

        private static func login(_ name: String) async throws -> Login {
            try await TenantFixture.withSuperuser { connection in
                let row = try await connection.query(
                    """
                    SELECT rolconnlimit, coalesce(rolconfig, '{}') AS settings FROM pg_roles WHERE rolname = \(name)
                    """)[0]
                return Login(connections: try row.value("rolconnlimit"), settings: try row.value("settings"))
            }
        }

        @Test func bothLoginsOfANewTenantAreLimited() async throws {
            try await TenantFixture.withAdmin { admin in
                let name = TenantFixture.name()
                let credentials = try await admin.createTenant(TenantFixture.config(name))
                for login in ["\(name)_a", "\(name)_b"] {
                    let found = try await Self.login(login)
                    #expect(found.connections == 40)
                    #expect(found.settings.contains("statement_timeout=300000ms"))
                    #expect(found.settings.contains("lock_timeout=30000ms"))
                    #expect(found.settings.contains("idle_in_transaction_session_timeout=300000ms"))
                }
                let tenant = try await admin.tenant(named: name)
                #expect(tenant.limits == TenantLimits())
                // The tests' administrator is no superuser and was granted nothing.
                #expect(tenant.limitsNotInForce == ["temp_file_limit"])
                try await TenantFixture.withTenant(credentials) { connection in
                    let timeout = try await connection.query("SELECT current_setting('statement_timeout')")
                    #expect(try timeout.single(as: String.self) == "5min")
                }
            }
        }

        @Test func otherLimitsAreGivenAtCreationOrLaterAndKept() async throws {
            try await TenantFixture.withAdmin { admin in
                let name = TenantFixture.name()
                var config = TenantFixture.config(name)
                config.limits.connections = 3
                config.limits.lockTimeout = nil
                config.limits.temporaryFileBytes = nil
                _ = try await admin.createTenant(config)
                #expect(try await admin.tenant(named: name).limits == config.limits)
                #expect(try await admin.tenants().first { $0.name == name }?.limits == config.limits)
                var limits = config.limits
                limits.connections = nil
                limits.lockTimeout = .milliseconds(1500)
                limits.statementTimeout = nil
                let report = try await admin.setLimits(limits, forTenantNamed: name)
                let tenant = report.tenant
                #expect(report.endedSessions.isEmpty)
                #expect(tenant.limits == limits)
                #expect(tenant.limitsNotInForce.isEmpty)
                for login in ["\(name)_a", "\(name)_b"] {
                    let found = try await Self.login(login)
                    #expect(found.connections == -1)
                    #expect(found.settings.contains("lock_timeout=1500ms"))
                    #expect(!found.settings.contains { $0.hasPrefix("statement_timeout") })
                    #expect(found.settings.contains { $0.hasPrefix("search_path") })
                }
            }
        }

        @Test func aLoginHasNoMoreConnectionsThanItsLimit() async throws {
            try await TenantFixture.withAdmin { admin in
                let name = TenantFixture.name()
                var config = TenantFixture.config(name)
                config.limits.connections = 1
                let credentials = try await admin.createTenant(config)
                try await TenantFixture.withTenant(credentials) { _ in
                    let error = await #expect(throws: PostgresError.self) {
                        try await TenantFixture.withTenant(credentials) { _ in }
                    }
                    #expect(error?.sqlState == "53300")
                }
            }
        }

        @Test func aTenantMayChangeItsTimeoutsAndNothingElseAndThatIsNamed() async throws {
            try await TenantFixture.withAdmin { admin in
                let name = TenantFixture.name()
                let credentials = try await admin.createTenant(TenantFixture.config(name))
                let role = PostgresIdentifier.quote(credentials.username)
                try await TenantFixture.withTenant(credentials) { connection in
                    try await connection.script("ALTER ROLE \(role) SET statement_timeout = 0")
                    for statement in [
                        "ALTER ROLE \(role) CONNECTION LIMIT -1", "ALTER ROLE \(role) SET temp_file_limit = -1",
                        "SET temp_file_limit = -1",
                    ] {
                        let error = await #expect(throws: PostgresError.self) { try await connection.script(statement) }
                        #expect(error?.sqlState == "42501")
                    }
                }
                #expect(
                    try await admin.tenant(named: name).limitsNotInForce == ["statement_timeout", "temp_file_limit"])
                let again = try await admin.setLimits(TenantLimits(), forTenantNamed: name)
                #expect(again.tenant.limitsNotInForce == ["temp_file_limit"])
            }
        }

        /// A few such settings are more than the server sends in a row.
        @Test func largeSettingsOfALoginAreNotRead() async throws {
            try await TenantFixture.withAdmin { admin in
                let credentials = try await admin.createTenant(TenantConfig(name: TenantFixture.name()))
                let name = credentials.tenant
                try await TenantFixture.withTenant(credentials) { tenant in
                    try await tenant.script(
                        """
                        DO $$ BEGIN EXECUTE format('ALTER ROLE CURRENT_USER SET search_path = %L', repeat('x', 4000000)); END $$
                        """)
                }
                try await admin.withBackend { connection in
                    let rows = try await connection.query(RegistryQueries.tenant(named: name))
                    #expect(try rows.column("found_settings", as: [String]?.self) == [[]])
                }
                #expect(try await admin.tenant(named: name).limitsNotInForce.contains("statement_timeout"))
                _ = try await admin.reissueCredentials(forTenant: name)
                #expect(try await !admin.tenant(named: name).limitsNotInForce.contains("statement_timeout"))
                try await admin.removeTenant(named: name)
            }
        }

        @Test func temporaryFilesAreLimitedWhereTheAdministratorMay() async throws {
            let database = try #require(TestDatabase.current)
            let administrator = TenantFixture.name()
            try await TenantFixture.withSuperuser {
                try await $0.script(
                    """
                    CREATE ROLE \(administrator) LOGIN CREATEROLE PASSWORD 'x';
                    ALTER DATABASE \(database.name) OWNER TO \(administrator);
                    GRANT SET ON PARAMETER temp_file_limit TO \(administrator);
                    """)
            }
            var configuration = database.administrator
            configuration.user = administrator
            configuration.password = "x"
            // Roles of its own: the shared ones belong to the other tests' administrator.
            var options = BootstrapOptions()
            options.serviceRole = TenantFixture.name()
            options.tenantsRole = TenantFixture.name()
            let admin = DatabaseAdmin(configuration)
            let name = TenantFixture.name()
            do {
                let report = try await admin.bootstrap(options)
                #expect(!report.hardeningStatements.contains { $0.contains("temp_file_limit") })
                let credentials = try await admin.createTenant(TenantFixture.config(name))
                #expect(try await admin.tenant(named: name).limitsNotInForce.isEmpty)
                try await TenantFixture.withTenant(credentials) { connection in
                    let limit = try await connection.query("SELECT current_setting('temp_file_limit')")
                    #expect(try limit.single(as: String.self) == "1GB")
                }
            } catch {
                await admin.close()
                throw error
            }
            await admin.close()
        }

        private static func audit(of name: String) async throws -> [String] {
            try await TenantFixture.withSuperuser { connection in
                try await connection.query(
                    """
                    SELECT concat_ws(' ', action, detail) AS line FROM cloacina.audit
                    WHERE tenant_name = \(name) AND action <> 'tenant.created' ORDER BY id
                    """
                ).column("line")
            }
        }

        @Test(
            "A session of the tenant's own that holds its login is ended, and no other, and both report and audit say so",
            arguments: ["PASSWORD 'x'", "SET statement_timeout = '7s'"])
        func aTenantThatHoldsItsOwnLoginHoldsUpNobody(change: String) async throws {
            try await TenantFixture.withAdmin(patience: .seconds(60)) { admin in
                let (name, other) = (TenantFixture.name(), TenantFixture.name())
                let credentials = try await admin.createTenant(TenantFixture.config(name))
                let others = try await admin.createTenant(TenantFixture.config(other))
                let holder = try await PostgresConnection.connect(PostgresConfiguration(credentials.connectionString))
                try await holder.script("BEGIN; ALTER ROLE \(credentials.username) \(change)")
                let ended = "pid \(holder.backendPID) of \(credentials.username)"
                try await TenantFixture.withTenant(credentials) { bystander in
                    try await bystander.script("BEGIN; SELECT 1")
                    // Another tenant that is changing its own role is in nobody's way.
                    try await TenantFixture.withTenant(others) { stranger in
                        try await stranger.script("BEGIN; ALTER ROLE \(others.username) \(change)")
                        let report = try await admin.setLimits(.none, forTenantNamed: name)
                        #expect(report.endedSessions == [ended])
                        #expect(report.tenant.limits == TenantLimits.none)
                        #expect(try await stranger.query("SELECT 1").single() == 1)
                        try await stranger.script("ROLLBACK")
                    }
                    #expect(try await bystander.query("SELECT 1").single() == 1)
                }
                await #expect(throws: PostgresError.self) { try await holder.query("SELECT 1") }
                await holder.close()
                #expect(
                    try await Self.audit(of: name) == ["tenant.session_ended \(ended)", "tenant.limited"])
                // What the tenant had begun is undone, and the administrator is left no member of the login.
                try await TenantFixture.withTenant(credentials) { _ in }
                try await TenantFixture.withSuperuser { connection in
                    let members: PostgresStatement = """
                        SELECT count(*) FROM pg_auth_members m
                        WHERE m.roleid = to_regrole(\(credentials.username)) AND NOT m.admin_option
                        """
                    let count: Int = try await connection.query(members).single()
                    #expect(count == 0)
                }
            }
        }

        @Test("The command ends the tenant's session that is in the way, says so, and its document lists it")
        func theCommandTellsWhomItEnded() async throws {
            struct Limited: Decodable {
                let connections: Int?
                let endedSessions: [String]
            }
            try await TenantFixture.withAdmin { admin in
                let name = TenantFixture.name()
                let credentials = try await admin.createTenant(TenantFixture.config(name))
                let holder = try await PostgresConnection.connect(PostgresConfiguration(credentials.connectionString))
                try await holder.script("BEGIN; ALTER ROLE \(credentials.username) PASSWORD 'x'")
                try await AdminCommand.with { command in
                    let answer = try await command.run(
                        "tenant", "limits", name, "--connections", "7", "--output", "json")
                    #expect(answer.status == 0, "\(answer.notes)")
                    let ended = "pid \(holder.backendPID) of \(credentials.username)"
                    #expect(answer.notes.contains("ended, because it held up the change: \(ended)"))
                    let limited = try answer.decoded(Limited.self)
                    #expect(limited.connections == 7)
                    #expect(limited.endedSessions == [ended])
                }
                await holder.close()
            }
        }

        @Test("A login that the tenant does not hold is waited for in bounds, and who changes roles is named")
        func aLoginThatAnotherHoldsIsWaitedForInBounds() async throws {
            try await TenantFixture.withAdmin(patience: .zero) { admin in
                let name = TenantFixture.name()
                _ = try await admin.createTenant(TenantFixture.config(name))
                try await TenantFixture.withSuperuser { connection in
                    try await connection.script("BEGIN; ALTER ROLE \(name)_b CONNECTION LIMIT 3")
                    let error = await #expect(throws: AdminError.self) {
                        try await admin.setLimits(.none, forTenantNamed: name)
                    }
                    #expect(error?.code == .busy)
                    #expect(error?.message.contains("pid \(connection.backendPID) of ") == true)
                    #expect(try await connection.query("SELECT 1").single() == 1)
                    try await connection.script("ROLLBACK")
                }
                #expect(try await admin.tenant(named: name).limits == TenantLimits())
            }
        }

        @Test func whatIsNoTenantOrNoLimitIsRefused() async throws {
            try await TenantFixture.withAdmin { admin in
                let missing = await #expect(throws: AdminError.self) {
                    try await admin.setLimits(TenantLimits(), forTenantNamed: "nobody")
                }
                #expect(missing?.code == .tenantNotFound)
                var limits = TenantLimits()
                limits.connections = 0
                let invalid = await #expect(throws: AdminError.self) {
                    try await admin.setLimits(limits, forTenantNamed: "nobody")
                }
                #expect(invalid?.code == .invalidConfiguration)
            }
        }

        @Test func aRehearsalPrintsTheStatementsAndChangesNothing() async throws {
            try await TenantFixture.withAdmin { admin in
                let name = TenantFixture.name()
                let creation = try await admin.plannedSQL(creating: TenantFixture.config(name))
                #expect(creation.contains(#"ALTER ROLE "\#(name)_a" CONNECTION LIMIT 40"#))
                _ = try await admin.createTenant(TenantFixture.config(name))
                let planned = try await admin.plannedSQL(limitingTenantNamed: name, to: .none)
                #expect(planned.contains(#"ALTER ROLE "\#(name)_b" CONNECTION LIMIT -1"#))
                #expect(try await Self.login("\(name)_a").connections == 40)
            }
        }
    }
}
