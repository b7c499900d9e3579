/// A pooled connection on loan, bound to one label for as long as the closure runs that it was lent to.
///
/// It can't be copied or kept, so a connection can't outlive its lease. The label travels to the server in the same flush
/// as the first statement.
public struct PostgresLease: ~Copyable, PostgresQuerying {
    let connection: PostgresConnection

    /// The label that every statement of this lease runs under.
    public var label: PostgresLabel { self.scope.label }

    let scope: LeaseScope

    /// The server's version as a number, such as 180001 for 18.1.
    public var serverVersion: Int { self.connection.serverVersion }

    /// The process id of the backend.
    public var backendPID: Int32 { self.connection.backendPID }

    /// Runs statements in one flush to the server and, outside a transaction, as one transaction.
    public func pipeline(
        _ statements: [PostgresStatement], deadline: ContinuousClock.Instant?, fileID: String, line: Int
    ) async throws(PostgresError) -> [PostgresRows] {
        try await self.connection.pipeline(
            statements, scope: self.scope, deadline: deadline, fileID: fileID, line: line)
    }

    /// Runs the engine's own statements in one flush and, outside a transaction, as one READ COMMITTED transaction,
    /// whatever the database's default is.
    ///
    /// A session whose lock timeout is another one is told in the same flush. The statements leave transactions alone:
    /// none of them is `BEGIN`, `COMMIT` or what can't run in a block.
    ///
    /// - Parameter lockTimeout: How long a statement waits for a lock, from a millisecond up, before it fails with
    ///   SQLSTATE 55P03; what the server says when `nil`, as for every other statement of a lease.
    package func pipeline(
        _ statements: [PostgresStatement], deadline: ContinuousClock.Instant?, lockTimeout: Duration?,
        fileID: String = #fileID, line: Int = #line
    ) async throws(PostgresError) -> [PostgresRows] {
        var scope = self.scope
        scope.lockTimeout = LockTimeout(lockTimeout)
        scope.isEngine = true
        return try await self.connection.pipeline(
            statements, scope: scope, deadline: deadline, fileID: fileID, line: line)
    }

    /// Runs a closure inside a transaction: commits when it returns, rolls back when it throws or the task is cancelled.
    ///
    /// - Parameter isolation: How much it sees of others; what the database says when `nil`.
    /// - Throws: What the closure throws, or ``PostgresError``.
    public func withTransaction<R>(
        isolation: PostgresIsolation? = nil, fileID: String = #fileID, line: Int = #line,
        _ body: (borrowing PostgresTransaction) async throws -> R
    ) async throws -> R {
        try await PostgresTransaction.run(
            on: self.connection, scope: self.scope, isolation: isolation, fileID: fileID, line: line, body)
    }

    /// Loads rows by `COPY … FROM STDIN`; see ``PostgresConnection/copyIn(table:columns:rows:fileID:line:)``.
    public func copyIn(
        table: String, columns: [String], rows: some Sequence<[PostgresValue]> & Sendable, fileID: String = #fileID,
        line: Int = #line
    ) async throws(PostgresError) -> Int {
        try await self.connection.copyIn(
            table: table, columns: columns, rows: rows, scope: self.scope, fileID: fileID, line: line)
    }
}
