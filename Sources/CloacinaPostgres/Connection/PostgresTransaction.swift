import CLibPQ

/// A transaction under way, lent to a closure: its statements take effect together or not at all.
public struct PostgresTransaction: ~Copyable, PostgresQuerying {
    private let connection: PostgresConnection
    private let scope: LeaseScope?

    /// Runs statements in one flush to the server.
    ///
    /// After a statement has failed, PostgreSQL refuses all others until the transaction ends.
    public func pipeline(
        _ statements: [PostgresStatement], deadline: ContinuousClock.Instant?, fileID: String, line: Int
    ) async throws(PostgresError) -> [PostgresRows] {
        try await self.connection.pipeline(
            statements, scope: self.scope, deadline: deadline, fileID: fileID, line: line)
    }

    /// Asks the server to cancel what the connection waits for, which may be the transaction's commit: that fails then, or has
    /// succeeded. Must not be called once the connection is anybody else's.
    package var canceller: @Sendable () -> Void {
        { [interrupt = self.connection.interrupt] in interrupt.request(.cancel) }
    }

    /// Begins, lends, and commits; rolls back when the closure throws, and rethrows.
    static func run<R>(
        on connection: PostgresConnection, scope: LeaseScope?, isolation: PostgresIsolation?, fileID: String, line: Int,
        _ body: (borrowing PostgresTransaction) async throws -> R
    ) async throws -> R {
        try await connection.begin(scope: scope, isolation: isolation, fileID, line)
        let result: R
        do {
            result = try await body(PostgresTransaction(connection: connection, scope: scope))
            try Task.checkCancellation()
        } catch {
            await connection.rollBack()
            throw error
        }
        try await connection.commit(fileID, line)
        return result
    }
}

extension PostgresConnection {
    /// Runs a closure inside a transaction: commits when it returns, rolls back when it throws or the task is cancelled.
    ///
    /// - Parameter isolation: How much it sees of others; what the database says when `nil`.
    /// - Throws: What the closure throws, or ``PostgresError``; ``PostgresError/Code/transactionAborted`` when the closure
    ///   hid a failed statement.
    public nonisolated func withTransaction<R>(
        isolation: PostgresIsolation? = nil, fileID: String = #fileID, line: Int = #line,
        _ body: (borrowing PostgresTransaction) async throws -> R
    ) async throws -> R {
        try await PostgresTransaction.run(
            on: self, scope: nil, isolation: isolation, fileID: fileID, line: line, body)
    }

    func begin(
        scope: LeaseScope?, isolation: PostgresIsolation?, _ fileID: String, _ line: Int
    ) async throws(PostgresError) {
        try await self.interruptible(fileID, line) { connection throws(PostgresError) in
            try connection.begin(scope: scope, isolation: isolation)
        }
    }

    func commit(_ fileID: String, _ line: Int) throws(PostgresError) {
        do throws(PostgresError) {
            // Not prepared: a DEALLOCATE ALL of the caller's must not keep the transaction from ending.
            let rows = try self.runShielded(PostgresStatement(trusted: "COMMIT", prepared: false))
            guard rows.commandTag == "COMMIT" else {
                throw PostgresError(
                    .transactionAborted,
                    advice: "a statement had failed, so the server rolled everything back; let its error pass")
            }
        } catch {
            if self.handle.isOpen, self.handle.transactionStatus != PQTRANS_IDLE { self.rollBack() }
            throw error.at(fileID, line)
        }
    }

    /// Rolls back; a connection that can't is closed, so that nobody inherits the open transaction.
    func rollBack() {
        guard !self.report.current.contains(.broken) else { return }
        do {
            _ = try self.runShielded(PostgresStatement(trusted: "ROLLBACK", prepared: false))
        } catch {
            self.broken(error)
        }
    }
}
