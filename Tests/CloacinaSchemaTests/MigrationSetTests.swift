import CloacinaMigrations
import CloacinaSchema
import FoundationEssentials
import Testing

@Suite struct MigrationSetTests {
    private static let up = "-- migrate:up\nSELECT 1;\n"

    private func withDirectory<R>(_ files: [String: String], _ body: (String) throws -> R) throws -> R {
        let path = FileManager.default.temporaryDirectory.path + "/cloacina-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: path) }
        for (name, text) in files {
            try Data(text.utf8).write(to: URL(filePath: path + "/" + name))
        }
        return try body(path)
    }

    @Test func readsADirectoryInOrderWithGaps() throws {
        let files = [
            "0010_c.tenant.sql": Self.up, "0002_a.tenant.sql": Self.up, "0009_b.tenant.sql": Self.up, "README.md": "x",
            "0001_x.control.sql": "not read", ".0003_hidden.tenant.sql": "not read", "0004_d.tenant.sql~": "not read",
        ]
        let set = try self.withDirectory(files) { try MigrationSet(directory: $0, source: "shop") }
        #expect(set.migrations.map(\.name) == ["0002_a", "0009_b", "0010_c"])
        #expect(set.newestVersion == 10)
        #expect(set.source == "shop")
    }

    @Test func anEmptyDirectoryIsAnEmptySet() throws {
        #expect(try self.withDirectory([:]) { try MigrationSet(directory: $0, source: "shop") }.newestVersion == 0)
    }

    @Test(arguments: [
        (["0001_a.tenant.sql": up, "0001_b.tenant.sql": up], MigrationError.Code.invalidSet),
        (["0001_a.sql": up], .invalidFile), (["0001_a.tenant.sql": "SELECT 1"], .invalidFile),
    ])
    func refusesDirectories(files: [String: String], code: MigrationError.Code) throws {
        let error = #expect(throws: MigrationError.self) {
            try self.withDirectory(files) { try MigrationSet(directory: $0, source: "shop") }
        }
        #expect(error?.code == code)
    }

    /// C12: both of a pair are named.
    @Test func aNumberThatOccursTwiceNamesBothFiles() throws {
        let files = [
            "0002_one.tenant.sql": Self.up, "0002_other.tenant.sql": Self.up, "0003_bad.tenant.sql": "SELECT 1",
        ]
        let error = #expect(throws: MigrationError.self) {
            try self.withDirectory(files) { try MigrationSet(directory: $0, source: "shop") }
        }
        let text = error?.complaints.map(\.description).joined(separator: "\n") ?? ""
        for name in ["0002_one.tenant.sql", "0002_other.tenant.sql", "0003_bad.tenant.sql:1"] {
            #expect(text.contains(name))
        }
    }

    /// All files' complaints, in the order of their names.
    @Test func everyFilesComplaintsAreToldInTheirOrder() throws {
        let files = Dictionary(
            uniqueKeysWithValues: (1...5).map { ("000\($0)_b.tenant.sql", "-- migrate:up\nSELECT 'a;") })
        let error = #expect(throws: MigrationError.self) {
            try self.withDirectory(files) { try MigrationSet(directory: $0, source: "shop") }
        }
        #expect(error?.complaints.map(\.file) == files.keys.sorted())
        #expect(error?.complaints.allSatisfy { $0.line == 2 } == true)
    }

    /// C12: what looks like a migration and isn't one is named.
    @Test func whatIsNotTakenIsNamed() throws {
        let files = [
            "0001_kept.tenant.sql": Self.up, "0002_upper.tenant.SQL": Self.up, "0003_editor.tenant.sql.txt": Self.up,
            "0004_lane.control.sql": Self.up, "README.md": "", ".0005_hidden.tenant.sql": Self.up,
        ]
        try self.withDirectory(files) { path in
            let below = path + "/2025"
            try FileManager.default.createDirectory(atPath: below, withIntermediateDirectories: false)
            try Data(Self.up.utf8).write(to: URL(filePath: below + "/0005_folder.tenant.sql"))
            let folder = try MigrationFolder(directory: path, source: "shop")
            #expect(folder.set.migrations.map(\.version) == [1])
            #expect(
                folder.passedOver.map(\.name) == [
                    "0002_upper.tenant.SQL", "0003_editor.tenant.sql.txt", "0004_lane.control.sql",
                    "2025/0005_folder.tenant.sql",
                ])
        }
        try self.withDirectory([:]) { path in
            let folder = try MigrationFolder(directory: path, source: "shop")
            #expect(folder.passedOver.map(\.name) == [path])
        }
    }

    @Test func aMissingDirectoryIsAnError() {
        let error = #expect(throws: MigrationError.self) {
            try MigrationSet(directory: "/nowhere/at/all", source: "shop")
        }
        #expect(error?.code == .unreadableDirectory)
    }

    @Test(arguments: ["", "Shop", "1shop", "shop;--", "shöp", String(repeating: "s", count: 49)])
    func refusesSourceNames(source: String) {
        #expect(throws: MigrationError.self) { try MigrationSet(source: source, lane: .tenant, migrations: []) }
    }

    @Test func theLibrarysOwnSourceIsTaken() {
        #expect(throws: MigrationError.self) { try MigrationSet(directory: "/tmp", source: "cloacina") }
    }

    @Test func embeddedSetsMayHaveNoGaps() throws {
        let migrations = try [1, 3].map {
            try Migration(fileName: "000\($0)_a.tenant.sql", contents: Array(Self.up.utf8))
        }
        let error = #expect(throws: MigrationError.self) {
            try MigrationSet(source: "cloacina", lane: .tenant, migrations: migrations, allowsGaps: false)
        }
        #expect(error?.version == 3)
    }
}

@Suite struct CatalogTests {
    private func folder(_ lane: MigrationLane) throws -> [String] {
        let root = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
        return try FileManager.default.contentsOfDirectory(atPath: "\(root)/migrations/\(lane.rawValue)").sorted()
    }

    private func scripts(_ lane: MigrationLane) -> [EmbeddedScript] {
        switch lane {
        case .control: Catalog.control
        case .tenant: Catalog.tenant
        case .sqlite: Catalog.sqlite
        }
    }

    @Test(arguments: MigrationLane.allCases) func listsEveryFileInOrder(lane: MigrationLane) throws {
        #expect(self.scripts(lane).map(\.fileName) == (try self.folder(lane)))
    }

    @Test(arguments: MigrationLane.allCases) func everyFileIsAMigration(lane: MigrationLane) throws {
        let set = try MigrationSet.embedded(lane)
        #expect(set.migrations.count == self.scripts(lane).count)
        #expect(set.source == MigrationSet.embeddedSource)
    }
}
