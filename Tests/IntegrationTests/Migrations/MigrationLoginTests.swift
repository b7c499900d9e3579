import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// C8: files, and whatever they set off, run over a login that may nothing but act as one tenant's owner.
    @Suite(.timeLimit(.minutes(40))) struct MigrationLoginTests {
        /// A block that lays the owner's role down and makes a role.
        private static func climb(_ evil: String) -> String {
            "BEGIN PERFORM set_config('role', 'none', false); EXECUTE 'CREATE ROLE \(evil) LOGIN'; "
        }

        // MARK: What a file reaches

        @Test("C8: a file that lays its role down can make no role", arguments: [true, false])
        func aFileThatLaysItsRoleDownCanMakeNoRole(isTransactional: Bool) async throws {
            let (name, evil) = (TenantFixture.name(), TestDatabase.uniqueName("evil"))
            let climb = "DO $$ \(Self.climb(evil)) END $$;"
            let set = try MigrationFixture.set([
                1: isTransactional
                    ? "CREATE TABLE made (id int);\n" + climb : "-- migrate:no-transaction\n" + climb
            ])
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                let result = try #require(try await admin.migrate(sets: [set]).results.first)
                #expect(result.outcome == .failed)
                #expect(result.failure?.sqlState == "42501")
                #expect(try await MigratorWatch.exists(evil) == false)
                #expect(try await MigratorWatch.hasTable("made", in: name) == false)
                #expect(try await MigratorWatch.logins().isEmpty)
                try await admin.removeTenant(named: name)
            }
        }

        @Test("C8: nor can a new tenant's file, and the same call finishes the creation once it is mended")
        func aNewTenantsFileCanMakeNoRole() async throws {
            let (name, evil) = (TenantFixture.name(), TestDatabase.uniqueName("evil"))
            let set = try MigrationFixture.set([1: "DO $$ \(Self.climb(evil)) END $$;"])
            let mended = try MigrationFixture.set([1: "CREATE TABLE made (id int);"])
            try await TenantFixture.withAdmin { admin in
                let error = await #expect(throws: AdminError.self) {
                    try await admin.createTenant(TenantFixture.config(name, sets: [set]))
                }
                #expect(error?.sqlState == "42501" && error?.code == .migrationFailed)
                #expect(try await MigratorWatch.exists(evil) == false)
                #expect(try await MigratorWatch.logins().isEmpty)
                _ = try await admin.createTenant(TenantFixture.config(name, sets: [mended]))
                #expect(try await MigratorWatch.hasTable("made", in: name))
                #expect(try await MigratorWatch.logins().isEmpty)
                try await admin.removeTenant(named: name)
            }
        }

        @Test("C8: a trigger on a tenant's history is not the administrator, whatever writes there")
        func aTriggerOnAHistoryIsNotTheAdministrator() async throws {
            let (name, evil) = (TenantFixture.name(), TestDatabase.uniqueName("evil"))
            let (old, new) = ([1: "CREATE TABLE a (id int);"], [1: "CREATE TABLE a (id bigint);"])
            let more = try MigrationFixture.set(old.merging([2: "CREATE TABLE made (id int);"]) { $1 })
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantFixture.config(name, sets: [MigrationFixture.set(old)]))
                try await TenantFixture.withSuperuser {
                    try await $0.script(
                        """
                        SET ROLE \(name)_owner; SET search_path TO \(name), pg_temp;
                        CREATE FUNCTION pwn() RETURNS trigger LANGUAGE plpgsql AS $$ \(Self.climb(evil)) RETURN NEW; END $$;
                        CREATE TRIGGER pwn BEFORE INSERT OR UPDATE ON cloacina_migrations
                            FOR EACH ROW EXECUTE FUNCTION pwn()
                        """)
                }
                let result = try #require(try await admin.migrate(sets: [more]).results.first)
                #expect(result.outcome == .failed && result.failure?.sqlState == "42501", "\(result)")
                let error = await #expect(throws: AdminError.self) {
                    try await admin.rebless(1, of: "app", tenant: name, sets: [MigrationFixture.set(new)])
                }
                #expect(error?.sqlState == "42501")
                #expect(try await MigratorWatch.exists(evil) == false)
                #expect(try await MigratorWatch.hasTable("made", in: name) == false)
                #expect(try await MigratorWatch.logins().isEmpty)
                try await admin.removeTenant(named: name)
            }
        }

        /// Planted after the fleet was surveyed, so that only the reading before the tenant's turn sets it off.
        @Test(
            "C8: code that the reading of a history sets off runs over the login, and reads nothing of the administrator's"
        )
        func codeThatAHistorySetsOffRunsOverTheLogin() async throws {
            let names = [TenantFixture.name(), TenantFixture.name()].sorted()
            let evil = TestDatabase.uniqueName("evil")
            let plant = """
                SET ROLE \(names[1])_owner; SET search_path TO \(names[1]), pg_temp;
                CREATE TABLE seen (name text, error text);
                CREATE FUNCTION act() RETURNS void LANGUAGE plpgsql AS $$ DECLARE words text[] := '{}'; BEGIN
                    IF session_user::text LIKE 'cloacina\\_migrator\\_%' THEN
                        BEGIN
                            PERFORM set_config('role', 'none', true); PERFORM FROM cloacina.tenants;
                        EXCEPTION WHEN OTHERS THEN words := words || SQLSTATE::text; END;
                        BEGIN
                            PERFORM set_config('role', 'none', true); EXECUTE 'CREATE ROLE \(evil)';
                        EXCEPTION WHEN OTHERS THEN words := words || SQLSTATE::text; END;
                        PERFORM set_config('role', '\(names[1])_owner', true);
                        INSERT INTO \(names[1]).seen VALUES (session_user, words::text);
                    END IF;
                END $$;
                CREATE FUNCTION pwn(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
                    PERFORM \(names[1]).act(); RETURN true; END $$;
                CREATE INDEX ON cloacina_migrations (version) WHERE pwn('x')
                """
            try await TenantFixture.withAdmin { admin in
                for name in names { _ = try await admin.createTenant(TenantConfig(name: name)) }
                _ = try await admin.migrate(sets: TenantFixture.sets()) { result in
                    guard result.tenant == names[0] else { return }
                    do {
                        try await TenantFixture.withSuperuser { try await $0.script(plant) }
                    } catch {
                        Issue.record(error)
                    }
                }
                let errors: [String] = try await TenantFixture.withSuperuser {
                    try await $0.query("SELECT DISTINCT error FROM \(identifier: names[1]).seen").column("error")
                }
                #expect(errors == ["{42501,42501}"])
                #expect(try await MigratorWatch.exists(evil) == false)
                #expect(try await MigratorWatch.logins().isEmpty)
                for name in names { try await admin.removeTenant(named: name) }
            }
        }

        @Test("C8: a view that takes a history's place while the administrator waits for its lock is not read")
        func aViewInAHistorysPlaceIsNotRead() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                try await TenantFixture.withSuperuser { holder in
                    try await holder.script(
                        """
                        SET ROLE \(name)_owner; SET search_path TO \(name), pg_temp;
                        BEGIN; ALTER TABLE cloacina_migrations RENAME TO moved;
                        CREATE VIEW cloacina_migrations AS SELECT * FROM moved
                        """)
                    let task = Task { try await admin.migrationStatus() }
                    try await TenantFixture.withSuperuser {
                        try await $0.waitUntil(
                            """
                            SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                                           AND wait_event_type = 'Lock' AND query LIKE '%cloacina_migrations%')
                            """)
                    }
                    try await holder.script("COMMIT")
                    let status = try #require(try await task.value.tenants.first)
                    #expect(status.problems.map(\.kind) == [.unreadable], "\(status)")
                    try await holder.script(
                        "DROP VIEW cloacina_migrations; ALTER TABLE moved RENAME TO cloacina_migrations")
                }
                try await admin.removeTenant(named: name)
            }
        }

        // MARK: What is left on the session

        @Test("C8: a lock, a LISTEN, a temporary table and a prepared statement of a file's end with the tenant's turn")
        func nothingOfASessionReachesTheNextTenant() async throws {
            let names = (0..<2).map { _ in TenantFixture.name() }.sorted()
            let set = try MigrationFixture.set([
                1: """
                CREATE TABLE found AS SELECT
                    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS locks,
                    (SELECT count(*) FROM pg_listening_channels()) AS channels,
                    (SELECT count(*) FROM pg_prepared_statements WHERE from_sql) AS statements,
                    (SELECT count(*) FROM pg_class WHERE relname = 'left_over') AS tables;
                DO $$ BEGIN
                    EXECUTE 'SELECT pg_advisory_lock(4711)'; EXECUTE 'LISTEN gossip'; EXECUTE 'PREPARE once AS SELECT 1';
                    EXECUTE 'CREATE TEMP TABLE left_over (id int)';
                END $$;
                """
            ])
            try await TenantFixture.withAdmin { admin in
                for name in names { _ = try await admin.createTenant(TenantConfig(name: name)) }
                let report = try await admin.migrate(sets: [set])
                #expect(report.results.map(\.outcome) == [.migrated, .migrated])
                for name in names {
                    let sum: Int = try await TenantFixture.withSuperuser {
                        try await $0.query(
                            "SELECT locks + channels + statements + tables FROM \(identifier: name).found"
                        ).single()
                    }
                    #expect(sum == 0)
                }
                try await TenantFixture.withSuperuser { try await $0.waitUntil(MigratorWatch.isGone) }
                let locks: Int = try await TenantFixture.withSuperuser {
                    try await $0.query(
                        """
                        SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                        WHERE l.locktype = 'advisory' AND d.datname = current_database()
                        """
                    ).single()
                }
                #expect(locks == 0)
                for name in names { try await admin.removeTenant(named: name) }
            }
        }

        @Test("C8: each tenant of a fleet has a login of its own, which is a member of that tenant's owner alone")
        func eachTenantsFilesRunOverALoginOfTheirOwn() async throws {
            let names = (0..<3).map { _ in TenantFixture.name() }.sorted()
            let set = try MigrationFixture.set([
                1: """
                CREATE TABLE seen AS SELECT session_user::text AS name, ARRAY(
                    SELECT m.roleid::regrole::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member
                    WHERE r.rolname = session_user) AS owners;
                """
            ])
            try await TenantFixture.withAdmin { admin in
                for name in names { _ = try await admin.createTenant(TenantConfig(name: name)) }
                // A fleet that needs nothing makes none.
                #expect(try await admin.migrate().upToDate == 3)
                try await admin.migrate(sets: [set])
                var logins: Set<String> = []
                for name in names {
                    let row = try await TenantFixture.withSuperuser {
                        try await $0.query("SELECT name, owners FROM \(identifier: name).seen")[0]
                    }
                    logins.insert(try row.value("name"))
                    #expect(try row.value("owners", as: [String].self) == ["\(name)_owner"])
                }
                #expect(logins.count == names.count)
                #expect(logins.allSatisfy { $0.hasPrefix("cloacina_migrator_") })
                #expect(try await MigratorWatch.logins().isEmpty)
                // The history names who applied it, not the login, which is gone.
                let actors: [String] = try await TenantFixture.withSuperuser {
                    try await $0.query(
                        """
                        SELECT DISTINCT applied_by::text AS name FROM \(identifier: names[0]).cloacina_migrations
                        """
                    ).column("name")
                }
                let user = try await admin.endpoint().user
                #expect(actors == [user])
                for name in names { try await admin.removeTenant(named: name) }
            }
        }

        /// Before PostgreSQL 15 a session may make others members of the role that it logged in as.
        @Test("C8: a login that a file lent out to a tenant serves no other one")
        func aLoginThatAFileLentOutServesNoOtherTenant() async throws {
            let names = (0..<2).map { _ in TenantFixture.name() }.sorted()
            let set = try MigrationFixture.set([
                1: """
                CREATE TABLE seen AS SELECT count(*) AS members FROM pg_auth_members m
                    JOIN pg_roles l ON l.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
                    WHERE l.rolname = session_user AND r.rolname = '\(names[0])_a';
                DO $$
                DECLARE owner text := current_schema() || '_owner';
                BEGIN
                    PERFORM set_config('role', 'none', true);
                    BEGIN
                        EXECUTE format('GRANT %I TO \(names[0])_a', session_user);
                    EXCEPTION WHEN insufficient_privilege THEN NULL;
                    END;
                    PERFORM set_config('role', owner, true);
                END $$;
                """
            ])
            try await TenantFixture.withAdmin { admin in
                for name in names { _ = try await admin.createTenant(TenantConfig(name: name)) }
                let report = try await admin.migrate(sets: [set])
                #expect(report.results.map(\.outcome) == [.migrated, .migrated], "\(report)")
                for name in names {
                    let members: Int = try await TenantFixture.withSuperuser {
                        try await $0.query("SELECT members FROM \(identifier: name).seen").single()
                    }
                    #expect(members == 0)
                }
                #expect(try await MigratorWatch.logins().isEmpty)
                for name in names { try await admin.removeTenant(named: name) }
            }
        }

        /// Its author's own session would call it all the time; here the next tenant's file does, in the midst of that turn.
        @Test("C8: a function that a file made as the login gives its author no rights of the next tenant's owner")
        func aFunctionMadeAsTheLoginNeverMeetsTheNextOwner() async throws {
            let names = (0..<2).map { _ in TenantFixture.name() }.sorted()
            let set = try MigrationFixture.set([
                1: """
                CREATE TABLE seen (functions bigint, is_called boolean NOT NULL DEFAULT false);
                DO $$
                DECLARE login text := session_user;
                BEGIN
                    IF current_schema() <> '\(names[0])' THEN
                        INSERT INTO seen (functions) VALUES (0);
                        BEGIN
                            PERFORM \(names[0]).give(current_user);
                            UPDATE seen SET is_called = true;
                        EXCEPTION WHEN OTHERS THEN NULL;
                        END;
                        RETURN;
                    END IF;
                    GRANT USAGE, CREATE ON SCHEMA \(names[0]) TO PUBLIC;
                    PERFORM set_config('role', 'none', true);
                    EXECUTE 'CREATE FUNCTION \(names[0]).act(text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
                        AS $f$ BEGIN EXECUTE $1; END $f$';
                    EXECUTE 'CREATE FUNCTION \(names[0]).give(name) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
                        AS $f$ BEGIN EXECUTE format(''ALTER FUNCTION \(names[0]).act(text) OWNER TO %I'', $1); END $f$';
                    PERFORM set_config('role', '\(names[0])_owner', true);
                    INSERT INTO seen SELECT count(*) FROM pg_proc WHERE proowner = login::regrole;
                END $$;
                """
            ])
            try await TenantFixture.withAdmin { admin in
                for name in names { _ = try await admin.createTenant(TenantConfig(name: name)) }
                let report = try await admin.migrate(sets: [set])
                #expect(report.results.map(\.outcome) == [.migrated, .migrated], "\(report)")
                try await TenantFixture.withSuperuser { connection in
                    let made: Int = try await connection.query("SELECT functions FROM \(identifier: names[0]).seen")
                        .single()
                    #expect(made == 2)
                    let isCalled: Bool = try await connection.query(
                        "SELECT is_called FROM \(identifier: names[1]).seen"
                    ).single()
                    #expect(!isCalled)
                    let owners: [String] = try await connection.query(
                        """
                        SELECT p.proowner::regrole::text AS name FROM pg_proc p
                        JOIN pg_namespace n ON n.oid = p.pronamespace
                        WHERE n.nspname = \(names[0]) AND p.proname IN ('act', 'give')
                        """
                    ).column("name")
                    #expect(owners.isEmpty)
                }
                #expect(try await MigratorWatch.logins().isEmpty)
                for name in names { try await admin.removeTenant(named: name) }
            }
        }

        // MARK: The way back

        @Test(
            "C14: a check that a file defers to its commit fails in the server's words, whoever's login it runs over",
            arguments: [MigrationLogin.shortLived, .administrator])
        func aDeferredCheckFailsInTheServersWords(login: MigrationLogin) async throws {
            let name = TenantFixture.name()
            let set = try MigrationFixture.set([
                1: """
                CREATE TABLE shares (parts int);
                CREATE FUNCTION share() RETURNS trigger LANGUAGE plpgsql AS $$
                    BEGIN PERFORM 1 / NEW.parts; RETURN NULL; END $$;
                CREATE CONSTRAINT TRIGGER share AFTER INSERT ON shares DEFERRABLE INITIALLY DEFERRED
                    FOR EACH ROW EXECUTE FUNCTION share();
                INSERT INTO shares VALUES (0);
                """
            ])
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                let other = DatabaseAdmin(
                    try #require(TestDatabase.current).administrator, faults: .none, migrationLogin: login)
                let failure = try #require(try await other.migrate(sets: [set]).results.first?.failure)
                await other.close()
                #expect(failure.sqlState == "22012")
                #expect(failure.message == "division by zero" && failure.code == "failedClean", "\(failure)")
                try await admin.removeTenant(named: name)
            }
        }

        @Test("C8: with --files-as-administrator files run as before, and the command says so")
        func filesRunAsTheAdministratorOnRequest() async throws {
            let name = TenantFixture.name()
            try await AdminCommand.with { command in
                try await TenantFixture.withAdmin { admin in
                    _ = try await admin.createTenant(TenantConfig(name: name))
                    try FileManager.default.createDirectory(
                        atPath: command.path("app"), withIntermediateDirectories: false)
                    try Data("-- migrate:up\nCREATE TABLE who AS SELECT session_user::text AS name;\n".utf8)
                        .write(to: URL(filePath: command.path("app/0001_who.tenant.sql")))
                    let answer = try await command.run(
                        "migrate", "apply", "--migrations", command.path("app") + "=app", "--files-as-administrator")
                    #expect(answer.status == 0, "\(answer.notes)")
                    #expect(answer.notes.contains("warning: --files-as-administrator"))
                    let who: String = try await TenantFixture.withSuperuser {
                        try await $0.query("SELECT name FROM \(identifier: name).who").single()
                    }
                    let user = try await admin.endpoint().user
                    #expect(who == user)
                    try await admin.removeTenant(named: name)
                }
            }
        }
    }
}
