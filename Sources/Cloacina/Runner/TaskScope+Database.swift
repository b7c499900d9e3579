public import CloacinaPostgres

/// A tenant's database, as a task may use it.
struct TenantDatabase: TaskResource {
    let pool: PostgresPool
    let label: PostgresLabel
}

extension TaskScope {
    /// Lends a connection to the tenant's own schema to a closure; see `PostgresPool.withConnection`.
    ///
    /// The engine records the task's end in another transaction, so a task that is run again may find that its work was
    /// committed before.
    ///
    /// - Parameter deadline: Until when to wait for a connection; the pool's `checkoutTimeout` from now when `nil`.
    /// - Throws: What the closure throws; `PostgresError`; ``PipelineError`` with ``PipelineError/Code/noDatabase`` when the
    ///   task was not started by a runner with a database.
    public func withConnection<R>(
        deadline: ContinuousClock.Instant? = nil, fileID: String = #fileID, line: Int = #line,
        _ body: (borrowing PostgresLease) async throws -> R
    ) async throws -> R {
        guard let database = self.resource as? TenantDatabase else {
            throw PipelineError(
                .noDatabase, "\"\(self.task)\" runs without a tenant's database", fileID: fileID, line: line)
        }
        return try await database.pool.withConnection(
            database.label, deadline: deadline, fileID: fileID, line: line, body)
    }
}
