import CloacinaMigrations

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// The migrations of one source for one lane, in order.
public struct MigrationSet: Sendable, Hashable {
    /// Who they come from: `cloacina`, or the embedder's own name. Each source has its own history.
    public let source: String
    /// Where they apply.
    public let lane: MigrationLane
    /// The migrations, oldest first.
    public let migrations: [Migration]

    /// The source of the migrations this library brings.
    public static let embeddedSource = "cloacina"

    /// The newest version, 0 for an empty set.
    public var newestVersion: Int { migrations.last?.version ?? 0 }

    /// The migrations this library brings for a lane.
    public static func embedded(_ lane: MigrationLane) throws(MigrationError) -> MigrationSet {
        switch lane {
        case .control: try embeddedControl.get()
        case .tenant: try embeddedTenant.get()
        case .sqlite: try embeddedSQLite.get()
        }
    }

    /// Reads an embedder's directory: every `NNNN_title.<lane>.sql` in it, not its folders.
    ///
    /// Files of another lane and those that don't end in `.sql` are passed over; versions may have gaps.
    /// - Parameters:
    ///   - directory: The directory's path.
    ///   - source: A name for the history, `[a-z][a-z0-9_-]*` of at most 48 bytes, other than `cloacina`.
    ///   - lane: Which files count.
    public init(directory: String, source: String, lane: MigrationLane = .tenant) throws(MigrationError) {
        guard source != Self.embeddedSource else {
            throw MigrationError(.invalidSet, source: source, reason: "the source `\(source)` is this library's own")
        }
        let manager = FileManager.default
        var migrations: [Migration] = []
        do {
            for name in try manager.contentsOfDirectory(atPath: directory) where Self.belongs(name, to: lane) {
                guard let contents = manager.contents(atPath: directory + "/" + name) else {
                    throw MigrationError(.unreadableDirectory, file: directory + "/" + name)
                }
                migrations.append(try Migration(fileName: name, contents: Array(contents)))
            }
        } catch let error as MigrationError {
            throw error
        } catch {
            throw MigrationError(.unreadableDirectory, file: directory, underlying: error)
        }
        try self.init(source: source, lane: lane, migrations: migrations)
    }

    /// Puts migrations in order; throws ``MigrationError/Code/invalidSet`` when a version occurs twice.
    public init(source: String, lane: MigrationLane, migrations: [Migration]) throws(MigrationError) {
        try self.init(source: source, lane: lane, migrations: migrations, allowsGaps: true)
    }

    package init(
        source: String, lane: MigrationLane, migrations: [Migration], allowsGaps: Bool
    ) throws(MigrationError) {
        guard Self.isValidSource(source) else {
            throw MigrationError(
                .invalidSet, reason: "a source name is [a-z][a-z0-9_-]*, at most \(Self.maximumSourceLength) bytes")
        }
        self.source = source
        self.lane = lane
        self.migrations = migrations.sorted { $0.version < $1.version }
        if let stray = migrations.first(where: { $0.lane != lane }) {
            throw MigrationError(
                .invalidSet, source: source, version: stray.version, reason: "not of the lane \(lane.rawValue)")
        }
        var previous = 0
        for migration in self.migrations {
            if migration.version == previous {
                throw MigrationError(
                    .invalidSet, source: source, version: previous, reason: "this version occurs twice")
            }
            if !allowsGaps, migration.version != previous + 1 {
                throw MigrationError(
                    .invalidSet, source: source, version: migration.version,
                    reason: "version \(previous + 1) is missing")
            }
            previous = migration.version
        }
    }

    private static let maximumSourceLength = 48

    private static let embeddedControl = parse(Catalog.control, lane: .control)
    private static let embeddedTenant = parse(Catalog.tenant, lane: .tenant)
    private static let embeddedSQLite = parse(Catalog.sqlite, lane: .sqlite)

    private static func parse(_ scripts: [EmbeddedScript], lane: MigrationLane) -> Result<MigrationSet, MigrationError>
    {
        Result { () throws(MigrationError) in
            var migrations: [Migration] = []
            for script in scripts {
                migrations.append(try Migration(fileName: script.fileName, contents: script.bytes))
            }
            return try MigrationSet(source: embeddedSource, lane: lane, migrations: migrations, allowsGaps: false)
        }
    }

    /// Whether a file is the lane's to read; a `.sql` file of no lane is, so that a forgotten suffix is an error.
    private static func belongs(_ name: String, to lane: MigrationLane) -> Bool {
        guard name.hasSuffix(".sql"), !name.hasPrefix(".") else { return false }
        return !MigrationLane.allCases.contains { $0 != lane && name.hasSuffix(".\($0.rawValue).sql") }
    }

    private static func isValidSource(_ source: String) -> Bool {
        guard let first = source.utf8.first, (97...122).contains(first), source.utf8.count <= maximumSourceLength
        else { return false }
        return source.utf8.allSatisfy {
            (97...122).contains($0) || (48...57).contains($0) || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "-")
        }
    }
}
