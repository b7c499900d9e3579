import CloacinaPostgres

/// The schema that migrations change, and on whose behalf.
public struct MigrationTarget: Sendable, Hashable {
    /// The schema; it must exist.
    public var schema: String
    /// The role that shall own what is created; the connection's own when nil.
    public var owner: String?
    /// Roles that may read the history; they and `PUBLIC` lose every other right to it.
    public var readers: [String]
    /// What is leased while it is migrated, where more than migrations excludes each other; the schema when nil.
    package var leaseObject: String?

    /// A target.
    public init(schema: String, owner: String? = nil, readers: [String] = []) {
        self.schema = schema
        self.owner = owner
        self.readers = readers
    }

    /// `search_path` while a migration runs: the schema, and temporary tables last.
    var searchPath: String { PostgresIdentifier.quote(self.schema) + ", pg_temp" }

    /// The history table, qualified.
    var history: String { PostgresIdentifier.quote(self.schema) + "." + MigrationQueries.historyTable }
}
