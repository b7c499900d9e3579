/// What a new session says of itself.
struct SessionFacts: Sendable {
    /// The backend's process id in the server's own words; what libpq knows may be a pooler's invention.
    var backendPID: Int32
    /// The isolation level that a transaction gets when nobody asks for one, such as `read committed`.
    var isolation: String
    /// Whether a transaction is read-only when nobody asks for anything else.
    var isReadOnly: Bool

    static let query = """
        SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('default_transaction_isolation'), \
        pg_catalog.current_setting('default_transaction_read_only')
        """

    /// Reads the text-format answer to ``query``.
    init?(_ result: ResultHandle) {
        guard result.rowCount == 1, result.columnCount == 3, let pid = Int32(result.text(row: 0, column: 0)) else {
            return nil
        }
        self.backendPID = pid
        self.isolation = result.text(row: 0, column: 1)
        self.isReadOnly = result.text(row: 0, column: 2) == "on"
    }

    init(backendPID: Int32, isolation: String = PostgresIsolation.readCommitted.setting, isReadOnly: Bool = false) {
        self.backendPID = backendPID
        self.isolation = isolation
        self.isReadOnly = isReadOnly
    }
}

/// A connection that has just been opened, and what its session said.
struct OpenedConnection {
    let handle: ConnectionHandle
    let facts: SessionFacts
}
