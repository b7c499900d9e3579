/// What runs statements: a connection, a lease from a pool, or a transaction on either.
public protocol PostgresQuerying: ~Copyable {
    /// Runs statements in one flush to the server and, outside a transaction, as one transaction: all take effect or none.
    ///
    /// - Parameter deadline: When to stop the statements on the server; `nil` for no limit.
    /// - Returns: One result for each statement.
    /// - Throws: ``PostgresError``. On cancellation of the task the statement is stopped on the server, the connection
    ///   stays usable, and the code is ``PostgresError/Code/cancelled``.
    func pipeline(
        _ statements: [PostgresStatement], deadline: ContinuousClock.Instant?, fileID: String, line: Int
    ) async throws(PostgresError) -> [PostgresRows]
}

extension PostgresQuerying where Self: ~Copyable {
    /// Runs statements in one flush to the server and, outside a transaction, as one transaction: all take effect or none.
    ///
    /// - Throws: ``PostgresError``.
    @discardableResult
    public func pipeline(
        _ statements: [PostgresStatement], fileID: String = #fileID, line: Int = #line
    ) async throws(PostgresError) -> [PostgresRows] {
        try await self.pipeline(statements, deadline: nil, fileID: fileID, line: line)
    }

    /// Runs one statement and returns its rows.
    ///
    /// - Parameter deadline: When to stop the statement on the server; `nil` for no limit.
    /// - Throws: ``PostgresError``.
    @discardableResult
    public func query(
        _ statement: PostgresStatement, deadline: ContinuousClock.Instant? = nil, fileID: String = #fileID,
        line: Int = #line
    ) async throws(PostgresError) -> PostgresRows {
        try await self.pipeline([statement], deadline: deadline, fileID: fileID, line: line)[0]
    }
}
