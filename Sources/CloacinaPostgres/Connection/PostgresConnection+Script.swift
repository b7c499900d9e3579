import CLibPQ

extension PostgresConnection {
    /// Runs several statements given as one text, without binds, by PostgreSQL's simple protocol.
    ///
    /// They form one transaction unless the text says otherwise. Rows are thrown away.
    /// - Throws: ``PostgresError`` of the first statement that failed.
    public func script(_ sql: String, fileID: String = #fileID, line: Int = #line) async throws(PostgresError) {
        try await self.interruptible(fileID, line) { connection throws(PostgresError) in
            try connection.runScript(sql)
        }
    }

    private func runScript(_ sql: String) throws(PostgresError) {
        guard self.handle.isOpen else { throw PostgresError(.connectionClosed) }
        guard !sql.utf8.contains(0) else {
            throw PostgresError(.invalidValue, advice: "the text holds a NUL character")
        }
        try self.withoutPipelineMode { connection throws(PostgresError) in
            guard connection.handle.sendQuery(sql) else { throw connection.broken() }
            var wait = StatementWait(deadline: nil)
            var failure: PostgresError?
            while let result = try connection.nextResult(&wait) {
                switch result.status {
                case PGRES_FATAL_ERROR, PGRES_BAD_RESPONSE:
                    failure = failure ?? PostgresError.rejected(result, statement: sql)
                case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
                    throw connection.broken(PostgresError(.unsupported, advice: "a script cannot hold COPY"))
                default: break
                }
            }
            try connection.finishCancelling(wait)
            if let failure { throw wait.translate(failure) }
        }
        self.noteForeignSQL(in: 0)
        self.report.insert(.tainted)  // a script may hold anything
    }

    /// Leaves pipeline mode for what it cannot carry, and enters it again.
    func withoutPipelineMode<R>(
        _ body: (isolated PostgresConnection) throws(PostgresError) -> R
    ) throws(PostgresError) -> R {
        guard self.handle.exitPipelineMode() else { throw self.broken() }
        defer {
            if self.handle.isOpen {
                self.report.set(.inTransaction, self.handle.transactionStatus != PQTRANS_IDLE)
                if !self.handle.enterPipelineMode() { self.broken() }
            }
        }
        return try body(self)
    }
}
