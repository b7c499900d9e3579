import CloacinaPostgres

/// A session, or a prepared transaction, that holds a lock on what is to be removed.
struct LockHolder: Sendable, Hashable, CustomStringConvertible {
    let pid: Int32?
    let user: String
    let preparedTransaction: TransactionIdentifier?
    let database: String

    /// Reads a row of ``RemovalQueries/lockHolders(in:roles:)``.
    init(_ row: PostgresRow) throws {
        self.pid = try row.value("pid")
        self.user = try row.value("usename")
        self.preparedTransaction = try row.value("gid", as: [UInt8]?.self).map(TransactionIdentifier.init)
        self.database = try row.value("database")
    }

    /// Several of them in one line; `other sessions` when nobody is known.
    static func list(_ holders: [LockHolder]) -> String {
        holders.isEmpty ? "other sessions" : holders.map(\.description).joined(separator: ", ")
    }

    var description: String {
        if let pid { return "pid \(pid) of \(self.user.isEmpty ? "a role that is gone" : self.user)" }
        return
            "prepared transaction \(self.preparedTransaction?.description ?? "") of \(self.user) in the database \(self.database)"
    }
}
