import CloacinaTenancy

/// What `tenant drop` says.
struct RemovalAnswer: Renderable {
    let tenant: String
    let schema: String
    let removed = true
    let endedSessions: Int
    let droppedRelations: Int
    let dropTransactions: Int
    /// What each catalog still has of the tenant, by the catalog's name.
    let remaining: [String: Int]

    init(_ report: RemovalReport) {
        self.tenant = report.tenant
        self.schema = report.schema
        self.endedSessions = report.endedSessions
        self.droppedRelations = report.droppedRelations
        self.dropTransactions = report.dropTransactions
        self.remaining = Dictionary(report.proof.map { ($0.catalog, $0.remaining) }, uniquingKeysWith: +)
    }

    static let headings = ["tenant", "schema", "ended sessions", "dropped relations", "transactions", "left over"]

    var cells: [String] {
        [
            self.tenant, self.schema, String(self.endedSessions), String(self.droppedRelations),
            String(self.dropTransactions),
            "\(self.remaining.values.reduce(0, +)) (searched: \(self.remaining.keys.sorted().joined(separator: ", ")))",
        ]
    }
}
