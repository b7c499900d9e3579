import CloacinaPostgres

/// A transaction that waits for its second phase, with no session behind it.
struct PreparedTransaction: Sendable, Hashable {
    let identifier: String
    let owner: String
    let database: String

    /// Only its owner may end it.
    var actAsOwner: String { "SET ROLE \(PostgresIdentifier.quote(self.owner))" }

    var rollback: String { "ROLLBACK PREPARED \(PostgresIdentifier.literal(self.identifier))" }
}

extension PreparedTransaction {
    /// Reads a row of ``RemovalQueries/preparedTransactions(of:)``.
    init(_ row: PostgresRow) throws {
        self.init(
            identifier: try row.value("gid"), owner: try row.value("owner"), database: try row.value("database"))
    }
}
