/// What a run changed.
public struct MigrationReport: Sendable, Hashable {
    /// One migration that was applied.
    public struct Applied: Sendable, Hashable {
        /// The set it belongs to.
        public let source: String
        /// Its version.
        public let version: Int
        /// Its title.
        public let title: String
        /// How many attempts it took; more than 1 when others held its locks.
        public let attempts: Int

        /// As `source/NNNN_title`.
        public var name: String { Migration.name(version: self.version, title: self.title, source: self.source) }
    }

    /// The schema.
    public let schema: String
    /// What was applied, in order; empty when nothing was pending.
    public private(set) var applied: [Applied] = []
    /// The newest version of each source now.
    public private(set) var versions: [String: Int]
    /// What is worth knowing, by source.
    public let notes: [String: [MigrationPlan.Note]]
    /// The server's remarks while they ran.
    public internal(set) var notices: [MigrationNotice] = []

    init(schema: String, plans: [MigrationPlan]) {
        self.schema = schema
        self.versions = Dictionary(plans.map { ($0.source, $0.newestApplied) }, uniquingKeysWith: max)
        self.notes = Dictionary(plans.map { ($0.source, $0.notes) }, uniquingKeysWith: +).filter { !$1.isEmpty }
    }

    mutating func append(_ migration: Migration, of source: String, attempts: Int) {
        self.applied.append(
            Applied(source: source, version: migration.version, title: migration.title, attempts: attempts))
        self.versions[source] = max(self.versions[source] ?? 0, migration.version)
    }
}
