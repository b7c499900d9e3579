import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Glibc
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// The attack log: what a directory of migrations may hold, and what its files may do.
    @Suite(.timeLimit(.minutes(40))) struct AttackLogMigrationTests {
        /// What is in the place of a file, and is neither waited for, read without end, nor shown.
        enum Place: String, CaseIterable, Sendable {
            case pipe, endlessDevice, secret, directory, danglingLink

            func make(at path: String) throws {
                switch self {
                case .pipe: try #require(unsafe mkfifo(path, 0o600) == 0)
                case .endlessDevice:
                    try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: "/dev/zero")
                case .secret:
                    try PrivateFile.create(path + ".real", holding: Array("root:$6$sesame:19000:0:\n".utf8))
                    try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: path + ".real")
                case .directory:
                    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
                case .danglingLink:
                    try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: "/nowhere/at/all")
                }
            }
        }

        @Test(arguments: Place.allCases)
        func whatIsNoMigrationIsRefusedAndNotShown(place: Place) async throws {
            try await AdminCommand.with { command in
                let directory = command.path("app")
                try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
                try place.make(at: directory + "/0001_a.tenant.sql")
                let answer = try await command.run(
                    "migrate", "apply", "--migrations", directory + "=app", "--output", "json")
                #expect([1, 2].contains(answer.status), "\(answer.notes)")
                #expect(answer.notes.contains("0001_a.tenant.sql"))
                #expect(!(answer.notes + answer.output).contains("sesame"))
            }
        }

        /// Refused before a server is asked; the spellings of each statement are in `SQLSplitterTests`.
        @Test(arguments: [
            "COMMIT", "ROLLBACK AND CHAIN", "PREPARE TRANSACTION 'x'", "SET search_path = public",
            "SET LOCAL ROLE \"none\"",
            "set/**/local -- a comment\n role 'none'", "RESET ROLE", "SET SESSION AUTHORIZATION DEFAULT",
            "SELECT U&\"\\0073et_config\"('role', 'none', true); CREATE ROLE evil", "\\c template1", "\\! id",
            "SELECT 'a\u{0}b'", "SELECT 1;\n-- migrate:up\nSELECT 2", "COPY items FROM STDIN", "CREATE DATABASE x",
        ])
        func whatWouldLeaveTheTransactionIsRefusedUnread(statement: String) {
            let error = #expect(throws: MigrationError.self) { try MigrationFixture.set([1: statement]) }
            #expect(error?.code == .invalidFile, "\(String(describing: error))")
        }

        @Test func whatIsNotUTF8IsRefusedUnread() {
            let error = #expect(throws: MigrationError.self) {
                try Migration(
                    fileName: "0001_a.tenant.sql", contents: Array("-- migrate:up\nSELECT '".utf8) + [0xFF, 0xFE, 0x27])
            }
            #expect(error?.code == .invalidFile)
        }

        /// As a false server could: its words reach a terminal and a document without what a terminal obeys.
        @Test func whatAServerSaysCommandsNoTerminal() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { _ = try await $0.createTenant(TenantConfig(name: name)) }
            try await AdminCommand.with { command in
                let directory = command.path("app")
                try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
                let text = """
                    -- migrate:up
                    DO $$ BEGIN RAISE EXCEPTION USING
                        MESSAGE = E'seen \\x1b]0;title\\x07 \\u009b31m \\u202e', HINT = E'hint \\x1b[2J'; END $$;

                    """
                try PrivateFile.create(directory + "/0001_a.tenant.sql", holding: Array(text.utf8))
                for output in ["table", "json"] {
                    let answer = try await command.run(
                        "migrate", "apply", "--migrations", directory + "=app", "--output", output)
                    #expect(answer.status == 4, "\(answer.notes)")
                    #expect((answer.notes + answer.output).contains("seen "))
                    let scalars = (answer.notes + answer.output).unicodeScalars
                    for scalar in ["\u{1B}", "\u{7}", "\u{9B}", "\u{202E}"] as [Unicode.Scalar] {
                        #expect(!scalars.contains(scalar), "U+\(String(scalar.value, radix: 16)) in \(output)")
                    }
                }
            }
        }

        /// What hides in a `DO` is found out when it runs: it fails its tenant, and the next one gets a clean session.
        @Test(arguments: [
            ("DO $$ BEGIN IF {mine} THEN EXECUTE 'COMMIT'; END IF; END $$;", "0A000"),
            ("CREATE TABLE left_over (); DO $$ BEGIN IF {mine} THEN COMMIT; END IF; END $$;", "2D000"),
            ("DO $$ BEGIN IF {mine} THEN RESET ROLE; EXECUTE 'CREATE ROLE {evil}'; END IF; END $$;", "42501"),
            (
                "-- migrate:no-transaction\nDO $$ BEGIN IF {mine} THEN RESET ROLE; END IF; END $$;",
                "sessionChanged"
            ),
            (
                "-- migrate:no-transaction\nDO $$ BEGIN IF {mine} THEN SET search_path = pg_catalog; END IF; END $$;",
                "sessionChanged"
            ),
        ])
        func whatHidesInADoFailsItsTenantAlone(text: String, words: String) async throws {
            let (names, evil) = (
                [TenantFixture.name(), TenantFixture.name()].sorted(), TestDatabase.uniqueName("evil")
            )
            let file = text.replacing("{mine}", with: "current_schema() = '\(names[0])'").replacing(
                "{evil}", with: evil)
            let set = try MigrationFixture.set([1: file])
            try await TenantFixture.withAdmin { admin in
                for name in names { _ = try await admin.createTenant(TenantConfig(name: name)) }
                let report = try await admin.migrate(sets: [set])
                #expect(report.results.map(\.outcome) == [.failed, .migrated])
                let error = try #require(report.results.first?.error)
                #expect(error.contains(words), "\(error)")
                let traces: Int = try await TenantFixture.withSuperuser {
                    try await $0.query(
                        """
                        SELECT count(*) FROM (
                            SELECT FROM pg_roles WHERE rolname = \(evil)
                            UNION ALL SELECT FROM pg_tables WHERE schemaname = \(names[0]) AND tablename = 'left_over'
                        ) AS traces
                        """
                    ).single()
                }
                #expect(traces == 0)
                for name in names { try await admin.removeTenant(named: name) }
            }
        }
    }
}
