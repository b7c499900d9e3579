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

    /// Reads the directory's files for tenants.
    func set() throws -> MigrationSet {
        try MigrationSet(directory: self.path, source: self.source)
    }

    /// Two histories can't go by one name.
    static func checkSources(_ directories: [MigrationDirectory]) throws {
        let sources = directories.map(\.source)
        if let twice = sources.first(where: { source in sources.count(where: { $0 == source }) > 1 }) {
            throw ValidationError("--migrations: two directories go by the source \(twice); name one directory=source")
        }
    }
}

/// Which schemas and which migrations.
struct MigrationOptions: ParsableArguments {
    @Option(
        name: .customLong("tenant"),
        help: ArgumentHelp("Only this tenant; the shared catalog and all tenants otherwise.", valueName: "name"))
    var tenant: String?

    @Option(
        name: .customLong("migrations"),
        parsing: .singleValue,
        help: ArgumentHelp(
            "A directory of your own migrations for every tenant; may be repeated.",
            discussion: "The history goes by SOURCE, or by the directory's name.",
            valueName: "directory[=source]"),
        completion: .directory)
    var migrations: [MigrationDirectory] = []

    func validate() throws {
        try MigrationDirectory.checkSources(self.migrations)
    }

    /// The sets, read from their directories.
    func sets() throws -> [MigrationSet] { try self.migrations.map { try $0.set() } }
}
