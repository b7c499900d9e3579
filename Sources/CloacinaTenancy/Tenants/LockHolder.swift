import CloacinaPostgres

/// A session, or a prepared transaction, that holds a lock on what is to be removed.
struct LockHolder: Sendable, Hashable, CustomStringConvertible {
    let pid: Int32?
    let user: String
    let preparedTransaction: String?
    let database: String

    /// Reads a row of ``RemovalQueries/lockHolders(in:roles:)``.
    init(_ row: PostgresRow) throws {
        self.pid = try row.value("pid")
        self.user = try row.value("usename")
        self.preparedTransaction = try row.value("gid")
        self.database = try row.value("database")
    }

    var description: String {
        if let pid { return "pid \(pid) of \(self.user.isEmpty ? "a role that is gone" : self.user)" }
        return "prepared transaction \(self.preparedTransaction ?? "") of \(self.user) in the database \(self.database)"
    }
}
