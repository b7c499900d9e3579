import CLibPQ

extension PostgresConnection {
    /// Runs statements between `BEGIN` and `COMMIT` in one flush: a transaction block that costs one round trip.
    ///
    /// - Parameters:
    ///   - isolation: The transaction's isolation; the session's default when nil.
    ///   - afterwards: Statements of the same flush that follow the `COMMIT`, as a transaction of their own.
    /// - Returns: The results of `statements`, then those of `afterwards`.
    /// - Throws: ``PostgresError``, rolled back; ``PostgresError/statementIndex`` counts from the first of `statements`, and
    ///   is their number when it was the `COMMIT` that failed.
    package func transactionBlock(
        _ statements: [PostgresStatement], isolation: PostgresIsolation? = nil,
        afterwards: [PostgresStatement] = [], fileID: String = #fileID, line: Int = #line
    ) async throws(PostgresError) -> [PostgresRows] {
        try await self.interruptible(fileID, line) { connection throws(PostgresError) in
            try connection.runBlock(statements, isolation, afterwards: afterwards)
        }
    }

    private func runBlock(
        _ statements: [PostgresStatement], _ isolation: PostgresIsolation?, afterwards: [PostgresStatement]
    ) throws(PostgresError) -> [PostgresRows] {
        guard self.handle.isOpen else { throw PostgresError(.connectionClosed) }
        guard self.handle.transactionStatus == PQTRANS_IDLE else {
            throw PostgresError(.unsupported, advice: "a transaction is open on this connection already")
        }
        let commit = PostgresStatement(trusted: "COMMIT", prepared: false)
        do throws(PostgresError) {
            let rows = try self.run(
                [PostgresIsolation.begin(isolation)] + statements + [commit] + afterwards, scope: nil, deadline: nil)
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

    /// Does the same in two flushes, between which a closure looks at the results: what it throws is rolled back and rethrown.
    ///
    /// - Throws: What `confirm` throws, `CancellationError`, or ``PostgresError`` as without it.
    package nonisolated func transactionBlock(
        _ statements: [PostgresStatement], afterwards: [PostgresStatement] = [], fileID: String = #fileID,
        line: Int = #line, confirming confirm: ([PostgresRows]) async throws -> Void
    ) async throws -> [PostgresRows] {
        let rows = try await self.openBlock(statements, fileID, line)
        do {
            try await confirm(rows)
            try Task.checkCancellation()
        } catch {
            await self.rollBack()
            throw error
        }
        return rows + (try await self.closeBlock(after: statements.count, afterwards, fileID, line))
    }

    private func openBlock(
        _ statements: [PostgresStatement], _ fileID: String, _ line: Int
    ) async throws(PostgresError) -> [PostgresRows] {
        try await self.interruptible(fileID, line) { connection throws(PostgresError) in
            guard connection.handle.isOpen else { throw PostgresError(.connectionClosed) }
            guard connection.handle.transactionStatus == PQTRANS_IDLE else {
                throw PostgresError(.unsupported, advice: "a transaction is open on this connection already")
            }
            do throws(PostgresError) {
                let begin = PostgresIsolation.begin(nil)
                return Array(try connection.run([begin] + statements, scope: nil, deadline: nil).dropFirst())
            } catch {
                if connection.handle.isOpen, connection.handle.transactionStatus != PQTRANS_IDLE {
                    connection.rollBack()
                }
                var error = error
                error.statementIndex = error.statementIndex.map { $0 - 1 }
                throw error
            }
        }
    }

    private func closeBlock(
        after count: Int, _ afterwards: [PostgresStatement], _ fileID: String, _ line: Int
    ) throws(PostgresError) -> [PostgresRows] {
        // A request to cancel from before the confirmation must not hit the COMMIT.
        self.interrupt.clearCancel()
        let commit = PostgresStatement(trusted: "COMMIT", prepared: false)
        do throws(PostgresError) {
            let rows = try self.run([commit] + afterwards, scope: nil, deadline: nil)
            guard rows[0].commandTag == "COMMIT" else {
                throw PostgresError(.transactionAborted, advice: "the server rolled everything back")
            }
            return Array(rows.dropFirst())
        } catch {
            if self.handle.isOpen, self.handle.transactionStatus != PQTRANS_IDLE { self.rollBack() }
            var error = error.at(fileID, line)
            error.statementIndex = error.statementIndex.map { $0 + count }
            throw error
        }
    }
}
