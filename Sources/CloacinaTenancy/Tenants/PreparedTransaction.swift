import CloacinaPostgres

/// A transaction that waits for its second phase, with no session behind it.
struct PreparedTransaction: Sendable, Hashable {
    let identifier: String
    let owner: String
    let database: String

    /// Reads a row of ``RemovalQueries/preparedTransactions(of:)``.
    init(_ row: PostgresRow) throws {
        self.identifier = try row.value("gid")
        self.owner = try row.value("owner")
        self.database = try row.value("database")
    }

    /// Only its owner may end it.
    var actAsOwner: String { "SET ROLE \(PostgresIdentifier.quote(self.owner))" }

    var rollback: String { "ROLLBACK PREPARED \(PostgresIdentifier.literal(self.identifier))" }
}
