import CloacinaTenancy
import FoundationEssentials

/// What `tenant drop` says.
struct RemovalAnswer: Renderable {
    let tenant: String
    let schema: String
    let removed = true
    let endedSessions: Int
    let rolledBackTransactions: Int
    let unlinkedLargeObjects: Int
    let droppedRelations: Int
    let dropTransactions: Int
    /// What others had made of the tenant's things: the first few, and how many.
    let droppedDependents: [String]
    let droppedDependentCount: Int
    /// Other databases of the server in which something was removed.
    let cleanedDatabases: [String]
    /// What tenants had left to the group of all their logins.
    let removedStrays: Int
    /// What each catalog still has of the tenant, by the catalog's name.
    let remaining: [String: Int]

    init(_ report: RemovalReport) {
        self.tenant = report.tenant
        self.schema = report.schema
        self.endedSessions = report.endedSessions
        self.rolledBackTransactions = report.rolledBackTransactions
        self.unlinkedLargeObjects = report.unlinkedLargeObjects
        self.droppedRelations = report.droppedRelations
        self.dropTransactions = report.dropTransactions
        self.droppedDependents = report.droppedDependents
        self.droppedDependentCount = report.droppedDependentCount
        self.cleanedDatabases = report.cleanedDatabases
        self.removedStrays = report.removedStrays
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

    /// What is out of the ordinary has a line only where there is something to say.
    var details: [(String, String)] {
        let dependents = self.droppedDependents.joined(separator: ", ")
        let extras: [(String, String, Bool)] = [
            ("rolled back", "\(self.rolledBackTransactions) prepared transactions", self.rolledBackTransactions > 0),
            ("unlinked", "\(self.unlinkedLargeObjects) large objects", self.unlinkedLargeObjects > 0),
            (
                "dropped of others", "\(self.droppedDependentCount): \(dependents)", self.droppedDependentCount > 0
            ),
            ("other databases", self.cleanedDatabases.joined(separator: ", "), !self.cleanedDatabases.isEmpty),
            ("strays", "\(self.removedStrays) objects of the group of tenants' logins", self.removedStrays > 0),
        ]
        return Array(zip(Self.headings, self.cells)) + extras.filter(\.2).map { ($0.0, $0.1) }
    }
}

/// The answer of `tenant drop` about a tenant that is gone already.
struct RemovedAnswer: Renderable {
    let tenant: String
    let removed = true
    let finishedAt: String
    let actor: String

    init(tenant: String, _ removal: FinishedRemoval) {
        self.tenant = tenant
        self.finishedAt = removal.finishedAt.formatted(.iso8601)
        self.actor = removal.actor
    }

    static let headings = ["tenant", "removed", "by"]

    var cells: [String] { [self.tenant, self.finishedAt, self.actor] }
}
