import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// M1 and C8: grants after migrations, and what may run in an administrator's session.
    @Suite(.timeLimit(.minutes(40))) struct PrivilegeTests {
        private static func sets(_ text: String) throws -> [MigrationSet] {
            let migration = try Migration(
                fileName: "0001_m.tenant.sql", contents: Array("-- migrate:up\n\(text)\n".utf8))
            return [try MigrationSet(source: "app", lane: .tenant, migrations: [migration])]
        }

        @Test func aNewTenantsGrantsAreAsAMigrationWouldMakeThem() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                let report = try await admin.migrate(sets: try TenantFixture.sets())
                #expect(report.results.map(\.outcome) == [.migrated])
                #expect(report.results.map(\.restoredPrivileges) == [[]])
                try await admin.removeTenant(named: name)
            }
        }

        /// M1: the tenant's own DROP OWNED takes the schema's default privileges away.
        @Test func whatATenantDroppedOfItsPrivilegesIsThereAfterTheNextMigration() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let credentials = try await admin.createTenant(TenantConfig(name: name))
                try await TenantFixture.withTenant(credentials) {
                    try await $0.script("DROP OWNED BY \(name)_runtime")
                }
                let report = try await admin.migrate(sets: try TenantFixture.sets())
                #expect(report.failures.isEmpty)
                let restored = try #require(report.results.first).restoredPrivileges
                #expect(restored.contains { $0.hasPrefix("ALTER DEFAULT PRIVILEGES") })
                #expect(restored.contains { $0.contains("\(name).items") })
                try await TenantFixture.withTenant(credentials) { session in
                    try await session.query("INSERT INTO items (name) VALUES ('one')")
                    #expect(try await session.query("SELECT answer()").single(as: Int32.self) == 42)
                    #expect(try await session.query("SELECT nextval('tickets')").single() == 1)
                }
                let audit: [String] = try await TenantFixture.withSuperuser {
                    try await $0.query(
                        "SELECT detail FROM cloacina.audit WHERE action = 'tenant.privileges_restored' AND tenant_name = \(name)"
                    ).column("detail")
                }
                #expect(audit.count == 1)
                try await admin.removeTenant(named: name)
            }
        }

        @Test("M1: what was put right is told by the command, on standard error and in its document")
        func rightsThatWerePutRightAreToldByTheCommand() async throws {
            let name = TenantFixture.name()
            try await AdminCommand.with { command in
                try await TenantFixture.withAdmin { admin in
                    let credentials = try await admin.createTenant(TenantConfig(name: name))
                    try await TenantFixture.withTenant(credentials) {
                        try await $0.script("DROP OWNED BY \(name)_runtime")
                    }
                    try FileManager.default.createDirectory(
                        atPath: command.path("app"), withIntermediateDirectories: false)
                    try Data("-- migrate:up\nCREATE TABLE a (id int);\n".utf8)
                        .write(to: URL(filePath: command.path("app/0001_a.tenant.sql")))
                    let answer = try await command.run(
                        "migrate", "apply", "--migrations", command.path("app") + "=app", "--output", "ndjson")
                    #expect(answer.status == 0, "\(answer.notes)")
                    #expect(
                        answer.notes.contains(
                            "\(name): what its roles may do was changed, by a file or by somebody, and is put right: GRANT"
                        ))
                    #expect(answer.output.contains(#""restoredPrivileges":["ALTER DEFAULT PRIVILEGES"#))
                    try await admin.removeTenant(named: name)
                }
            }
        }

        /// A REVOKE without effect locks the table's row in the catalogs for as long as its transaction lasts.
        @Test("M1: a tenant that holds what is to be put right holds nobody up, and is told what was applied")
        func aHeldRightIsWaitedForInBounds() async throws {
            let name = TenantFixture.name()
            let texts = [1: "CREATE TABLE a (id int);", 2: "CREATE TABLE b (id int);"]
            let (first, both) = (
                try MigrationFixture.set(texts.filter { $0.key == 1 }), try MigrationFixture.set(texts)
            )
            try await TenantFixture.withAdmin { admin in
                let credentials = try await admin.createTenant(TenantFixture.config(name, sets: [first]))
                try await TenantFixture.withSuperuser {
                    try await $0.script("SET ROLE \(name)_owner; REVOKE INSERT ON \(name).a FROM \(name)_runtime")
                }
                try await TenantFixture.withTenant(credentials) { holder in
                    try await holder.script("BEGIN; REVOKE SELECT ON a FROM \(name)_a")
                    let held = try #require(try await admin.migrate(sets: [both]).results.first)
                    #expect(held.outcome == .busy)
                    #expect(held.applied == ["app/0002_m2"])
                    #expect(try await TenantFixture.ledger(of: name).last == "migrate migrate failed")
                    try await holder.script("ROLLBACK")
                }
                // The registry differs until all is right, so the next run does what was left.
                #expect(try await admin.tenant(named: name).versions["app"] == 1)
                let report = try await admin.migrate(sets: [both])
                #expect(report.results.map(\.outcome) == [.current])
                #expect(report.results.first?.restoredPrivileges.contains { $0.hasPrefix("GRANT INSERT") } == true)
                #expect(try await admin.tenant(named: name).versions["app"] == 2)
                try await admin.removeTenant(named: name)
            }
        }

        @Test func theEnginesTablesAreClosedAgainAfterTheNextMigration() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let credentials = try await admin.createTenant(TenantConfig(name: name))
                try await TenantFixture.withSuperuser {
                    try await $0.script(
                        """
                        SET ROLE \(name)_owner; GRANT ALL ON \(name).cloacina_pipelines TO \(name)_runtime;
                        GRANT SELECT ON \(name).cloacina_wakeups TO PUBLIC;
                        REVOKE ALL ON \(name).cloacina_events FROM \(name)_engine
                        """)
                }
                let report = try await admin.migrate(sets: try TenantFixture.sets())
                #expect(report.results.first?.restoredPrivileges.count == 3)
                try await TenantFixture.withTenant(credentials) { session in
                    for table in ["cloacina_pipelines", "cloacina_wakeups"] {
                        let error = await #expect(throws: PostgresError.self) {
                            try await session.script("SELECT * FROM \(table)")
                        }
                        #expect(error?.sqlState == "42501")
                    }
                }
                try await admin.removeTenant(named: name)
            }
        }

        // MARK: Reading

        /// Code that lays down the role it runs as and makes another one, tied to what the reading verbs read.
        @Test(arguments: [
            "ALTER TABLE cloacina_pipelines ENABLE ROW LEVEL SECURITY; ALTER TABLE cloacina_pipelines FORCE ROW LEVEL SECURITY; "
                + "CREATE POLICY p ON cloacina_pipelines USING (pwn('x'))",
            "CREATE INDEX ON cloacina_pipelines (id) WHERE pwn(workflow)",
            "CREATE INDEX ON cloacina_events ((pwn(kind)))",
            "CREATE STATISTICS st ON (pwn(kind)), task FROM cloacina_events",
            "ALTER TABLE cloacina_task_commits ADD CHECK (pwn(task))",
            "ALTER TABLE cloacina_pipelines RENAME TO aside; "
                + "CREATE VIEW cloacina_pipelines AS SELECT * FROM aside WHERE pwn(workflow); "
                + "GRANT ALL ON cloacina_pipelines TO PUBLIC",
            "CREATE TABLE child (CHECK (pwn(kind))) INHERITS (cloacina_events)",
            "DROP VIEW cloacina_pipeline_list; CREATE TYPE mood AS ENUM ('cancel'); "
                + "DROP INDEX cloacina_pipelines_request; "
                + "ALTER TABLE cloacina_pipelines ALTER request TYPE mood USING request::text::mood",
            "DROP VIEW cloacina_pipeline_list; CREATE TYPE mood AS ENUM ('cancel'); CREATE DOMAIN moody AS mood; "
                + "DROP INDEX cloacina_pipelines_request; "
                + "ALTER TABLE cloacina_pipelines ALTER request TYPE moody USING request::text::mood",
        ])
        func theAdministratorReadsNothingThatRunsSomebodysCode(plant: String) async throws {
            let (name, evil) = (TenantFixture.name(), TestDatabase.uniqueName("evil"))
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                let label = try await admin.tenant(named: name).label(.role)
                var configuration = PostgresPoolConfiguration(try #require(TestDatabase.current).administrator)
                configuration.maximumConnections = 1
                try await PostgresPool.withPool(configuration) { pool in
                    let store = PostgresWorkflowStore(pool: pool, label: label, isGuarded: true)
                    #expect(try await store.list(PipelineQuery()).isEmpty)
                    #expect(try await store.load(.version7()) == nil)
                    try await TenantFixture.withSuperuser {
                        try await $0.script(
                            """
                            SET ROLE \(name)_owner; SET search_path TO \(name), pg_temp;
                            CREATE FUNCTION pwn(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
                                PERFORM set_config('role', 'none', false); EXECUTE 'CREATE ROLE \(evil) LOGIN';
                                RETURN true; END $$;
                            GRANT EXECUTE ON FUNCTION pwn TO PUBLIC;
                            \(plant)
                            """)
                    }
                    for read in [
                        { _ = try await store.list(PipelineQuery()) }, { _ = try await store.load(.version7()) },
                    ] {
                        let error = await #expect(throws: PipelineError.self) { try await read() }
                        #expect(error?.underlying is TableGuard.Untrusted, "\(String(describing: error))")
                    }
                }
                let roles: Int = try await TenantFixture.withSuperuser {
                    try await $0.query("SELECT count(*) FROM pg_roles WHERE rolname = \(evil)").single()
                }
                #expect(roles == 0)
                try await admin.removeTenant(named: name)
            }
        }

        /// C8: an operator or an aggregate in the schema whose types fit better than those of `pg_catalog` is not taken.
        @Test func theAdministratorReadsWithNoOperatorOrFunctionOfTheTenants() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let credentials = try await admin.createTenant(TenantConfig(name: name))
                try await TenantFixture.withTenant(credentials) { try await $0.query("SELECT cloacina_enqueue('w')") }
                try await TenantFixture.withSuperuser {
                    try await $0.script(
                        """
                        SET ROLE \(name)_owner; SET search_path TO \(name), pg_temp;
                        CREATE FUNCTION pwn(bigint, interval) RETURNS interval LANGUAGE plpgsql AS $$ BEGIN
                            RAISE 'somebody''s code ran'; END $$;
                        CREATE FUNCTION pwn(uuid[], uuid) RETURNS uuid[] LANGUAGE plpgsql AS $$ BEGIN
                            RAISE 'somebody''s code ran'; END $$;
                        CREATE OPERATOR * (LEFTARG = bigint, RIGHTARG = interval, FUNCTION = pwn);
                        CREATE AGGREGATE array_agg(uuid) (SFUNC = pwn, STYPE = uuid[]);
                        GRANT EXECUTE ON ALL ROUTINES IN SCHEMA \(name) TO PUBLIC
                        """)
                }
                let label = try await admin.tenant(named: name).label(.role)
                let pool = PostgresPoolConfiguration(try #require(TestDatabase.current).administrator)
                try await PostgresPool.withPool(pool) { pool in
                    let store = PostgresWorkflowStore(pool: pool, label: label, isGuarded: true)
                    let pipeline = try #require(try await store.list(PipelineQuery()).first)
                    #expect(try await store.load(pipeline.id)?.events.count == 1)
                    let waiting = try await store.waiting(longerThan: 0, workflow: nil, limit: 10)
                    #expect(waiting.count == 1)
                }
                try await admin.removeTenant(named: name)
            }
        }

        /// C8: code tied to a tenant's history, which runs while a query over it is planned.
        @Test(arguments: [
            "CREATE INDEX ON cloacina_migrations (version) WHERE pwn('x')",
            "CREATE TABLE child (CHECK (pwn('x'))) INHERITS (cloacina_migrations)",
        ])
        func theAdministratorReadsNoHistoryThatRunsSomebodysCode(plant: String) async throws {
            let (names, evil) = (
                [TenantFixture.name(), TenantFixture.name()].sorted(), TestDatabase.uniqueName("evil")
            )
            try await TenantFixture.withAdmin { admin in
                for name in names { _ = try await admin.createTenant(TenantConfig(name: name)) }
                try await TenantFixture.withSuperuser {
                    try await $0.script(
                        """
                        SET ROLE \(names[0])_owner; SET search_path TO \(names[0]), pg_temp;
                        CREATE FUNCTION pwn(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
                            BEGIN PERFORM set_config('role', 'none', false); EXCEPTION WHEN OTHERS THEN RETURN true; END;
                            EXECUTE 'CREATE ROLE \(evil) LOGIN'; RETURN true; END $$;
                        \(plant)
                        """)
                }
                let status = try await admin.migrationStatus(sets: [])
                #expect(status.tenants.map { $0.problems.map(\.kind) } == [[.unreadable], []])
                let report = try await admin.migrate(sets: [])
                #expect(report.failures.map(\.tenant).allSatisfy { $0 == names[0] })
                let roles: Int = try await TenantFixture.withSuperuser {
                    try await $0.query("SELECT count(*) FROM pg_roles WHERE rolname = \(evil)").single()
                }
                #expect(roles == 0)
                for name in names { try await admin.removeTenant(named: name) }
            }
        }

        @Test func aGuardedReadWritesNothingAndSeesWhatIsThere() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                let label = try await admin.tenant(named: name).label(.role)
                let pool = PostgresPoolConfiguration(try #require(TestDatabase.current).administrator)
                try await PostgresPool.withPool(pool) { pool in
                    let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                    let runner = try DefaultRunner(pool: pool, label: label, workflows: [workflow])
                    let id = try await runner.enqueue("w").id
                    let store = PostgresWorkflowStore(pool: pool, label: label, isGuarded: true)
                    #expect(try await store.list(PipelineQuery()).map(\.id) == [id])
                    #expect(try await store.load(id)?.events.count == 1)
                    let error = await #expect(throws: PipelineError.self) { try await store.ask(.cancel, of: id) }
                    #expect((error?.underlying as? PostgresError)?.sqlState == "25006")
                }
                try await admin.removeTenant(named: name)
            }
        }

        // MARK: Migrations

        /// C8: a file that leaves the session as somebody else's fails its tenant, and no other one.
        @Test(arguments: [
            ("set_config('role', 'none', true)", "rolled back"),
            ("set_config('search_path', 'pg_catalog', true)", "rolled back"),
            ("set_config('role', current_user::text, false)", "committed"),
            ("set_config('search_path', current_setting('search_path'), false)", "committed"),
        ])
        func aMigrationThatChangesTheSessionFailsItsTenantAlone(call: String, end: String) async throws {
            let names = [TenantFixture.name(), TenantFixture.name()].sorted()
            try await TenantFixture.withAdmin { admin in
                for name in names { _ = try await admin.createTenant(TenantConfig(name: name)) }
                let sets = try Self.sets(
                    """
                    CREATE TABLE made (id int);
                    DO $$ BEGIN IF current_schema() = '\(names[0])' THEN PERFORM \(call); END IF; END $$;
                    """)
                let report = try await admin.migrate(sets: sets)
                #expect(report.results.map(\.outcome) == [.failed, .migrated])
                let error = try #require(report.results.first?.error)
                #expect(error.contains("sessionChanged") && error.contains(end), "\(error)")
                // The administrator's session is its own again.
                let isOwn: Bool = try await admin.withBackend {
                    try await $0.query("SELECT session_user = current_user").single()
                }
                #expect(isOwn)
                for name in names { try await admin.removeTenant(named: name) }
            }
        }

        @Test func aNewTenantsMigrationThatChangesTheSessionLeavesItHalfCreated() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let sets = try Self.sets("DO $$ BEGIN PERFORM set_config('role', 'none', true); END $$;")
                let error = await #expect(throws: AdminError.self) {
                    try await admin.createTenant(TenantFixture.config(name, sets: sets))
                }
                #expect(error?.code == .migrationFailed && error?.message.contains("sessionChanged") == true)
                #expect(try await admin.tenant(named: name).state == .creating)
                try await admin.removeTenant(named: name)
                #expect(try await TenantFixture.traces(of: name).isEmpty)
            }
        }
    }
}
