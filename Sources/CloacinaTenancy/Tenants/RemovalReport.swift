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
    public let endedSessions: Int
    /// How many tables, views, sequences and indexes were dropped.
    public let droppedRelations: Int
    /// In how many transactions the schema was dropped: more than one when it would have exhausted the lock table.
    public let dropTransactions: Int
    /// The catalogs that were searched, inside the transaction that forgot the tenant.
    public let proof: [Check]
}
