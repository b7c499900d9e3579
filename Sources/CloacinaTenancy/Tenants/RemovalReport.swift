/// What a removal did, and the proof that nothing is left.
public struct RemovalReport: Sendable, Hashable, Encodable {
    /// How many objects of the tenant one catalog still has.
    public struct Check: Sendable, Hashable, Encodable {
        /// The catalog that was searched.
        public let catalog: String
        /// What it still has; 0 in every check of a report.
        public let remaining: Int
    }

    /// The tenant's name.
    public let tenant: String
    /// Its schema's name.
    public let schema: String
    /// How many of the tenant's sessions were ended.
    public internal(set) var endedSessions = 0
    /// How many of its prepared transactions were rolled back, in all databases of the server.
    public internal(set) var rolledBackTransactions = 0
    /// How many large objects of its roles were unlinked, in all databases of the server.
    public internal(set) var unlinkedLargeObjects = 0
    /// How many tables, views, sequences and indexes were dropped.
    public internal(set) var droppedRelations = 0
    /// In how many transactions the schema was dropped: more than one when it would have exhausted the lock table.
    public internal(set) var dropTransactions = 0
    /// What others had made of the tenant's things, and lost by the removal: the first few.
    public internal(set) var droppedDependents: [String] = []
    /// How many of those there were.
    public internal(set) var droppedDependentCount = 0
    /// The other databases of the server in which something was removed.
    public internal(set) var cleanedDatabases: [String] = []
    /// How many things of the group of all tenants' logins were removed: tenants that acted as it had left them.
    public internal(set) var removedStrays = 0
    /// The catalogs that were searched, inside the transaction that forgot the tenant.
    public internal(set) var proof: [Check] = []

    init(tenant: String, schema: String) {
        self.tenant = tenant
        self.schema = schema
    }
}
