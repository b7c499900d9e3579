import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// New secrets for tenants, and the roles that bootstrap takes.
    @Suite(.timeLimit(.minutes(40))) struct TenantReissueTests {
        private func audit(_ name: String?) async throws -> [String] {
            try await TenantFixture.withSuperuser { connection in
                try await connection.query(
                    """
                    SELECT concat_ws(' ', action, detail) AS line FROM cloacina.audit
                    WHERE tenant_name IS NOT DISTINCT FROM \(name) ORDER BY id
                    """
                ).column("line")
            }
        }

        @Test("C7: a reissue makes a new secret, the old one is dead, and it is audited", arguments: [true, false])
        func aReissueMakesANewSecret(endsSessions: Bool) async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let old = try await admin.createTenant(TenantConfig(name: name))
                let session = try await PostgresConnection.connect(PostgresConfiguration(old.connectionString))
                var options = ReissueOptions()
                options.endsSessions = endsSessions
                let plan = try await admin.plannedSQL(reissuing: name, options: options)
                #expect(plan.allSatisfy { !$0.contains("SCRAM") })
                #expect(plan.contains { $0.contains("pg_terminate_backend") } == endsSessions)
                let report = try await admin.reissueCredentials(forTenant: name, options: options)
                #expect(report.credentials.username == old.username)
                #expect(report.credentials.password != old.password)
                #expect(report.endedSessions == (endsSessions ? 1 : 0))
                #expect(report.remainingSessions == 0)
                if endsSessions {
                    await #expect(throws: PostgresError.self) { try await session.query("SELECT 1") }
                } else {
                    #expect(try await session.query("SELECT 1").single() == 1)
                }
                await session.close()
                await #expect(throws: PostgresError.self) {
                    try await TenantFixture.withTenant(old) { try await $0.query("SELECT 1") }
                }
                try await TenantFixture.withTenant(report.credentials) { connection in
                    let schema: String = try await connection.query("SELECT current_schema()::text").single()
                    #expect(schema == name)
                }
                #expect(
                    try await self.audit(name) == [
                        "tenant.created", "credentials.reissue_begun \(name)_a", "credentials.reissued \(name)_a",
                    ])
                // The administrator is left no member of the login.
                try await TenantFixture.withSuperuser { connection in
                    let members: PostgresStatement = """
                        SELECT count(*) FROM pg_auth_members m
                        WHERE m.roleid = to_regrole(\(name + "_a")) AND NOT m.admin_option
                        """
                    let count: Int = try await connection.query(members).single()
                    #expect(count == 0)
                }
                try await admin.removeTenant(named: name)
            }
        }

        @Test(
            "L4: a tenant that locked itself out gets in again",
            arguments: [
                "PASSWORD 'x'", "SET local_preload_libraries = 'nowhere'", "SET search_path = pg_catalog",
                "IN DATABASE current SET local_preload_libraries = 'nowhere'",
            ])
        func aTenantThatLockedItselfOutGetsInAgain(change: String) async throws {
            let name = TenantFixture.name()
            let database = try #require(TestDatabase.current)
            try await TenantFixture.withAdmin { admin in
                let old = try await admin.createTenant(TenantConfig(name: name))
                let sql = "ALTER ROLE \(name)_a \(change.replacing("current", with: database.name))"
                try await TenantFixture.withTenant(old) {
                    try await $0.query(PostgresStatement(sql, prepared: false))
                }
                let report = try await admin.reissueCredentials(forTenant: name)
                try await TenantFixture.withTenant(report.credentials) { connection in
                    let schema: String = try await connection.query("SELECT current_schema()::text").single()
                    #expect(schema == name)
                }
                try await admin.removeTenant(named: name)
            }
        }

        @Test(
            "L4: a login that its own session holds is changed once that session is ended, and never waited for without end"
        )
        func aLoginThatItsOwnSessionHoldsIsChanged() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin(patience: .zero) { admin in
                let old = try await admin.createTenant(TenantConfig(name: name))
                let holder = try await PostgresConnection.connect(PostgresConfiguration(old.connectionString))
                try await holder.script("BEGIN; ALTER ROLE \(name)_a PASSWORD 'x'")
                let error = await #expect(throws: AdminError.self) {
                    try await admin.reissueCredentials(forTenant: name)
                }
                #expect(error?.code == .busy)
                #expect(error?.message.contains("--end-sessions") == true)
                let patient = DatabaseAdmin(try #require(TestDatabase.current).administrator, patience: .seconds(60))
                var options = ReissueOptions()
                options.endsSessions = true
                let report = try await patient.reissueCredentials(forTenant: name, options: options)
                await holder.close()
                try await TenantFixture.withTenant(report.credentials) { try await $0.query("SELECT 1") }
                try await patient.removeTenant(named: name)
                await patient.close()
            }
        }

        @Test("C7: a tenant that is not in use gets no secret", arguments: ["creating", "removing"])
        func aTenantThatIsNotInUseGetsNoSecret(state: String) async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                try await TenantFixture.withSuperuser {
                    _ = try await $0.query("UPDATE cloacina.tenants SET state = \(state) WHERE name = \(name)")
                }
                let error = await #expect(throws: AdminError.self) {
                    try await admin.reissueCredentials(forTenant: name)
                }
                #expect(error?.code == .tenantNotReady)
                try await admin.removeTenant(named: name)
            }
        }

        @Test("L6: no schema gets the name of a role, nor a role that of a schema")
        func namesOfRolesAreReserved() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                try await TenantFixture.withSuperuser {
                    try await $0.script("CREATE ROLE \(name)_role; CREATE SCHEMA \(name)_a")
                }
                var config = TenantConfig(name: name + "_other")
                config.schemaName = name + "_role"
                let configs = [
                    TenantConfig(name: "cloacina_service"), TenantConfig(name: "cloacina_tenants"),
                    TenantConfig(name: name + "_role"), TenantConfig(name: name), config,
                ]
                for config in configs {
                    let error = await #expect(throws: AdminError.self, "\(config)") {
                        try await admin.createTenant(config)
                    }
                    #expect(error?.code == .invalidName)
                }
                #expect(try await admin.tenants().isEmpty)
                try await TenantFixture.withSuperuser { try await $0.script("DROP ROLE \(name)_role") }
            }
        }

        // MARK: Bootstrap

        private func options(_ name: String) -> BootstrapOptions {
            var options = BootstrapOptions()
            options.serviceRole = name + "_service"
            options.tenantsRole = name + "_tenants"
            return options
        }

        @Test(
            "M4: a service role that exists with a password or members is not taken unless that is said",
            arguments: ["PASSWORD 'known'", "ROLE mallory"])
        func aServiceRoleOfSomebodyElsesIsRefused(attribute: String) async throws {
            let name = TenantFixture.name()
            let member = attribute.contains("mallory") ? name + "_mallory" : nil
            var options = self.options(name)
            try await TenantFixture.withAdmin(bootstrap: false) { admin in
                let user = try await admin.endpoint().user
                try await TenantFixture.withSuperuser { connection in
                    if let member { try await connection.script("CREATE ROLE \(member)") }
                    let with = member.map { "ROLE \($0)" } ?? attribute
                    try await connection.script(
                        """
                        CREATE ROLE \(name)_service LOGIN NOINHERIT \(with);
                        GRANT \(name)_service TO \(PostgresIdentifier.quote(user)) WITH ADMIN OPTION
                        """)
                }
                let error = await #expect(throws: AdminError.self) { try await admin.bootstrap(options) }
                #expect(error?.code == .roleExists)
                #expect(error?.message.contains("--adopt-service-role") == true)
                if let member { #expect(error?.message.contains(member) == true) }
                options.adoptsServiceRole = true
                try await admin.bootstrap(options)
                // From now on it is this database's.
                options.adoptsServiceRole = false
                try await admin.bootstrap(options)
            }
        }

        @Test("M4: a database that shares its roles with another is told so")
        func rolesSharedWithAnotherDatabaseAreNamed() async throws {
            let name = TenantFixture.name()
            let options = self.options(name)
            let other = try await TestDatabase.create(on: try #require(TestDatabase.current).server)
            try await TenantFixture.withAdmin(bootstrap: false) { admin in
                #expect(try await admin.bootstrap(options).warnings.isEmpty)
                let second = DatabaseAdmin(other.administrator)
                let warnings = try await second.bootstrap(options).warnings
                await second.close()
                // The service login; the group has no rights anywhere.
                #expect(warnings.count == 1)
                let first = try #require(TestDatabase.current).name
                #expect(warnings.allSatisfy { $0.contains(first) })
            }
            try await other.drop()
        }

        @Test("V35: the service login of another database is given no new password unless that is said")
        func aSharedServiceLoginKeepsItsPassword() async throws {
            let name = TenantFixture.name()
            let database = try #require(TestDatabase.current)
            let other = try await TestDatabase.create(on: database.server)
            var options = self.options(name)
            options.servicePassword = "Sesame"
            try await TenantFixture.withAdmin(bootstrap: false) { admin in
                try await admin.bootstrap(options)
                let second = DatabaseAdmin(other.administrator)
                var others = options
                others.servicePassword = "Stolen"
                let refused = others
                let error = await #expect(throws: AdminError.self) { try await second.bootstrap(refused) }
                #expect(error?.code == .roleExists)
                #expect(error?.message.contains(database.name) == true, "\(error?.message ?? "")")
                var service = database.administrator
                (service.user, service.password) = (name + "_service", "Sesame")
                try await PostgresConnection.withConnection(service) { _ = try await $0.query("SELECT 1") }
                others.servicePassword = nil
                try await second.bootstrap(others)
                others.servicePassword = "Agreed"
                others.adoptsServiceRole = true
                try await second.bootstrap(others)
                await second.close()
                service.password = "Agreed"
                try await PostgresConnection.withConnection(service) { _ = try await $0.query("SELECT 1") }
            }
            try await other.drop()
        }

        @Test("V36: a stranger's role that has the recorded service login's name is not taken for it")
        func aStrangersRoleIsNotTakenForTheRecordedOne() async throws {
            let name = TenantFixture.name()
            var options = self.options(name)
            try await TenantFixture.withAdmin(bootstrap: false) { admin in
                let user = try await admin.endpoint().user
                try await admin.bootstrap(options)
                // As a restore leaves it: the row is there, and the name is somebody else's.
                try await TenantFixture.withSuperuser { connection in
                    try await connection.script(
                        """
                        DROP OWNED BY \(name)_service; DROP ROLE \(name)_service;
                        CREATE ROLE \(name)_service LOGIN NOINHERIT PASSWORD 'known';
                        GRANT \(name)_service TO \(PostgresIdentifier.quote(user)) WITH ADMIN OPTION
                        """)
                }
                let refused = options
                let error = await #expect(throws: AdminError.self) { try await admin.bootstrap(refused) }
                #expect(error?.code == .roleExists)
                #expect(error?.message.contains("--adopt-service-role") == true)
                options.adoptsServiceRole = true
                try await admin.bootstrap(options)
                options.adoptsServiceRole = false
                try await admin.bootstrap(options)
            }
        }

        @Test("L7: bootstrap and a new service password are in the audit trail")
        func bootstrapIsAudited() async throws {
            let name = TenantFixture.name()
            var options = self.options(name)
            try await TenantFixture.withAdmin(bootstrap: false) { admin in
                try await admin.bootstrap(options)
                options.servicePassword = "Sesame"
                try await admin.bootstrap(options)
                let lines = try await self.audit(nil)
                #expect(lines.count == 4)
                #expect(lines[0].hasPrefix("database.bootstrapped service login \(name)_service"))
                #expect(lines[0].contains("created"))
                #expect(
                    lines[2...] == ["service.password_begun \(name)_service", "service.password_set \(name)_service"])
                #expect(lines.allSatisfy { !$0.contains("Sesame") })
            }
        }

        @Test("C7: a bootstrap that was killed between the file and the password is finished by the same command")
        func aKilledBootstrapIsFinishedByTheSameCommand() async throws {
            struct Killed: Error {}
            let name = TenantFixture.name()
            try await AdminCommand.with { command in
                try await TenantFixture.withAdmin(bootstrap: false) { admin in
                    let path = command.path("s.json")
                    func bootstrap() async throws -> AdminCommand.Answer {
                        try await command.run(
                            "bootstrap", "--service-role", name + "_service", "--tenants-role", name + "_tenants",
                            "--service-credentials-file", path)
                    }
                    try await admin.bootstrap(self.options(name))
                    #expect(try await bootstrap().status == 2)  // it exists: nobody agreed to another password
                    var options = self.options(name)
                    options.servicePassword = "Sesame"
                    options.isServicePasswordMade = true
                    let endpoint = try await admin.endpoint()
                    let error = await #expect(throws: AdminError.self) {
                        try await admin.bootstrap(options) { report in
                            try CredentialsFile(creating: path).write(
                                ServiceCredentials(
                                    username: report.serviceRole, password: "Sesame",
                                    connectionString: ConnectionURL.make(
                                        endpoint: endpoint, user: report.serviceRole, password: "Sesame")))
                            throw Killed()
                        }
                    }
                    #expect(error?.code == .handOverFailed)
                    // A file of another secret is kept as it is, and never put into force again.
                    let other = command.path("other.json")
                    try CredentialsFile(creating: other).write(
                        ServiceCredentials(
                            username: name + "_service", password: "old",
                            connectionString: ConnectionURL.make(
                                endpoint: endpoint, user: name + "_service", password: "old")))
                    let kept = try await command.run("bootstrap", "--service-credentials-file", other)
                    #expect(kept.status == 0, "\(kept.notes)")
                    #expect(!kept.notes.contains("cut off"))
                    let answer = try await bootstrap()
                    #expect(answer.status == 0, "\(answer.notes)")
                    let left = try #require(try CredentialsFile.kept(ServiceCredentials.self, at: path))
                    try await PostgresConnection.withConnection(PostgresConfiguration(left.connectionString)) {
                        _ = try await $0.query("SELECT 1")
                    }
                    #expect(try await bootstrap().status == 0)
                }
            }
        }
    }
}
