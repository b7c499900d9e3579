import CloacinaMigrations

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
    /// ``MigrationFolder`` also tells which files were not taken.
    /// - Parameters:
    ///   - directory: The directory's path.
    ///   - source: A name for the history, `[a-z][a-z0-9_-]*` of at most 48 bytes, other than `cloacina`.
    ///   - lane: Which files count.
    public init(directory: String, source: String, lane: MigrationLane = .tenant) throws(MigrationError) {
        self = try MigrationFolder(directory: directory, source: source, lane: lane).set
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
        let repetitions = Self.repetitions(of: self.migrations)
        guard repetitions.isEmpty else {
            throw MigrationError(.invalidSet, source: source, complaints: repetitions)
        }
        var previous = 0
        for migration in self.migrations {
            if !allowsGaps, migration.version != previous + 1 {
                throw MigrationError(
                    .invalidSet, source: source, version: migration.version,
                    reason: "version \(previous + 1) is missing")
            }
            previous = migration.version
        }
    }

    /// Each file that has the same version as another, naming both.
    static func repetitions(of migrations: [Migration]) -> [MigrationComplaint] {
        let sorted = migrations.sorted { ($0.version, $0.fileName) < ($1.version, $1.fileName) }
        return zip(sorted, sorted.dropFirst()).filter { $0.version == $1.version }.map { first, second in
            MigrationComplaint(
                file: second.fileName, line: nil,
                reason: "version \(second.version) occurs twice: \(first.fileName) has it too; give one the next number"
            )
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

    private static func isValidSource(_ source: String) -> Bool {
        guard let first = source.utf8.first, (97...122).contains(first), source.utf8.count <= maximumSourceLength
        else { return false }
        return source.utf8.allSatisfy {
            (97...122).contains($0) || (48...57).contains($0) || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "-")
        }
    }
}
