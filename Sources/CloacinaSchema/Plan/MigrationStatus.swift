/// Where one schema stands with regard to one set.
public struct MigrationStatus: Sendable, Hashable {
    /// The schema.
    public let schema: String
    /// The set's source.
    public let source: String
    /// The newest applied version, 0 when none is.
    public let version: Int
    /// The history, oldest version first; includes failed attempts.
    public let records: [MigrationRecord]
    /// What would be applied.
    public let pending: [Migration]
    /// What forbids applying it.
    public let problems: [MigrationProblem]
    /// What is worth knowing.
    public let notes: [MigrationPlan.Note]

    /// Whether nothing is pending and nothing is wrong.
    public var isCurrent: Bool { self.pending.isEmpty && self.problems.isEmpty }

    package init(schema: String, plan: MigrationPlan, history: [MigrationRecord]) {
        self.schema = schema
        self.source = plan.source
        self.version = plan.newestApplied
        self.records = history.filter { $0.source == plan.source }.sorted { $0.version < $1.version }
        self.pending = plan.steps.map(\.migration)
        self.problems = plan.problems
        self.notes = plan.notes
    }
}
