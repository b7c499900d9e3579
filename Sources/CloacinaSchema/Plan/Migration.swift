/// Where a migration applies.
public enum MigrationLane: String, Sendable, Hashable, CaseIterable {
    /// The shared catalog, once per database.
    case control
    /// Every tenant's schema.
    case tenant
    /// A SQLite database.
    case sqlite

    package var dialect: SQLDialect { self == .sqlite ? .sqlite : .postgres }
}

/// One versioned step of a schema, read from a file named `NNNN_title.<lane>.sql`.
public struct Migration: Sendable, Hashable {
    /// 1…9999; migrations are applied in this order.
    public let version: Int
    /// What the file name says between version and lane.
    public let title: String
    /// Where it applies.
    public let lane: MigrationLane
    /// The statements that make the change, in order.
    public let up: [SQLStatement]
    /// The statements that undo it; empty when the file has no such section.
    public let down: [SQLStatement]
    /// Queries that must each return one true value afterwards.
    public let verify: [SQLStatement]
    /// False when the file says `-- migrate:no-transaction`; `up` is then exactly one statement.
    public let isTransactional: Bool
    /// SHA-256 (hexadecimal) of the text without byte order mark, and outside quotations without trailing blanks and
    /// carriage returns.
    public let canonicalChecksum: String
    /// SHA-256 (hexadecimal) of the file's bytes.
    public let rawChecksum: String
    /// What a no-transaction step does to an index, so that the outcome can be looked up after a crash.
    package let indexChange: IndexChange?

    /// The change of one index by `CREATE` or `DROP INDEX CONCURRENTLY`.
    package enum IndexChange: Sendable, Hashable {
        case create(String)
        case drop(String)
    }

    /// Reads one file.
    ///
    /// Throws ``MigrationError/Code/invalidFile`` with the file and every line at fault when the name, a section or a statement
    /// isn't what a migration may contain.
    public init(fileName: String, contents: [UInt8]) throws(MigrationError) {
        self = try MigrationParser(fileName: fileName).parse(contents)
    }

    package init(
        version: Int, title: String, lane: MigrationLane, up: [SQLStatement], down: [SQLStatement] = [],
        verify: [SQLStatement] = [], isTransactional: Bool = true, canonicalChecksum: String, rawChecksum: String,
        indexChange: IndexChange? = nil
    ) {
        self.version = version
        self.title = title
        self.lane = lane
        self.up = up
        self.down = down
        self.verify = verify
        self.isTransactional = isTransactional
        self.canonicalChecksum = canonicalChecksum
        self.rawChecksum = rawChecksum
        self.indexChange = indexChange
    }

    /// The version as the file name writes it, with the title: `0001_tables`.
    public var name: String { Self.digits(self.version) + "_" + self.title }

    /// A migration as operators are told of it: `shop/0001_tables`, or `shop/0001` without its title.
    package static func name(version: Int, title: String?, source: String) -> String {
        source + "/" + self.digits(version) + (title.map { "_" + $0 } ?? "")
    }

    private static func digits(_ version: Int) -> String {
        let digits = String(version)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }

    /// The name of its file.
    public var fileName: String { "\(self.name).\(self.lane.rawValue).sql" }

    /// Whether the server's catalogs or the file's own query can tell if a broken-off step took effect.
    package var isInspectable: Bool { self.indexChange != nil || !self.verify.isEmpty }
}
