import CloacinaPostgres
import CloacinaTenancy
import Testing

extension ServerTests {
    /// What a tenant's logins may use of the server (point 7 of issue 11).
    @Suite(.timeLimit(.minutes(20))) struct TenantLimitsTests {
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
                let tenant = try await admin.setLimits(limits, forTenantNamed: name)
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
                #expect(again.limitsNotInForce == ["temp_file_limit"])
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

        @Test func aTenantThatHoldsItsOwnLoginHoldsUpNobody() async throws {
            try await TenantFixture.withAdmin { admin in
                let name = TenantFixture.name()
                let credentials = try await admin.createTenant(TenantFixture.config(name))
                try await TenantFixture.withTenant(credentials) { connection in
                    try await connection.script("BEGIN")
                    try await connection.script(
                        "ALTER ROLE \(PostgresIdentifier.quote(credentials.username)) PASSWORD 'x'")
                    let error = await #expect(throws: AdminError.self) {
                        try await admin.setLimits(.none, forTenantNamed: name)
                    }
                    #expect(error?.code == .busy)
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
