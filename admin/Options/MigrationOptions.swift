import ArgumentParser
import CloacinaSchema

/// An embedder's directory of tenant migrations, and the name its history goes by.
struct MigrationDirectory: ExpressibleByArgument, Hashable, Sendable {
    let path: String
    let source: String

    /// Reads `DIRECTORY` or `DIRECTORY=SOURCE`; the source is the directory's last component when it is not given.
    init?(argument: String) {
        var path = argument
        var source: String?
        if let equals = argument.lastIndex(of: "="), !argument[equals...].contains("/") {
            path = String(argument[..<equals])
            source = String(argument[argument.index(after: equals)...])
        }
        guard let name = source ?? path.split(separator: "/").last.map(String.init), !path.isEmpty, !name.isEmpty,
            name != ".", name != ".."
        else { return nil }
        self.path = path
        self.source = name
    }

    /// Reads the directory's files for tenants, and names on standard error those that aren't taken.
    func set(console: Console = .system) throws -> MigrationSet {
        let folder = try MigrationFolder(directory: self.path, source: self.source)
        for file in folder.passedOver {
            console.note(TextTable.printable("warning: not taken from \(self.path): \(file)"))
        }
        return folder.set
    }

    /// Two histories can't go by one name.
    static func checkSources(_ directories: [MigrationDirectory]) throws {
        let sources = directories.map(\.source)
        if let twice = sources.first(where: { source in sources.count(where: { $0 == source }) > 1 }) {
            throw ValidationError("--migrations: two directories go by the source \(twice); name one directory=source")
        }
    }
}

/// The embedder's own migrations.
struct MigrationOptions: ParsableArguments {
    @Option(
        name: .customLong("migrations"),
        parsing: .singleValue,
        help: ArgumentHelp(
            "A directory of your own migrations for tenants' schemas; may be repeated.",
            discussion: "The history goes by SOURCE, or by the directory's name.",
            valueName: "directory[=source]"),
        completion: .directory)
    var directories: [MigrationDirectory] = []

    func validate() throws {
        try MigrationDirectory.checkSources(self.directories)
    }

    /// The sets, read from their directories.
    func sets() throws -> [MigrationSet] { try self.directories.sets() }
}

/// Which schemas.
struct MigrationScopeOptions: ParsableArguments {
    @Option(
        name: .customLong("tenant"),
        help: ArgumentHelp("Only this tenant; the shared catalog and all tenants otherwise.", valueName: "name"))
    var tenant: String?
}

extension [MigrationDirectory] {
    /// The sets, read from their directories; everything that is wrong with any file is told at once.
    func sets(console: Console = .system) throws -> [MigrationSet] {
        var sets: [MigrationSet] = []
        var refusals: [MigrationError] = []
        for directory in self {
            do { sets.append(try directory.set(console: console)) } catch let error as MigrationError {
                refusals.append(error)
            }
        }
        guard let first = refusals.first else { return sets }
        let complaints = refusals.flatMap(\.complaints)
        guard complaints.count > 1 else { throw first }
        for complaint in complaints { console.note(TextTable.printable("error: \(complaint)")) }
        var error = CommandError(
            .failed, "\(complaints.count) complaints of the migration files; nothing was changed",
            hint: "a dump becomes a migration as `Making a migration of a dump` in CONTRIBUTING.md describes")
        error.complaints = complaints
        throw error
    }
}

/// One migration on a command line: `SOURCE/VERSION`, the version as a number or as the file's name begins.
struct MigrationReference: Hashable, Sendable {
    let source: String
    let version: Int

    /// - Throws: `ValidationError` that says what is expected.
    init(parsing argument: String) throws {
        let parts = argument.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty,
            let digits = parts[1].split(separator: "_", omittingEmptySubsequences: false).first,
            digits.utf8.allSatisfy({ (48...57).contains($0) }), let version = Int(digits), version > 0
        else {
            throw ValidationError("write it as SOURCE/VERSION, as `migrate status` does: app/0002")
        }
        self.source = String(parts[0])
        self.version = version
    }

    /// As `SOURCE/VERSION`, with the digits that the file's name has.
    var text: String { Migration.name(version: self.version, title: nil, source: self.source) }
}

/// The differences between files and histories that are let through.
struct LeniencyOptions: ParsableArguments {
    @Flag(name: .long, help: "Apply files that are older than the newest applied one, too.")
    var allowOutOfOrder = false

    @Flag(name: .long, help: "Apply files that were applied under another source's name a second time.")
    var allowRepeated = false

    /// The runner's configuration.
    var configuration: MigrationRunner.Configuration {
        var configuration = MigrationRunner.Configuration()
        configuration.allowsOutOfOrder = self.allowOutOfOrder
        configuration.allowsRepeated = self.allowRepeated
        return configuration
    }
}
