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
        ("-- migrate:up\nSELECT 1;\nSET ROLE x", 3), ("-- migrate:up\nSELECT '\0'", 2),
    ])
    func refusesAFileWithItsLine(text: String, line: Int) {
        let error = #expect(throws: MigrationError.self) { try self.parse(text) }
        #expect(error?.code == .invalidFile)
        #expect(error?.line == line)
    }

    /// C11: licences, prose and quotations.
    @Test(arguments: [
        "/*\n * Copyright\n * -- migrate:down\n */\n-- migrate:up\nSELECT 1",
        "-- migrate:up\n/*\n-- migrate:down\n*/ SELECT 1", "-- migrate:up\n-- migrate: the old values first\nSELECT 1",
        "-- migrate:up\nSELECT $file$\n-- migrate:up\nCREATE TABLE example ();\n-- migrate:down\n$file$",
        "-- migrate:up\nSELECT '\n-- migrate:verify\n'", "-- migrate:up\nSELECT \"\n-- migrate:down\n\" FROM t",
        "-- migrate:up\rSELECT 1\r",
    ])
    func commentsAndQuotationsAreNoMarkers(text: String) throws {
        let migration = try self.parse(text)
        #expect(migration.up.count == 1)
        #expect(migration.down.isEmpty && migration.verify.isEmpty)
    }

    @Test func aMarkerWithAnOptionNamesTheWayWithoutATransaction() {
        let error = #expect(throws: MigrationError.self) { try self.parse("-- migrate:up transaction:false\nVACUUM") }
        #expect(error?.reason?.contains("-- migrate:no-transaction") == true)
    }

    /// C10: a dump has many things that a migration can't have; each is told, in the order of the file.
    @Test func everythingThatIsWrongWithAFileIsToldAtOnce() throws {
        let dump = """
            -- migrate:up
            \\restrict abc
            SET statement_timeout = 0;
            SELECT pg_catalog.set_config('search_path', '', false);
            CREATE TABLE articles (id integer);
            COPY articles (id, title) FROM stdin;
            1\tone; and it's a half
            \\.
            CREATE INDEX CONCURRENTLY i ON articles (id);
            -- migrate:undo
            \\unrestrict abc
            """
        let error = #expect(throws: MigrationError.self) { try self.parse(dump) }
        #expect(error?.complaints.map(\.line) == [2, 3, 4, 6, 9, 10, 11])
        #expect(error?.complaints.allSatisfy { $0.file == "0001_a.tenant.sql" } == true)
        #expect(error?.line == 2)
        #expect(error?.description.contains("and 6 more") == true)
    }

    /// C13
    @Test func anotherEncodingIsNamedWithItsLine() {
        func error(_ bytes: [UInt8]) -> MigrationError? {
            #expect(throws: MigrationError.self) { try Migration(fileName: "0001_a.tenant.sql", contents: bytes) }
        }
        let text = "-- migrate:up\nSELECT 1;\n"
        let wide = text.utf16.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] }
        for bytes in [[0xFF, 0xFE] + wide, wide] {
            #expect(error(bytes)?.reason?.contains("UTF-16") == true)
            #expect(error(bytes)?.line == 1)
        }
        let latin = error(Array((text + "SELECT 'M").utf8) + [0xFC] + Array("nchen';\n".utf8))
        #expect(latin?.line == 3)
        #expect(latin?.reason?.contains("Latin-1") == true)
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

    /// C09: what lies between quotes counts, and reaches the server, byte by byte.
    @Test(arguments: ["'%'", "E'%'", "$$%$$", "$tag$%$tag$", "\"%\"", "U&'%'", "N'%'"])
    func aQuotationIsKeptByteByByte(form: String) throws {
        var canonical: Set<String> = []
        for value in ["a  \nb", "a\nb", "a\r\nb", "a\rb", "a\t\r\nb  ", "a\n\n"] {
            let quotation = form.replacing("%", with: value)
            let text = "-- migrate:up  \r\nSELECT \(quotation)  ;\r\n"
            let migration = try Migration(fileName: "0001_a.tenant.sql", contents: Array(text.utf8))
            #expect(migration.up.map { Array($0.text.utf8) } == [Array("SELECT \(quotation)".utf8)])
            canonical.insert(migration.canonicalChecksum)
        }
        #expect(canonical.count == 6)
    }

    @Test func whatIsRunDiffersInLineEndsAloneForEqualChecksums() throws {
        let unix = try Migration(fileName: "0001_a.tenant.sql", contents: Array(Self.text.utf8))
        let windows = try Migration(
            fileName: "0001_a.tenant.sql", contents: Array(Self.text.replacing("\n", with: " \r\n").utf8))
        #expect(unix.up.map(\.text) == windows.up.map { $0.text.replacing(" \r\n", with: "\n") })
    }
}
