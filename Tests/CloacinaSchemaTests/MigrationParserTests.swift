import CloacinaSchema
import Testing

@Suite struct MigrationParserTests {
    private func parse(_ text: String, name: String = "0001_a.tenant.sql") throws -> Migration {
        try Migration(fileName: name, contents: Array(text.utf8))
    }

    @Test func readsNameAndSections() throws {
        let migration = try self.parse(
            """
            -- Tasks, because everything needs them.

            -- migrate:up
            CREATE TABLE tasks (id int);
            CREATE INDEX ON tasks (id);
            -- migrate:verify
            SELECT true;
              --migrate:down
            DROP TABLE tasks;
            """, name: "0042_tasks_and_more.tenant.sql")
        #expect(migration.version == 42)
        #expect(migration.title == "tasks_and_more")
        #expect(migration.name == "0042_tasks_and_more")
        #expect(migration.lane == .tenant)
        #expect(migration.isTransactional)
        #expect(migration.up.map(\.line) == [4, 5])
        #expect(migration.verify.map(\.text) == ["SELECT true"])
        #expect(migration.down.map(\.text) == ["DROP TABLE tasks"])
    }

    @Test(arguments: [
        "-- migrate:no-transaction\nVACUUM", "-- migrate:no-transaction\n-- why\n-- migrate:up\nVACUUM",
        "-- migrate:up\n-- why\n-- migrate:no-transaction\nVACUUM;",
    ])
    func noTransactionMayStandForUpOrBesideIt(text: String) throws {
        let migration = try self.parse(text)
        #expect(!migration.isTransactional)
        #expect(migration.up.map(\.text) == ["VACUUM"])
        #expect(!migration.isInspectable)
    }

    @Test(arguments: [
        ("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS By_Name ON t (a)", Migration.IndexChange.create("by_name")),
        ("CREATE INDEX CONCURRENTLY \"By;Name\" ON t (a)", .create("By;Name")),
        ("DROP INDEX CONCURRENTLY IF EXISTS by_name", .drop("by_name")),
        ("DROP INDEX CONCURRENTLY by_name RESTRICT", .drop("by_name")),
    ])
    func knowsTheIndexOfAConcurrentStatement(text: String, change: Migration.IndexChange) throws {
        #expect(try self.parse("-- migrate:no-transaction\n" + text).indexChange == change)
    }

    @Test(arguments: [
        "0001_a.sql", "001_a.tenant.sql", "00001_a.tenant.sql", "0000_a.tenant.sql", "0001-a.tenant.sql",
        "0001_.tenant.sql",
        "0001_A.tenant.sql", "0001_a__b.tenant.sql", "0001_a_.tenant.sql", "0001_ä.tenant.sql", "0001_a b.tenant.sql",
        "0001_a.other.sql", "0001_a.tenant.sql.bak", "x.tenant.sql", "", "٠٠٠١_a.tenant.sql", "+001_a.tenant.sql",
        "0001_\(String(repeating: "x", count: 65)).tenant.sql", "0001_a.b.tenant.sql",
    ])
    func refusesOtherFileNames(name: String) {
        let error = #expect(throws: MigrationError.self) { try self.parse("-- migrate:up\nSELECT 1", name: name) }
        #expect(error?.code == .invalidFile)
        #expect(error?.file == name)
    }

    @Test(arguments: [
        ("", 1), ("-- nothing", 1), ("SELECT 1;", 1), ("-- migrate:up\n-- empty", 1), ("-- migrate:down\nSELECT 1", 1),
        ("-- migrate:up\nSELECT 1;\n-- migrate:up\nSELECT 2", 3),
        ("-- migrate:up\nSELECT 1;\n-- migrate:undo\nSELECT 2", 3),
        ("-- migrate:up\nSELECT 1;\n-- migrate down\nSELECT 2", 3),
        ("-- migrate:up\nSELECT 1;\n--  Migrate: Down\nSELECT 2", 3),
        ("-- migrate:up\nSELECT 1;\n-- +migrate Down\nSELECT 2", 3), ("-- migrate:up transaction:false\nSELECT 1", 1),
        ("-- migrate:up\nSELECT 1;\n-- migrate:no-transaction\nSELECT 2", 3),
        ("-- migrate:no-transaction\nVACUUM;\n-- migrate:up\nSELECT 1", 3),
        ("-- migrate:no-transaction\nVACUUM; VACUUM", 1),
        ("-- migrate:up\nSELECT 1;\n\nCREATE INDEX CONCURRENTLY i ON t (a)", 4), ("-- migrate:up\nVACUUM t", 2),
        ("-- migrate:up\nREINDEX INDEX CONCURRENTLY i", 2), ("-- migrate:up\nALTER SYSTEM SET a = 1", 2),
        ("-- migrate:up\nALTER TABLE t DETACH PARTITION p CONCURRENTLY", 2), ("-- migrate:up\nCREATE DATABASE x", 2),
        ("-- migrate:no-transaction\nCREATE INDEX CONCURRENTLY ON t (a)", 2),
        ("-- migrate:no-transaction\nDROP INDEX CONCURRENTLY a, b", 2),
        ("-- migrate:no-transaction\nDROP INDEX CONCURRENTLY s.a", 2),
        ("-- migrate:up\nSELECT 1;\n-- migrate:verify\nDELETE FROM t", 4),
        ("-- migrate:up\n/*\n-- migrate:down\n*/ SELECT 1", 2),
        ("-- migrate:up\nSELECT 1;\nSET ROLE x", 3), ("-- migrate:up\nSELECT '\0'", 2),
    ])
    func refusesAFileWithItsLine(text: String, line: Int) {
        let error = #expect(throws: MigrationError.self) { try self.parse(text) }
        #expect(error?.code == .invalidFile)
        #expect(error?.line == line)
    }

    @Test func refusesWhatIsNotUTF8() {
        let bytes = Array("-- migrate:up\nSELECT '".utf8) + [0xFF, 0xFE] + Array("'".utf8)
        #expect(throws: MigrationError.self) { try Migration(fileName: "0001_a.tenant.sql", contents: bytes) }
    }

    @Test(arguments: [
        "-- migrate the old rows by hand\n-- migrate:up\nSELECT 1", "-- migrate:up\n-- migrates upwards\nSELECT 1",
        "\u{feff}-- migrate:up\r\nSELECT 1;\r\n", "-- migrate:up\n-- \nREFRESH MATERIALIZED VIEW CONCURRENTLY v",
    ])
    func letsHarmlessFilesPass(text: String) throws {
        #expect(try self.parse(text).up.count == 1)
    }

    @Test func descriptionsLeaveOutTheSQL() throws {
        let error = #expect(throws: MigrationError.self) {
            try self.parse("-- migrate:up\nSET password = 'secret'; \n-- migrate:secret")
        }
        #expect(error?.description.contains("secret") == false)
        let failure = MigrationError(.failedClean, schema: "acme", statement: "INSERT secret")
        #expect(!failure.description.contains("secret"))
        #expect(failure.debugDescription.contains("secret"))
    }
}

@Suite struct MigrationChecksumTests {
    private static let text = "-- what\n-- migrate:up\nCREATE TABLE t (\n  a int\n);\n"

    private func checksums(_ text: String) throws -> (canonical: String, raw: String) {
        let migration = try Migration(fileName: "0001_a.tenant.sql", contents: Array(text.utf8))
        return (migration.canonicalChecksum, migration.rawChecksum)
    }

    @Test(arguments: [
        text.replacing("\n", with: "\r\n"), text.replacing("\n", with: "\r"), "\u{feff}" + text,
        text.replacing("(\n", with: "(  \t\n"), text + "\n\n  \n", String(text.dropLast()),
        "\u{feff}" + text.replacing("\n", with: " \r\n"),
    ])
    func blanksAndLineEndsDoNotCount(variant: String) throws {
        let original = try self.checksums(Self.text)
        let other = try self.checksums(variant)
        #expect(other.canonical == original.canonical)
        #expect(other.raw != original.raw)
    }

    @Test(arguments: [
        text.replacing("a int", with: "b int"), text.replacing("what", with: "that"), text.replacing("  a", with: " a"),
        text.replacing("(\n", with: "(\n\n"), text + "SELECT 1;", text.replacing("int", with: "INT"),
    ])
    func everyOtherChangeCounts(variant: String) throws {
        #expect(try self.checksums(variant).canonical != self.checksums(Self.text).canonical)
    }

    @Test func whatIsRunIsTheSameForEqualChecksums() throws {
        let unix = try Migration(fileName: "0001_a.tenant.sql", contents: Array(Self.text.utf8))
        let windows = try Migration(
            fileName: "0001_a.tenant.sql", contents: Array(Self.text.replacing("\n", with: " \r\n").utf8))
        #expect(unix.up == windows.up)
    }
}
