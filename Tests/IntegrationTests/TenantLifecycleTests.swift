import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Testing

extension ServerTests {
    /// Tenants from nothing to nothing, against a real server.
    @Suite struct TenantLifecycleTests {
        @Test func bootstrapIsIdempotentAndClosesTheDatabaseToPublic() async throws {
            try await TenantFixture.withAdmin(bootstrap: false) { admin in
                let first = try await admin.bootstrap()
                #expect(first.appliedMigrations == [1])
                // The tests' databases share one server, and so their roles.
                #expect(first.warnings.allSatisfy { $0.contains("in other databases of this server") })
                let second = try await admin.bootstrap()
                #expect(second.appliedMigrations.isEmpty)
                #expect(second.createdRoles.isEmpty)
                #expect(second.controlVersion == first.controlVersion)
            }
            try await TenantFixture.withSuperuser { connection in
                let row = try await connection.query(
                    """
                    SELECT has_database_privilege('cloacina_service', current_database(), 'CONNECT') AS service,
                           (SELECT count(*) FROM pg_namespace n, aclexplode(n.nspacl) a
                            WHERE n.nspname IN ('public', 'cloacina') AND a.grantee = 0) AS public_grants,
                           (SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a
                            WHERE c.relnamespace = 'cloacina'::regnamespace AND a.grantee <> c.relowner) AS table_grants,
                           (SELECT rolcanlogin AND NOT rolinherit FROM pg_roles WHERE rolname = 'cloacina_service') AS shape
                    """)[0]
                #expect(try row.value("service") == true)
                #expect(try row.value("public_grants") == 0)
                #expect(try row.value("table_grants") == 0)
                #expect(try row.value("shape") == true)
            }
        }

        @Test func sixteenBootstrapsAtOnceAllSucceed() async throws {
            let configuration = try #require(TestDatabase.current).administrator
            try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<16 {
                    group.addTask {
                        let admin = DatabaseAdmin(configuration, patience: .seconds(60))
                        let report = try await admin.bootstrap()
                        await admin.close()
                        return report.appliedMigrations.count
                    }
                }
                let applied = try await group.reduce(0, +)
                #expect(applied == 1)
            }
        }

        @Test func anAdministratorWithoutPrivilegesLearnsWhichStatementsGrantThem() async throws {
            let database = try #require(TestDatabase.current)
            let role = TenantFixture.name()
            try await TenantFixture.withSuperuser { try await $0.script("CREATE ROLE \(role) LOGIN PASSWORD 'x'") }
            var configuration = database.administrator
            configuration.user = role
            configuration.password = "x"
            let admin = DatabaseAdmin(configuration)
            let error = await #expect(throws: AdminError.self) { try await admin.bootstrap() }
            #expect(error?.code == .insufficientPrivilege)
            #expect(error?.message.contains("ALTER ROLE \"\(role)\" CREATEROLE") == true)
            #expect(error?.message.contains("GRANT CREATE ON DATABASE") == true)
            await admin.close()
        }

        @Test func anAdministratorWhoDoesNotOwnTheDatabaseIsToldWhatItsOwnerMustRun() async throws {
            let database = try #require(TestDatabase.current)
            let role = TenantFixture.name()
            try await TenantFixture.withSuperuser {
                try await $0.script(
                    "CREATE ROLE \(role) LOGIN CREATEROLE PASSWORD 'x'; GRANT CREATE ON DATABASE \(database.name) TO \(role)"
                )
            }
            var configuration = database.administrator
            configuration.user = role
            configuration.password = "x"
            let admin = DatabaseAdmin(configuration)
            var options = BootstrapOptions()
            options.serviceRole = role + "_service"
            options.tenantsRole = role + "_tenants"
            let error = await #expect(throws: AdminError.self) { try await admin.bootstrap(options) }
            #expect(error?.code == .insufficientPrivilege)
            let message = try #require(error?.message)
            #expect(message.contains("REVOKE CONNECT, TEMPORARY ON DATABASE"))
            try await TenantFixture.withSuperuser { connection in
                for statement in message.split(separator: ": ", maxSplits: 1)[1].split(separator: "; ") {
                    try await connection.script(String(statement))
                }
                // It reached the database through PUBLIC until now.
                try await connection.script("GRANT CONNECT ON DATABASE \(database.name) TO \(role)")
            }
            try await admin.bootstrap(options)
            let credentials = try await admin.createTenant(TenantConfig(name: role + "_one"))
            try await TenantFixture.withTenant(credentials) { try await $0.query("SELECT 1") }
            try await admin.removeTenant(named: role + "_one")
            await admin.close()
        }

        @Test func withoutBootstrapEverythingSaysSo() async throws {
            try await TenantFixture.withAdmin(bootstrap: false) { admin in
                let codes = [
                    await #expect(throws: AdminError.self) { try await admin.tenants() },
                    await #expect(throws: AdminError.self) { try await admin.createTenant(TenantConfig(name: "acme")) },
                    await #expect(throws: AdminError.self) { try await admin.removeTenant(named: "acme") },
                    await #expect(throws: AdminError.self) { try await admin.plannedSQL(removing: "acme") },
                ].map { $0?.code }
                #expect(codes == Array(repeating: .notBootstrapped, count: 4))
            }
        }

        @Test func aTenantWorksByItsCredentialsAloneAndIsGoneAfterRemoval() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let credentials = try await admin.createTenant(TenantFixture.config(name, sets: TenantFixture.sets()))
                #expect(credentials.tenant == name)
                #expect(credentials.schema == name)
                #expect(credentials.password.utf8.count == 43)
                let tenant = try await admin.tenant(named: name)
                #expect(tenant.state == .active)
                #expect(tenant.login == credentials.username)
                let newest = try MigrationSet.embedded(.tenant).newestVersion
                #expect(tenant.version == newest)
                #expect(try await admin.tenants().map(\.name) == [name])
                try await TenantFixture.withTenant(credentials) { connection in
                    // Unqualified: the login's own search_path leads to its schema.
                    try await connection.query("INSERT INTO items (name) VALUES ('one')")
                    #expect(try await connection.query("SELECT nextval('tickets')").single() == 1)
                    #expect(try await connection.query("SELECT answer()").single(as: Int32.self) == 42)
                    #expect(try await connection.query("SELECT current_schema()::text").single() == name)
                    let refused = [
                        "CREATE TABLE x ()", "DROP TABLE items", "UPDATE cloacina_migrations SET version = 9",
                    ]
                    for sql in refused {
                        let error = await #expect(throws: PostgresError.self) {
                            try await connection.query(PostgresStatement(sql, prepared: false))
                        }
                        #expect(error?.sqlState == "42501", "\(sql)")
                    }
                }
                let report = try await admin.removeTenant(named: name)
                #expect(report.proof.count >= 16)
                #expect(report.proof.allSatisfy { $0.remaining == 0 })
                #expect(report.droppedRelations > 0)
                #expect(try await admin.tenants().isEmpty)
                let error = await #expect(throws: AdminError.self) { try await admin.removeTenant(named: name) }
                #expect(error?.code == .tenantNotFound)
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
            await #expect(throws: PostgresError.self) {
                _ = try await PostgresConnection.connect(
                    PostgresConfiguration(
                        "postgresql://\(name)_a:x@127.0.0.1/\(try #require(TestDatabase.current).name)"))
            }
            #expect(
                try await TenantFixture.ledger(of: name) == [
                    "create reserve done", "create provision done", "create deliver done",
                    "remove disable done", "remove sessions done", "remove prepared done", "remove large_objects done",
                    "remove drop_schema done", "remove drop_owned done", "remove elsewhere done",
                    "remove drop_roles done", "remove prove done",
                ])
        }

        @Test func theServiceLoginActsAsATenantOnlyOnRequest() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantFixture.config(name, sets: TenantFixture.sets()))
                let tenant = try await admin.tenant(named: name)
                #expect(tenant.label(.role).role == name + "_engine")
                #expect(tenant.label(.role, for: .data).role == name + "_runtime")
                try await TenantFixture.withSuperuser { connection in
                    try await connection.query("SET SESSION AUTHORIZATION cloacina_service")
                    let refused = await #expect(throws: PostgresError.self) {
                        try await connection.query("SELECT * FROM \(unescaped: name).items")
                    }
                    #expect(refused?.sqlState == "42501")
                    try await connection.query("SET ROLE \(unescaped: name)_runtime")
                    #expect(try await connection.query("SELECT * FROM \(unescaped: name).items").isEmpty)
                }
                try await admin.removeTenant(named: name)
            }
        }

        @Test func aSchemaWithAnotherNameAndAGivenPasswordWork() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                var config = TenantConfig(name: name)
                config.schemaName = name + "_data"
                config.password = " p@ss'w\"o\\rd;:/?#[]%&=+$,{}|<>`~"
                let credentials = try await admin.createTenant(config)
                #expect(credentials.schema == name + "_data")
                try await TenantFixture.withTenant(credentials) { connection in
                    let schema: String = try await connection.query("SELECT current_schema()::text").single()
                    #expect(schema == name + "_data")
                }
                try await admin.removeTenant(named: name)
            }
        }

        @Test func anExistingSchemaIsNeverAdopted() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                try await TenantFixture.withSuperuser {
                    try await $0.script("CREATE SCHEMA \(name); CREATE TABLE \(name).x ()")
                }
                let error = await #expect(throws: AdminError.self) {
                    try await admin.createTenant(TenantConfig(name: name))
                }
                #expect(error?.code == .schemaExists)
                #expect(try await admin.tenants().isEmpty)
            }
            #expect(try await TenantFixture.traces(of: name) == ["schema \(name)"])
        }

        @Test(arguments: ["_owner", "_runtime", "_engine", "_a", "_b"])
        func anExistingRoleIsNeverAdopted(suffix: String) async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                try await TenantFixture.withSuperuser { try await $0.script("CREATE ROLE \(name + suffix)") }
                let error = await #expect(throws: AdminError.self) {
                    try await admin.createTenant(TenantConfig(name: name))
                }
                #expect(error?.code == .roleExists)
                #expect(error?.message.contains(name + suffix) == true)
                #expect(try await admin.tenants().isEmpty)
            }
            #expect(try await TenantFixture.traces(of: name) == ["role \(name + suffix)"])
            try await TenantFixture.withSuperuser { try await $0.script("DROP ROLE \(name + suffix)") }
        }

        @Test func aSecondCreationOfANameChangesNothing() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let credentials = try await admin.createTenant(TenantConfig(name: name))
                let before = try await TenantFixture.ledger(of: name)
                let error = await #expect(throws: AdminError.self) {
                    try await admin.createTenant(TenantConfig(name: name))
                }
                #expect(error?.code == .tenantExists)
                #expect(try await TenantFixture.ledger(of: name) == before)
                try await TenantFixture.withTenant(credentials) { try await $0.query("SELECT 1") }
                var config = TenantConfig(name: name + "_other")
                config.schemaName = name
                let taken = await #expect(throws: AdminError.self) { try await admin.createTenant(config) }
                #expect(taken?.code == .schemaExists)
                try await admin.removeTenant(named: name)
            }
        }

        @Test func ofManyCreationsOfOneNameAtOnceExactlyOneSucceeds() async throws {
            let name = TenantFixture.name()
            let configuration = try #require(TestDatabase.current).administrator
            try await TenantFixture.withAdmin { admin in
                let outcomes = await withTaskGroup(of: Result<TenantCredentials, any Error>.self) { group in
                    for number in 0..<12 {
                        // Some share a connection, some have their own.
                        let creator = number % 3 == 0 ? admin : DatabaseAdmin(configuration)
                        group.addTask {
                            do { return .success(try await creator.createTenant(TenantConfig(name: name))) } catch {
                                return .failure(error)
                            }
                        }
                    }
                    return await group.reduce(into: []) { $0.append($1) }
                }
                let credentials = outcomes.compactMap { try? $0.get() }
                #expect(credentials.count == 1)
                for outcome in outcomes {
                    guard case .failure(let error) = outcome else { continue }
                    let code = (error as? AdminError)?.code
                    #expect(code == .tenantExists || code == .busy, "\(error)")
                }
                try await TenantFixture.withTenant(try #require(credentials.first)) { try await $0.query("SELECT 1") }
                try await admin.removeTenant(named: name)
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
        }

        /// X3: a creation that stops in a file says that the same command goes on, and it does.
        @Test func aCreationThatStopsInAFileIsFinishedByTheSameCall() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let sets = try TenantFixture.sets("SELECT 1/0;")
                let error = await #expect(throws: AdminError.self) {
                    try await admin.createTenant(TenantFixture.config(name, sets: sets))
                }
                #expect(error?.code == .migrationFailed)
                #expect(error?.sqlState == "22012")
                #expect(error?.step == "files")
                #expect(error?.message.contains("0001_things.tenant.sql:7") == true)
                #expect(error?.message.contains("the same command goes on") == true)
                #expect(try await admin.tenant(named: name).state == .creating)
                #expect(
                    try await TenantFixture.ledger(of: name)
                        == ["create reserve done", "create provision done", "create deliver failed"])
                let credentials = try await admin.createTenant(
                    TenantFixture.config(name, sets: TenantFixture.sets()))
                try await TenantFixture.withTenant(credentials) { try await $0.query("SELECT * FROM items") }
                #expect(try await admin.tenant(named: name).versions == ["app": 1])
                try await admin.removeTenant(named: name)
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
        }

        @Test func creatingTenantsOpensNoConnectionPerTenant() async throws {
            let names = (0..<5).map { _ in TenantFixture.name() }
            try await TenantFixture.withAdmin { admin in
                let pid = try await admin.backendPID()
                for name in names { _ = try await admin.createTenant(TenantConfig(name: name)) }
                #expect(try await admin.backendPID() == pid)
                for name in names { try await admin.removeTenant(named: name) }
                #expect(try await admin.backendPID() == pid)
            }
        }

        @Test func removalEndsTheTenantsSessionsAndDropsItsLargeObjects() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let credentials = try await admin.createTenant(TenantFixture.config(name, sets: TenantFixture.sets()))
                let configuration = PostgresConfiguration(credentials.connectionString)
                let sessions = [
                    try await PostgresConnection.connect(configuration),
                    try await PostgresConnection.connect(configuration),
                ]
                try await sessions[0].query("SELECT lo_create(0)")
                try await sessions[1].query("BEGIN")
                try await sessions[1].query("INSERT INTO items (name) VALUES ('held')")
                let report = try await admin.removeTenant(named: name)
                #expect(report.endedSessions == 2)
                #expect(report.unlinkedLargeObjects == 1)
                for session in sessions {
                    await #expect(throws: PostgresError.self) { try await session.query("SELECT 1") }
                    await session.close()
                }
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
            try await TenantFixture.withSuperuser { connection in
                let objects: Int = try await connection.query("SELECT count(*) FROM pg_largeobject_metadata").single()
                #expect(objects == 0)
            }
        }

        @Test func removalNamesWhoHoldsItsTablesAndGoesOnLater() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin(patience: .seconds(1)) { admin in
                _ = try await admin.createTenant(TenantFixture.config(name, sets: TenantFixture.sets()))
                try await TenantFixture.withSuperuser { connection in
                    try await connection.query("BEGIN")
                    try await connection.query("LOCK TABLE \(unescaped: name).items IN ACCESS SHARE MODE")
                    let error = await #expect(throws: AdminError.self) { try await admin.removeTenant(named: name) }
                    #expect(error?.code == .busy)
                    #expect(error?.step == "drop_schema")
                    #expect(error?.message.contains("pid \(connection.backendPID)") == true)
                    #expect(try await admin.tenant(named: name).state == .removing)
                    let half = await #expect(throws: AdminError.self) {
                        try await admin.createTenant(TenantConfig(name: name))
                    }
                    #expect(half?.code == .tenantNotReady)
                    try await connection.query("ROLLBACK")
                }
                try await admin.removeTenant(named: name)
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
        }

        @Test func aSchemaThatWasReplacedIsLeftAlone() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                try await TenantFixture.withSuperuser {
                    try await $0.script(
                        "DROP SCHEMA \(name) CASCADE; CREATE SCHEMA \(name); CREATE TABLE \(name).precious ()")
                }
                let error = await #expect(throws: AdminError.self) { try await admin.removeTenant(named: name) }
                #expect(error?.code == .schemaReplaced)
                #expect(try await TenantFixture.traces(of: name).count == 6)
                try await TenantFixture.withSuperuser { try await $0.script("ALTER SCHEMA \(name) RENAME TO kept") }
                try await admin.removeTenant(named: name)
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
        }

        @Test func aSchemaTooLargeForOneTransactionGoesInParts() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantFixture.config(name, sets: TenantFixture.sets()))
                try await TenantFixture.withSuperuser { connection in
                    try await connection.script(
                        """
                        SET ROLE \(name)_owner;
                        -- Five relations a table, and a quarter of the lock table is what one removal may take.
                        DO $$ BEGIN FOR n IN 1..(
                            SELECT current_setting('max_locks_per_transaction')::int
                                * current_setting('max_connections')::int / 20 + 100) LOOP
                            EXECUTE format('CREATE TABLE \(name).big_%s (a int PRIMARY KEY, b text, c int UNIQUE)', n);
                        END LOOP; END $$;
                        CREATE VIEW \(name).v AS SELECT * FROM \(name).big_1;
                        CREATE MATERIALIZED VIEW \(name).m AS SELECT * FROM \(name).v;
                        """)
                }
                let report = try await admin.removeTenant(named: name)
                #expect(report.dropTransactions > 1)
                #expect(report.droppedRelations >= 500)
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
        }

        @Test func plannedSQLChangesNothingAndHidesTheSecret() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let config = TenantFixture.config(name, sets: try TenantFixture.sets())
                let plan = try await admin.plannedSQL(creating: config)
                #expect(plan.last == "ALTER ROLE \"\(name)_a\" LOGIN PASSWORD '********'")
                #expect(plan.contains { $0.hasPrefix("CREATE TABLE items") })
                #expect(!plan.joined().contains("SCRAM"))
                #expect(try await TenantFixture.traces(of: name).isEmpty)
                _ = try await admin.createTenant(config)
                let removal = try await admin.plannedSQL(removing: name)
                #expect(removal.contains("DROP SCHEMA \"\(name)\" CASCADE"))
                #expect(try await admin.tenant(named: name).state == .active)
                try await admin.removeTenant(named: name)
            }
        }

        @Test func whatIsPlannedIsWhatRuns() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let config = TenantFixture.config(name, sets: try TenantFixture.sets())
                let plan = try await admin.plannedSQL(creating: config)
                let connection = try await PostgresConnection.connect(try #require(TestDatabase.current).administrator)
                // The mask is a password of its own; nothing else differs.
                for statement in plan { try await connection.script(statement) }
                await connection.close()
                #expect(try await TenantFixture.traces(of: name).count == 6)
            }
        }

        @Test func thePasswordIsInNoServerLog() async throws {
            let database = try #require(TestDatabase.current)
            let log = try ServerLog.begin()
            let name = TenantFixture.name()
            let chosen = "Sesame-" + TenantFixture.name()
            try await TenantFixture.withSuperuser {
                try await $0.script(
                    """
                    ALTER DATABASE \(database.name) SET log_statement = 'all';
                    ALTER DATABASE \(database.name) SET log_min_duration_statement = 0
                    """)
            }
            try await TenantFixture.withAdmin { admin in
                let generated = try await admin.createTenant(TenantConfig(name: name))
                var config = TenantConfig(name: name + "_two")
                config.password = chosen
                _ = try await admin.createTenant(config)
                var options = BootstrapOptions()
                options.servicePassword = "Service-" + chosen
                // Other tests' databases have it too.
                options.adoptsServiceRole = true
                try await admin.bootstrap(options)
                config.name = name + "_three"
                config.migrationSets = try TenantFixture.sets("SELECT 1/0;")
                let error = await #expect(throws: AdminError.self) { try await admin.createTenant(config) }
                #expect(!String(reflecting: error).contains(chosen))
                try await admin.removeTenant(named: name)
                try await admin.removeTenant(named: name + "_two")
                try await admin.removeTenant(named: name + "_three")
                #expect(try log.contains(name))  // what was looked for could have been there
                #expect(try !log.contains(generated.password))
                #expect(try !log.contains(chosen))
            }
        }

        @Test func theFleetIsMigratedByWhatEachHistorySays() async throws {
            let names = (0..<4).map { _ in TenantFixture.name() }.sorted()
            try await TenantFixture.withAdmin { admin in
                for name in names.prefix(3) { _ = try await admin.createTenant(TenantConfig(name: name)) }
                let sets = try TenantFixture.sets()
                _ = try await admin.createTenant(TenantFixture.config(names[3], sets: sets))
                let before = try await admin.migrationStatus(sets: sets)
                #expect(!before.isCurrent)
                #expect(before.tenants.map { $0.pending.count } == [1, 1, 1, 0])
                // One of them can't be migrated; the others go on.
                try await TenantFixture.withSuperuser {
                    try await $0.script("SET ROLE \(names[1])_owner; CREATE TABLE \(names[1]).notes ()")
                }
                var seen: [String] = []
                let report = try await admin.migrate(sets: sets) { seen.append($0.tenant) }
                #expect(seen == Array(names.prefix(3)))
                #expect(report.upToDate == 1)
                #expect(report.failures.map(\.tenant) == [names[1]])
                #expect(report.results[0].applied == ["app/0001_things"])
                try await TenantFixture.withSuperuser { try await $0.script("DROP TABLE \(names[1]).notes") }
                let one = try await admin.migrate(tenant: names[1], sets: sets)
                #expect(one.failures.isEmpty)
                #expect(try await admin.migrationStatus(sets: sets).isCurrent)
                #expect(try await admin.migrate(sets: sets).results.isEmpty)
                for name in names { try await admin.removeTenant(named: name) }
            }
        }
    }
}

extension DatabaseAdmin {
    /// The backend that serves the administrator.
    func backendPID() async throws -> Int32 {
        try await self.withBackend { $0.backendPID }
    }
}
