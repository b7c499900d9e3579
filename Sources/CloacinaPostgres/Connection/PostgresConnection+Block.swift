import CLibPQ

extension PostgresConnection {
    /// Runs statements between `BEGIN` and `COMMIT` in one flush: a transaction block that costs one round trip.
    ///
    /// - Parameter afterwards: Statements of the same flush that follow the `COMMIT`, as a transaction of their own.
    /// - Returns: The results of `statements`, then those of `afterwards`.
    /// - Throws: ``PostgresError``, rolled back; ``PostgresError/statementIndex`` counts from the first of `statements`, and
    ///   is their number when it was the `COMMIT` that failed.
    package func transactionBlock(
        _ statements: [PostgresStatement], afterwards: [PostgresStatement] = [], fileID: String = #fileID,
        line: Int = #line
    ) async throws(PostgresError) -> [PostgresRows] {
        try await self.interruptible(fileID, line) { connection throws(PostgresError) in
            try connection.runBlock(statements, afterwards: afterwards)
        }
    }

    private func runBlock(
        _ statements: [PostgresStatement], afterwards: [PostgresStatement]
    ) throws(PostgresError) -> [PostgresRows] {
        guard self.handle.isOpen else { throw PostgresError(.connectionClosed) }
        guard self.handle.transactionStatus == PQTRANS_IDLE else {
            throw PostgresError(.unsupported, advice: "a transaction is open on this connection already")
        }
        let commit = PostgresStatement(trusted: "COMMIT", prepared: false)
        do throws(PostgresError) {
            let rows = try self.run(
                [PostgresIsolation.begin(nil)] + statements + [commit] + afterwards, scope: nil, deadline: nil)
            guard rows[statements.count + 1].commandTag == "COMMIT" else {
                throw PostgresError(.transactionAborted, advice: "the server rolled everything back")
            }
            return Array(rows[1...statements.count]) + rows.dropFirst(statements.count + 2)
        } catch {
            if self.handle.isOpen, self.handle.transactionStatus != PQTRANS_IDLE { self.rollBack() }
            var error = error
            error.statementIndex = error.statementIndex.map { $0 - 1 }
            throw error
        }
    }
}
