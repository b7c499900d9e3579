import CloacinaPostgres
import CloacinaTenancy
import Testing

extension ServerTests {
    /// What a superuser may take from everybody (point 7 of issue 11; C2 and C5).
    @Suite(.timeLimit(.minutes(40))) struct HardeningTests {
        private static func refusals(_ credentials: TenantCredentials) async throws -> [String?] {
            try await TenantFixture.withTenant(credentials) { connection in
                var states: [String?] = []
                for sql in [
                    "SELECT pg_advisory_lock(1)", "SELECT pg_try_advisory_xact_lock(1, 2)", "SELECT lo_create(0)",
                ] {
                    do {
                        try await connection.script(sql)
                        states.append(nil)
                    } catch let error as PostgresError {
                        states.append(error.sqlState)
                    }
                }
                return states
            }
        }

        @Test func bootstrapNamesTheStatementsThatASuperuserCanRun() async throws {
            try await TenantFixture.withAdmin { admin in
                let report = try await admin.bootstrap()
                let functions = report.hardeningStatements.filter { $0.contains("EXECUTE ON") }
                #expect(functions.count == 2)
                #expect(functions.last?.hasPrefix("REVOKE EXECUTE ON FUNCTION pg_catalog.lo_") == true)
                // Not the statement on temp_file_limit: that is the whole server's, and other tests look at it.
                try await TenantFixture.withSuperuser { connection in
                    for statement in functions { try await connection.script(statement) }
                }
                #expect(try await !admin.bootstrap().hardeningStatements.contains { $0.contains("EXECUTE ON") })
                let name = TenantFixture.name()
                let credentials = try await admin.createTenant(TenantFixture.config(name))
                #expect(try await Self.refusals(credentials) == ["42501", "42501", "42501"])
                // The administrator keeps them, and goes on as before.
                try await admin.withBackend { _ = try await $0.query("SELECT lo_unlink(lo_create(0))") }
                _ = try await admin.removeTenant(named: name)
                #expect(try await TenantFixture.traces(of: name).isEmpty)
            }
        }

        /// A rule or a trigger on anybody's table is locked for before rights are looked at, and all who come later wait behind it.
        @Test(arguments: [
            "CREATE RULE r AS ON INSERT TO cloacina.tenants DO INSTEAD NOTHING",
            "CREATE TRIGGER t AFTER INSERT ON cloacina.tenants FOR EACH STATEMENT "
                + "EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger()",
            "ALTER INDEX cloacina.tenants_pkey DEPENDS ON EXTENSION plpgsql",
            "ALTER MATERIALIZED VIEW cloacina.tenants DEPENDS ON EXTENSION plpgsql",
        ])
        func aTenantWaitsForNoLockOnWhatIsNotItsOwn(sql: String) async throws {
            try await TenantFixture.withAdmin { admin in
                func statements() async throws -> [String] {
                    try await admin.bootstrap().hardeningStatements.filter { $0.contains("EVENT TRIGGER") }
                }
                let function = "cloacina.refuse_foreign_locks()"
                // It would run in every superuser's session; whose it is tells the survey, too.
                try await admin.withBackend {
                    try await $0.script(
                        "CREATE FUNCTION \(function) RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
                }
                try await TenantFixture.withSuperuser { connection in
                    try await connection.script(
                        "CREATE EVENT TRIGGER cloacina_refuse_foreign_locks ON ddl_command_start WHEN TAG IN ('CREATE RULE') "
                            + "EXECUTE FUNCTION \(function)")
                    #expect(try await statements().count == 1)
                    for statement in try await statements() { try await connection.script(statement) }
                    #expect(try await statements().isEmpty)
                    let owner = try await connection.query(
                        "SELECT rolsuper FROM pg_roles r JOIN pg_proc p ON p.proowner = r.oid WHERE p.oid = \(function)::regprocedure"
                    )
                    #expect(try owner.single(as: Bool.self))
                    // An earlier version's function is replaced.
                    try await connection.script(
                        "CREATE OR REPLACE FUNCTION \(function) RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
                    for statement in try await statements() { try await connection.script(statement) }
                    #expect(try await statements().isEmpty)
                    let credentials = try await admin.createTenant(TenantFixture.config(TenantFixture.name()))
                    // Whoever asked for the lock would be told of a lock timeout.
                    try await connection.script("BEGIN; SELECT count(*) FROM cloacina.tenants")
                    try await TenantFixture.withTenant(credentials) { tenant in
                        let error = await #expect(throws: PostgresError.self) { try await tenant.script(sql) }
                        #expect(error?.sqlState == "42501")
                    }
                    try await connection.script("ROLLBACK")
                    // What may make something goes on: the tenant's files do, over their login.
                    let sets = try TenantFixture.sets("CREATE RULE r AS ON INSERT TO items DO ALSO NOTHING;")
                    #expect(try await admin.migrate(sets: sets).results.map(\.outcome) == [.migrated])
                    try await admin.removeTenant(named: credentials.tenant)
                }
            }
        }

        @Test func anAdministratorWhoMayNotIsRefusedBeforeAnythingIsChanged() async throws {
            try await TenantFixture.withAdmin(bootstrap: false) { admin in
                var options = BootstrapOptions()
                options.hardens = true
                let error = await #expect(throws: AdminError.self) { try await admin.bootstrap(options) }
                #expect(error?.code == .insufficientPrivilege)
                #expect(error?.message.contains("REVOKE EXECUTE ON FUNCTION pg_catalog.") == true)
                try await TenantFixture.withSuperuser { connection in
                    let schema = try await connection.query("SELECT to_regnamespace('cloacina') IS NULL")
                    #expect(try schema.single(as: Bool.self))
                }
            }
        }
    }
}
