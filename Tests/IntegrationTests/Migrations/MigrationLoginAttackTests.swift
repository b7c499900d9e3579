import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// C8: what files, and other tenants, do to the login over which files run: it is gone after the turn, with whatever it had, and
    /// nobody is in its way, or in another tenant's by its means.
    @Suite(.timeLimit(.minutes(40))) struct MigrationLoginAttackTests {
        /// Statements that a file runs as the login, between two parts that it runs as the tenant's owner.
        private static func asLogin(_ name: String, _ before: String = "", _ statements: String) -> String {
            """
            DO $do$ DECLARE login name := session_user; BEGIN
                \(before)
                PERFORM set_config('role', 'none', true);
                \(statements)
                PERFORM set_config('role', '\(name)_owner', true);
            END $do$;
            """
        }

        @Test("C8: a type that a file makes as the login, uses, and grants to another tenant keeps neither of them")
        func aTypeOfTheLoginsKeepsNobody() async throws {
            let (name, victim) = (TenantFixture.name(), TenantFixture.name())
            let grant = "EXECUTE format('GRANT ALL ON SCHEMA \(name) TO %I', login);"
            let set = try MigrationFixture.set([
                1: Self.asLogin(
                    name, grant,
                    """
                    EXECUTE 'CREATE TYPE \(name).kind AS ENUM (''x'')';
                    EXECUTE 'GRANT USAGE ON TYPE \(name).kind TO \(victim)_a';
                    """) + "CREATE TABLE used (id int, kind kind);"
            ])
            try await TenantFixture.withAdmin { admin in
                for tenant in [name, victim] { _ = try await admin.createTenant(TenantConfig(name: tenant)) }
                let report = try await admin.migrate(tenant: name, sets: [set])
                #expect(report.results.map(\.outcome) == [.migrated], "\(report)")
                #expect(try await MigratorWatch.logins().isEmpty)
                for tenant in [victim, name] { try await admin.removeTenant(named: tenant) }
            }
        }

        @Test("C3b, C8: large objects that a file makes as the login go in parts, with the login")
        func largeObjectsOfTheLoginGoInParts() async throws {
            let (name, victim) = (TenantFixture.name(), TenantFixture.name())
            let set = try MigrationFixture.set([
                1: Self.asLogin(
                    name, "",
                    """
                    PERFORM lo_create(0) FROM generate_series(1, 4000);
                    EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO \(victim)_a', lo_from_bytea(0, 'kept'));
                    """)
            ])
            try await TenantFixture.withAdmin { admin in
                for tenant in [name, victim] { _ = try await admin.createTenant(TenantConfig(name: tenant)) }
                let report = try await admin.migrate(tenant: name, sets: [set])
                #expect(report.results.map(\.outcome) == [.migrated], "\(report)")
                #expect(try await MigratorWatch.logins().isEmpty)
                let left: Int = try await TenantFixture.withSuperuser {
                    try await $0.query("SELECT count(*) FROM pg_largeobject_metadata").single()
                }
                #expect(left == 0)
                for tenant in [victim, name] { try await admin.removeTenant(named: tenant) }
            }
        }

        /// Every login may connect to `postgres`, see there who is made, and grant it something.
        @Test(
            "C2, C8: what another tenant grants the login elsewhere, committed or held open, keeps no login",
            arguments: [
                false, true,
            ])
        func whatOthersGrantTheLoginKeepsNone(isCommitted: Bool) async throws {
            let (name, other) = (TenantFixture.name(), TenantFixture.name())
            let texts = [1: "CREATE TABLE gate (id int);"]
            let gated = texts.merging([2: "ALTER TABLE gate ADD title text;"]) { $1 }
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantFixture.config(name, sets: [MigrationFixture.set(texts)]))
                let credentials = try await admin.createTenant(TenantConfig(name: other))
                var elsewhere = PostgresConfiguration(credentials.connectionString)
                elsewhere.database = "postgres"
                try await TenantFixture.withSuperuser { gate in
                    try await gate.script("BEGIN; LOCK TABLE \(PostgresIdentifier.quote(name)).gate")
                    let sets = [try MigrationFixture.set(gated)]
                    let task = Task { try await admin.migrate(tenant: name, sets: sets) }
                    try await TenantFixture.withSuperuser { try await $0.waitUntil(MigratorWatch.waits) }
                    let login = try #require(try await MigratorWatch.logins().first)
                    try await PostgresConnection.withConnection(elsewhere) { intruder in
                        try await intruder.script(
                            "BEGIN; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO \(login)")
                        if isCommitted { try await intruder.script("COMMIT") }
                        try await gate.script("ROLLBACK")
                        let report = try await task.value
                        #expect(report.results.map(\.outcome) == [.migrated], "\(report)")
                        #expect(try await MigratorWatch.logins().isEmpty)
                        let isThere = (try? await intruder.query("SELECT 1")) != nil
                        #expect(isThere == isCommitted)
                    }
                }
                let audit: [String] = try await TenantFixture.withSuperuser {
                    try await $0.query(
                        """
                        SELECT detail FROM cloacina.audit WHERE action = 'tenant.intruder_ended' AND tenant_name = \(name)
                        """
                    ).column("detail")
                }
                #expect(audit.contains { $0.contains(credentials.username) } == !isCommitted)
                for tenant in [other, name] { try await admin.removeTenant(named: tenant) }
            }
        }

        /// The server answers with a warning alone, and has changed the database's row.
        ///
        /// Behind it a stranger may wait, as a vacuum does, who stands before everybody else then.
        @Test(
            "C2: a tenant's open change of the database's row holds up no creation, file, or removal",
            arguments: [false, true])
        func anOpenChangeOfTheDatabasesRowHoldsUpNobody(isBehindAnother: Bool) async throws {
            let names = (0..<3).map { _ in TenantFixture.name() }
            let set = try MigrationFixture.set([1: "CREATE TABLE made (id int);"])
            try await TenantFixture.withAdmin { admin in
                let credentials = try await admin.createTenant(TenantConfig(name: names[0]))
                _ = try await admin.createTenant(TenantConfig(name: names[1]))
                let database = PostgresIdentifier.quote(try await admin.endpoint().database)
                let open = "BEGIN; GRANT CONNECT ON DATABASE \(database) TO \(names[0])_a"
                let changes: [() async throws -> Void] = [
                    { _ = try await admin.createTenant(TenantConfig(name: names[2])) },
                    {
                        let report = try await admin.migrate(tenant: names[1], sets: [set])
                        #expect(report.results.map(\.outcome) == [.migrated], "\(report)")
                    },
                    { _ = try await admin.removeTenant(named: names[2]) },
                ]
                for change in changes {
                    try await TenantFixture.withTenant(credentials) { tenant in
                        try await tenant.script(open)
                        try await TenantFixture.withSuperuser { stranger in
                            let pid = stranger.backendPID
                            let granting = Task {
                                guard isBehindAnother else { return }
                                // It takes nothing away, and waits for the row all the same, which may have changed by then.
                                try? await stranger.script("REVOKE CONNECT ON DATABASE \(database) FROM \(names[1])_a")
                            }
                            if isBehindAnother {
                                try await TenantFixture.withSuperuser {
                                    try await $0.waitUntil("SELECT cardinality(pg_blocking_pids(\(pid))) > 0")
                                }
                            }
                            try await change()
                            await granting.value
                        }
                        await #expect(throws: PostgresError.self) { try await tenant.query("SELECT 1") }
                    }
                }
                #expect(try await MigratorWatch.logins().isEmpty)
                for name in names[..<2] { try await admin.removeTenant(named: name) }
            }
        }

        /// Functions that belong to the login, called by the tenant's own sessions: one makes large objects as long as it is there.
        @Test("C8: functions of the login's end with it, however often they are called")
        func functionsOfTheLoginEndWithIt() async throws {
            let name = TenantFixture.name()
            let sets = try Self.gated(
                name,
                "CREATE FUNCTION \(name).mk() RETURNS oid LANGUAGE sql SECURITY DEFINER AS $f$ SELECT lo_create(0) $f$")
            try await TenantFixture.withAdmin { admin in
                let credentials = try await admin.createTenant(TenantFixture.config(name, sets: [sets[0]]))
                try await TenantFixture.withSuperuser { gate in
                    try await gate.script("BEGIN; LOCK TABLE \(PostgresIdentifier.quote(name)).gate")
                    let task = Task { try await admin.migrate(tenant: name, sets: [sets[1]]) }
                    try await TenantFixture.withSuperuser { try await $0.waitUntil(MigratorWatch.waits) }
                    try await TenantFixture.withTenant(credentials) { caller in
                        let calling = Task { while true { try await caller.query("SELECT \(identifier: name).mk()") } }
                        try await gate.script("ROLLBACK")
                        let report = try await task.value
                        #expect(report.results.map(\.outcome) == [.migrated], "\(report)")
                        // Its function is gone.
                        await #expect(throws: PostgresError.self) { try await calling.value }
                    }
                }
                #expect(try await MigratorWatch.logins().isEmpty)
                try await admin.removeTenant(named: name)
            }
        }

        /// The login's own session is ended, and its row held, by code that a file made as it.
        @Test("C8: nobody keeps a session of the login's by holding its row")
        func nobodyKeepsASessionByHoldingTheLoginsRow() async throws {
            let name = TenantFixture.name()
            let sets = try Self.gated(
                name,
                """
                CREATE FUNCTION \(name).pw() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
                    $f$ BEGIN ALTER ROLE CURRENT_USER PASSWORD 'known'; END $f$
                """,
                """
                CREATE FUNCTION \(name).dismiss() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS
                    $f$ SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = current_user $f$
                """)
            try await TenantFixture.withAdmin { admin in
                let credentials = try await admin.createTenant(TenantFixture.config(name, sets: [sets[0]]))
                try await TenantFixture.withSuperuser { gate in
                    try await gate.script("BEGIN; LOCK TABLE \(PostgresIdentifier.quote(name)).gate")
                    let task = Task { try await admin.migrate(tenant: name, sets: [sets[1]]) }
                    try await TenantFixture.withSuperuser { try await $0.waitUntil(MigratorWatch.waits) }
                    let login = try #require(try await MigratorWatch.logins().first)
                    let schema = PostgresIdentifier.quote(name)
                    try await TenantFixture.withTenant(credentials) { holder in
                        try await holder.script("SELECT \(schema).pw()")
                        try await holder.script("BEGIN; SELECT \(schema).pw()")
                        try await TenantFixture.withTenant(credentials) {
                            try await $0.script("SELECT \(schema).dismiss()")
                        }
                        var configuration = try #require(TestDatabase.current).administrator
                        (configuration.user, configuration.password) = (login, "known")
                        // It may find the place taken, or be in for a moment.
                        let thief = try? await PostgresConnection.connect(configuration)
                        _ = try? await thief?.query("SELECT set_config('role', \(name + "_owner"), false)")
                        try await gate.script("ROLLBACK")
                        _ = await task.result
                        await #expect(throws: (any Error).self) { try await holder.query("SELECT 1") }
                        let answer = try? await thief?.query("SELECT 1")
                        #expect(answer == nil)
                        await thief?.close()
                    }
                }
                try await TenantFixture.withSuperuser { try await $0.waitUntil(MigratorWatch.isGone) }
                #expect(try await MigratorWatch.logins().isEmpty)
                try await admin.removeTenant(named: name)
            }
        }

        /// Files of which the last one waits for a lock on a table of the first, when the second one has run statements as the login: the
        /// first alone, and all.
        private static func gated(_ name: String, _ statements: String...) throws -> [MigrationSet] {
            let first = [1: "CREATE TABLE gate (id int);"]
            let made = statements.map { "EXECUTE $x$ \($0) $x$;" }.joined(separator: "\n")
            let grant = "EXECUTE format('GRANT ALL ON SCHEMA \(name) TO %I', login);"
            let rest = [2: Self.asLogin(name, grant, made), 3: "ALTER TABLE gate ADD title text;"]
            return [try MigrationFixture.set(first), try MigrationFixture.set(first.merging(rest) { $1 })]
        }

        @Test("C8: a file that heeds no cancel is ended with its login, and keeps the tenant from nothing")
        func aFileThatHeedsNoCancelIsEnded() async throws {
            let name = TenantFixture.name()
            let set = try MigrationFixture.set([
                1: """
                CREATE TABLE made (id int);
                DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(3600);
                    EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$;
                """
            ])
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                let task = Task { try await admin.migrate(tenant: name, sets: [set]) }
                try await TenantFixture.withSuperuser {
                    try await $0.waitUntil(
                        """
                        SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                                       AND usename LIKE 'cloacina\\_migrator\\_%' AND wait_event = 'PgSleep')
                        """)
                }
                task.cancel()
                _ = await task.result
                #expect(
                    try await TenantFixture.withSuperuser {
                        try await $0.query(MigratorWatch.isGone).single(as: Bool.self)
                    })
                #expect(try await MigratorWatch.logins().isEmpty)
                try await admin.removeTenant(named: name)
            }
        }

        @Test(
            "C8: the session of a killed command's file is ended by the removal of its tenant, and left alone by others"
        )
        func aLeftSessionIsEndedByARemoval() async throws {
            let (name, login) = (TenantFixture.name(), "cloacina_migrator_0123456789ab")
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantFixture.config(name, sets: TenantFixture.sets()))
                try await admin.withBackend { connection in
                    let database = connection.endpoint.database
                    let mark: String = try await connection.query(
                        """
                        SELECT format('cloacina: migrator of database %s, made by session 1 of role 1 at 1', oid) AS mark
                        FROM pg_database WHERE datname = current_database()
                        """
                    ).single()
                    let set = connection.serverVersion >= 160_000 ? " WITH INHERIT FALSE, SET TRUE" : ""
                    for sql in [
                        "CREATE ROLE \(login) LOGIN NOINHERIT PASSWORD 'known'",
                        "COMMENT ON ROLE \(login) IS '\(mark)'",
                        "GRANT CONNECT ON DATABASE \(PostgresIdentifier.quote(database)) TO \(login)",
                        "GRANT \(name)_owner TO \(login)\(set)",
                    ] { try await connection.query(PostgresStatement(sql, prepared: false)) }
                }
                var configuration = try #require(TestDatabase.current).administrator
                (configuration.user, configuration.password) = (login, "known")
                try await PostgresConnection.withConnection(configuration) { left in
                    try await left.script("BEGIN; SET ROLE \(name)_owner; LOCK TABLE \(name).items")
                    try await admin.bootstrap()
                    #expect(try await MigratorWatch.logins() == [login])
                    try await left.query("SELECT 1")
                    try await admin.removeTenant(named: name)
                    await #expect(throws: PostgresError.self) { try await left.query("SELECT 1") }
                }
                try await TenantFixture.withSuperuser { try await $0.waitUntil(MigratorWatch.isGone) }
                try await admin.bootstrap()
                #expect(try await MigratorWatch.logins().isEmpty)
            }
        }

        @Test("C8: a history with values of any length is not read, and hides no other tenant's")
        func aHistoryOfAnyLengthIsNotRead() async throws {
            let names = [TenantFixture.name(), TenantFixture.name()].sorted()
            try await TenantFixture.withAdmin { admin in
                for name in names { _ = try await admin.createTenant(TenantConfig(name: name)) }
                try await TenantFixture.withSuperuser {
                    try await $0.script(
                        """
                        SET ROLE \(names[0])_owner; SET search_path TO \(names[0]), pg_temp;
                        ALTER TABLE cloacina_migrations ALTER title TYPE text;
                        UPDATE cloacina_migrations SET title = repeat('x', 100000)
                        """)
                }
                let status = try await admin.migrationStatus().tenants
                #expect(status.map { $0.problems.map(\.kind) } == [[.unreadable], []])
                for name in names { try await admin.removeTenant(named: name) }
            }
        }
    }

    /// C8: what a stranger keeps in a database of his own, which the administrator visits because a tenant's roles hold something.
    @Suite(.serialized, .privateServer, .timeLimit(.minutes(40))) struct StrangersRegistryTests {
        /// Makes a role and a database that it owns, both by one name; the way there as a superuser.
        private static func makeDatabase(of stranger: String) async throws -> PostgresConfiguration {
            try await TenantFixture.withSuperuser {
                for sql in ["CREATE ROLE \(stranger)", "CREATE DATABASE \(stranger) OWNER \(stranger)"] {
                    try await $0.script(sql)
                }
            }
            var configuration = try #require(TestDatabase.current).superuser
            configuration.database = stranger
            return configuration
        }

        @Test(
            "C8: code in the place of another database's registry doesn't run, in a plan or in a removal",
            arguments: [
                "view", "policy",
            ])
        func codeInARegistrysPlaceDoesNotRun(kind: String) async throws {
            try await withPrivateDatabase { _ in
                let (name, stranger) = (TenantFixture.name(), TestDatabase.uniqueName("bob"))
                let evil = TestDatabase.uniqueName("evil")
                let columns = """
                    name text, state text, role_oids oid[], owner_role text, runtime_role text, login_a text, login_b text
                    """
                let place =
                    kind == "view"
                    ? """
                    CREATE FUNCTION cloacina.rows() RETURNS TABLE (\(columns)) LANGUAGE plpgsql AS
                        $$ BEGIN PERFORM cloacina.pwn(); END $$;
                    CREATE VIEW cloacina.tenants AS SELECT * FROM cloacina.rows();
                    """
                    : """
                    CREATE TABLE cloacina.tenants (\(columns)); INSERT INTO cloacina.tenants (name) VALUES ('x');
                    ALTER TABLE cloacina.tenants ENABLE ROW LEVEL SECURITY;
                    CREATE POLICY p ON cloacina.tenants USING (cloacina.pwn());
                    """
                try await TenantFixture.withAdmin { admin in
                    _ = try await admin.createTenant(TenantConfig(name: name))
                    let configuration = try await Self.makeDatabase(of: stranger)
                    try await PostgresConnection.withConnection(configuration) {
                        try await $0.script(
                            """
                            SET ROLE \(stranger); CREATE SCHEMA cloacina; GRANT USAGE ON SCHEMA cloacina TO PUBLIC;
                            CREATE FUNCTION cloacina.pwn() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                                EXECUTE 'CREATE ROLE \(evil)'; RETURN true; END $$;
                            \(place)
                            GRANT ALL ON cloacina.tenants TO PUBLIC;
                            CREATE TABLE held (id int); GRANT SELECT ON held TO \(name)_a
                            """)
                    }
                    let plan = await #expect(throws: AdminError.self) { try await admin.plannedSQL(removing: name) }
                    let removal = await #expect(throws: AdminError.self) { try await admin.removeTenant(named: name) }
                    #expect([plan?.code, removal?.code] == [.usedElsewhere, .usedElsewhere])
                    #expect(removal?.message.contains("DROP SCHEMA cloacina") == true)
                    #expect(try await MigratorWatch.exists(evil) == false)
                    #expect(try await admin.tenant(named: name).state == .active)
                    try await PostgresConnection.withConnection(configuration) {
                        try await $0.script("DROP SCHEMA cloacina CASCADE; DROP TABLE held")
                    }
                    try await admin.removeTenant(named: name)
                }
                try await TenantFixture.withSuperuser { try await $0.script("DROP DATABASE \(stranger)") }
            }
        }

        @Test("C8: a stranger's functions in the path of his database don't run in the administrator's session")
        func functionsInADatabasesPathDoNotRun() async throws {
            try await withPrivateDatabase { _ in
                let (name, stranger) = (TenantFixture.name(), TestDatabase.uniqueName("bob"))
                let evil = TestDatabase.uniqueName("evil")
                try await TenantFixture.withAdmin { admin in
                    let credentials = try await admin.createTenant(TenantConfig(name: name))
                    let configuration = try await Self.makeDatabase(of: stranger)
                    try await PostgresConnection.withConnection(configuration) {
                        try await $0.script(
                            """
                            SET ROLE \(stranger); CREATE SCHEMA bad; GRANT USAGE ON SCHEMA bad TO PUBLIC;
                            CREATE FUNCTION bad.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
                                EXECUTE 'CREATE ROLE \(evil)'; RETURN pg_catalog.set_config($1, $2, $3); END $$;
                            ALTER DATABASE \(stranger) SET search_path TO bad, pg_catalog
                            """)
                    }
                    var elsewhere = PostgresConfiguration(credentials.connectionString)
                    elsewhere.database = stranger
                    _ = try await PostgresConnection.withConnection(elsewhere) {
                        try await $0.query("SELECT lo_create(0)")
                    }
                    _ = try await admin.plannedSQL(removing: name)
                    #expect(try await admin.removeTenant(named: name).cleanedDatabases == [stranger])
                    #expect(try await MigratorWatch.exists(evil) == false)
                }
                try await TenantFixture.withSuperuser { try await $0.script("DROP DATABASE \(stranger)") }
            }
        }
    }
}
