import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Synchronization
import Testing

extension ServerTests {
    /// The server's words on a migration, and what a failure left, reach the operator.
    @Suite(.timeLimit(.minutes(40))) struct ServerWordsTests {
        private static let check = """
            -- migrate:up
            DO $$
            DECLARE bad integer;
            BEGIN
                SELECT count(*) INTO bad FROM stock WHERE amount < 0;
                RAISE WARNING 'rows below zero: %', bad;
                IF bad > 0 THEN
                    RAISE EXCEPTION 'mend % rows first', bad
                        USING HINT = 'set them to zero', DETAIL = 'the amounts are negative';
                END IF;
            END $$;
            SELECT  nix FROM stock;
            """

        @Test("C14: file, line, message, detail, hint and warnings reach report and ledger")
        func theServersWordsReachReportAndLedger() async throws {
            let (bad, worse) = (TenantFixture.name(), TenantFixture.name())
            let stock = "CREATE TABLE stock (sku text, amount integer);"
            let set = try MigrationFixture.set([1: stock, 2: Self.check])
            try await TenantFixture.withAdmin { admin in
                let names = [bad, worse].sorted()
                for name in names { _ = try await admin.createTenant(TenantConfig(name: name)) }
                let first = try MigrationFixture.set([1: stock])
                try await admin.migrate(sets: [first])
                try await TenantFixture.withSuperuser {
                    try await $0.script("INSERT INTO \(names[0]).stock VALUES ('x', -1)")
                }
                let report = try await admin.migrate(sets: [set])
                #expect(report.failures.map(\.tenant) == names)
                let raised = try #require(report.results[0].failure)
                #expect(raised.file == "0002_m2.tenant.sql")
                #expect(raised.line == 2)
                #expect(raised.sqlState == "P0001")
                #expect(raised.message == "mend 1 rows first")
                #expect(raised.detail == "the amounts are negative")
                #expect(raised.hint == "set them to zero")
                #expect(report.results[0].notices.map(\.message) == ["rows below zero: 1"])
                #expect(report.results[0].notices.map(\.severity) == ["WARNING"])
                // The other one comes as far as the second statement.
                let unknown = try #require(report.results[1].failure)
                #expect(unknown.line == 12)
                #expect(unknown.column == 9)
                #expect(report.results[1].notices.map(\.message) == ["rows below zero: 0"])

                let ledger: [String] = try await TenantFixture.withSuperuser { connection in
                    try await connection.query(
                        """
                        SELECT concat_ws(' ', state, sqlstate, detail) AS line FROM cloacina.operations
                        WHERE tenant_name = \(names[0]) AND kind = 'migrate'
                        """
                    ).column("line")
                }
                #expect(ledger.count == 1)
                for word in ["failed P0001", "0002_m2.tenant.sql:2", "mend 1 rows first", "set them to zero"] {
                    #expect(ledger.first?.contains(word) == true)
                }
                for name in names { try await admin.removeTenant(named: name) }
            }
        }

        @Test("C14: warnings of files that went well are told, too")
        func warningsOfAGoodFileAreTold() async throws {
            let set = try MigrationFixture.set([
                1: "DO $$ BEGIN RAISE WARNING 'look here'; END $$;", 2: "DROP TABLE IF EXISTS nix;",
            ])
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                let result = try #require(try await admin.migrate(sets: [set]).results.first)
                #expect(result.notices.map(\.file) == ["0001_m1.tenant.sql", "0002_m2.tenant.sql"])
                #expect(result.notices.map(\.severity) == ["WARNING", "NOTICE"])
                #expect(result.notices.first?.text == "0001_m1.tenant.sql: WARNING: look here")
                try await admin.removeTenant(named: name)
            }
        }

        @Test("C14: a new tenant's files are no quieter, whether all of them go well or one fails")
        func remarksOnANewTenantsFilesAreTold() async throws {
            let (name, bad) = (TenantFixture.name(), TenantFixture.name())
            let texts = [1: "DO $$ BEGIN RAISE WARNING 'look here'; END $$;", 2: "DROP TABLE IF EXISTS nix;"]
            let expected = [
                "0001_m1.tenant.sql: WARNING: look here",
                #"0002_m2.tenant.sql: NOTICE: table "nix" does not exist, skipping"#,
            ]
            try await TenantFixture.withAdmin { admin in
                for (name, last) in [(name, "SELECT 1;"), (bad, "SELECT 1/0;")] {
                    let set = try MigrationFixture.set(texts.merging([3: last]) { $1 })
                    let heard = Mutex<[String]>([])
                    do {
                        _ = try await admin.createTenant(
                            TenantFixture.config(name, sets: [set]),
                            onNotice: { notice in heard.withLock { $0.append(notice.text) } })
                        #expect(last == "SELECT 1;")
                    } catch let error as AdminError {
                        #expect(error.code == .migrationFailed && last == "SELECT 1/0;")
                    }
                    #expect(heard.withLock { $0 } == expected)
                    try await admin.removeTenant(named: name)
                }
            }
        }

        @Test(
            "C14: `tenant create` tells remarks on standard error, in its table and in its document",
            arguments: ["table", "json"])
        func theCommandTellsRemarksOnANewTenantsFiles(format: String) async throws {
            struct Created: Decodable {
                struct Notice: Decodable {
                    let file: String
                    let severity: String
                    let message: String
                }
                let name: String
                let notices: [Notice]
            }
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                try await AdminCommand.with { command in
                    let text = "-- A remark.\n-- migrate:up\nDO $$ BEGIN RAISE WARNING 'look here'; END $$;\n"
                    try Data(text.utf8).write(to: URL(filePath: command.path("0001_m1.tenant.sql")))
                    let answer = try await command.run(
                        "tenant", "create", name, "--migrations", command.directory + "=app",
                        "--credentials-file", command.path("c.json"), "--output", format)
                    #expect(answer.status == 0, "\(answer.notes)")
                    let words = "0001_m1.tenant.sql: WARNING: look here"
                    #expect(answer.notes.contains("\(name): \(words)\n"))
                    if format == "table" {
                        #expect(answer.output.contains(words))
                    } else {
                        let notices = try answer.decoded(Created.self).notices
                        #expect(notices.map(\.file) == ["0001_m1.tenant.sql"])
                        #expect(notices.map(\.severity) == ["WARNING"])
                        #expect(notices.map(\.message) == ["look here"])
                    }
                }
                try await admin.removeTenant(named: name)
            }
        }

        @Test("C07: a guard against long statements doesn't hit migrations")
        func aStatementTimeoutOfTheDatabaseIsLifted() async throws {
            let database = try #require(TestDatabase.current)
            try await TenantFixture.withSuperuser {
                try await $0.script("ALTER DATABASE \(database.name) SET statement_timeout = '3s'")
            }
            let guarded = "current_setting('statement_timeout') = '0'"
            let set = try MigrationFixture.set([
                1:
                    "-- migrate:up\nCREATE TABLE a AS SELECT 1 AS id WHERE \(guarded);\n-- migrate:verify\nSELECT count(*) = 1 FROM a;",
                2: "-- migrate:no-transaction\nDO $$ BEGIN IF NOT \(guarded) THEN RAISE 'guarded'; END IF; END $$;\n"
                    + "-- migrate:verify\nSELECT \(guarded);",
            ])
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantFixture.config(name, sets: [set]))
                try await admin.removeTenant(named: name)
            }
        }

        @Test("a file that changes the role is rolled back, and the next tenant goes on")
        func aFileThatChangesTheRoleIsRolledBack() async throws {
            let set = try MigrationFixture.set([
                1:
                    "DO $$ BEGIN IF current_schema() LIKE '%_bad' THEN RESET ROLE; END IF; END $$; CREATE TABLE whose (id int);"
            ])
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let names = [name, name + "_bad", name + "_cee"]
                for name in names { _ = try await admin.createTenant(TenantConfig(name: name)) }
                let report = try await admin.migrate(sets: [set])
                #expect(report.failures.map(\.tenant) == [names[1]])
                #expect(report.results.map(\.applied) == [["app/0001_m1"], [], ["app/0001_m1"]])
                for name in names { try await admin.removeTenant(named: name) }
            }
        }

        @Test("C16: a lacking right is named, with who grants it")
        func aLackingRightIsNamed() async throws {
            let set = try MigrationFixture.set([1: "CREATE SCHEMA another;"])
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                let failure = try #require(try await admin.migrate(sets: [set]).failures.first?.failure)
                #expect(failure.sqlState == "42501")
                #expect(failure.reason?.contains("\(name)_owner\" lacks CREATE on the database") == true)
                try await admin.removeTenant(named: name)
            }
        }

        @Test("C06: a build behind a stranger's snapshot names the stranger, and the fleet goes on")
        func aBuildBehindAStrangersSnapshotNamesIt() async throws {
            let set = try MigrationFixture.set([
                1: "CREATE TABLE orders (id int);",
                2: "-- migrate:no-transaction\nCREATE INDEX CONCURRENTLY orders_by_id ON orders (id);",
            ])
            var stranger = try #require(TestDatabase.current).administrator
            stranger.applicationName = "the stranger"
            let holder = try await PostgresConnection.connect(stranger)
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let names = [name + "_one", name + "_two"]
                for name in names { _ = try await admin.createTenant(TenantConfig(name: name)) }
                try await holder.script("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
                var configuration = MigrationRunner.Configuration()
                configuration.concurrentLockTimeout = .milliseconds(100)
                let report = try await admin.migrate(sets: [set], configuration: configuration)
                #expect(report.results.map(\.outcome) == [.busy, .busy])
                for result in report.results {
                    #expect(result.applied == ["app/0001_m1"])
                    #expect(result.error?.contains("pid \(holder.backendPID) the stranger") == true)
                }
                try await holder.script("COMMIT")
                #expect(try await admin.migrate(sets: [set]).results.map(\.outcome) == [.migrated, .migrated])
                for name in names { try await admin.removeTenant(named: name) }
            }
            await holder.close()
        }

        @Test(
            "L8: a build behind another tenant's snapshot names its process and login, and since when to who may see that",
            arguments: [false, true])
        func aBuildBehindAnothersSnapshotNamesIt(maySee: Bool) async throws {
            let set = try MigrationFixture.set([
                1: "CREATE TABLE orders (id int);",
                2: "-- migrate:no-transaction\nCREATE INDEX CONCURRENTLY orders_by_id ON orders (id);",
            ])
            let (name, other) = (TenantFixture.name(), TenantFixture.name())
            // A role of its own: what it may see is its alone.
            let administrator = TenantFixture.name()
            let database = try #require(TestDatabase.current)
            try await TenantFixture.withSuperuser { connection in
                try await connection.script(
                    """
                    CREATE ROLE \(administrator) LOGIN CREATEROLE PASSWORD 'x';
                    ALTER DATABASE \(database.name) OWNER TO \(administrator);
                    """)
                if maySee { try await connection.script("GRANT pg_read_all_stats TO \(administrator)") }
            }
            var configuration = database.administrator
            configuration.user = administrator
            configuration.password = "x"
            var options = BootstrapOptions()
            options.serviceRole = TenantFixture.name()
            options.tenantsRole = TenantFixture.name()
            let admin = DatabaseAdmin(configuration)
            try await admin.bootstrap(options)
            _ = try await admin.createTenant(TenantConfig(name: name))
            let credentials = try await admin.createTenant(TenantConfig(name: other))
            try await TenantFixture.withTenant(credentials) { holder in
                try await holder.script("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
                var patience = MigrationRunner.Configuration()
                patience.concurrentLockTimeout = .milliseconds(100)
                let report = try await admin.migrate(tenant: name, sets: [set], configuration: patience)
                #expect(report.results.map(\.outcome) == [.busy])
                let sessions = report.results.first?.failure?.sessions ?? []
                let named = sessions.first { $0.hasPrefix("pid \(holder.backendPID) ") }
                #expect(named?.contains("role \(credentials.username)") == true, "\(sessions)")
                #expect(named?.contains("since ") == maySee, "\(sessions)")
                try await holder.script("COMMIT")
            }
            #expect(try await admin.migrate(tenant: name, sets: [set]).results.map(\.outcome) == [.migrated])
            await admin.close()
        }

        @Test("X1: a session lost in the middle is told of the right tenant, and the fleet goes on")
        func aLostSessionIsToldOfTheRightTenant() async throws {
            let name = TenantFixture.name()
            let names = ["_a1", "_b2", "_c3"].map { name + $0 }
            let set = try MigrationFixture.set([
                1: "CREATE TABLE a (id int);",
                2: "DO $$ BEGIN IF current_schema() LIKE '%_b2' THEN PERFORM pg_sleep(600); END IF; END $$;",
            ])
            try await TenantFixture.withAdmin { admin in
                for name in names { _ = try await admin.createTenant(TenantConfig(name: name)) }
                let work = Task { try await admin.migrate(sets: [set]) }
                try await TenantFixture.withSuperuser { connection in
                    let asleep: PostgresStatement =
                        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
                    while try await connection.query(asleep).isEmpty { await Task.yield() }
                    let pid: Int32 = try await connection.query(asleep).single()
                    try await connection.query("SELECT pg_terminate_backend(\(pid), 10000)")
                }
                let report = try await work.value
                #expect(report.results.map(\.tenant) == names)
                #expect(report.results.map(\.outcome) == [.migrated, .failed, .migrated])
                #expect(report.results[1].applied == ["app/0001_m1"])
                #expect(try await admin.tenant(named: names[1]).versions == ["app": 1])
                for name in names { try await admin.removeTenant(named: name) }
            }
        }
    }
}
