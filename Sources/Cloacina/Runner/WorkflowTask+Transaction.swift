public import CloacinaPostgres
public import CloacinaWorkflow
import FoundationEssentials

extension WorkflowTask {
    /// Makes a task whose own writes to its tenant's tables commit together with its completion: exactly once.
    ///
    /// The closure runs in one transaction. Before it commits, what the task hands on is written as well, if the pipeline is
    /// still its runner's; otherwise everything is rolled back. A task that was committed is never run again, whatever
    /// happens to the process. What it does outside of the transaction has no such promise.
    ///
    /// ```swift
    /// WorkflowTask.transactional("pay", after: "check") { context, scope, transaction in
    ///     try await transaction.query("UPDATE accounts SET cents = cents - \(500) WHERE id = \(account)")
    /// }
    /// ```
    ///
    /// It needs a tenant's database: with a runner over an SQLite file, or in memory, it fails with
    /// ``PipelineError/Code/noDatabase``.
    ///
    /// A commit of which the answer was lost with the connection is looked up afterwards, until the database answers; once the
    /// task is cancelled, for the runner's ``RunnerConfiguration/databasePatience`` at most. A task whose time runs out, or that
    /// is cancelled, while it commits has completed when the commit succeeds; one that takes longer than
    /// ``RunnerConfiguration/cancellationGrace`` from then on is cancelled at the server.
    public static func transactional(
        _ id: String, after dependencies: String..., retry: RetryPolicy = .none, triggerRule: TriggerRule? = nil,
        handles: [String] = [], timeout: Duration? = nil, codeVersion: String = "", onSuccess: SuccessHandler? = nil,
        onFailure: FailureHandler? = nil,
        run body:
            @escaping @Sendable (
                inout Context, TaskScope, borrowing PostgresTransaction
            ) async throws -> Void
    ) -> WorkflowTask {
        self.transactional(
            id, dependencies: dependencies, retry: retry, triggerRule: triggerRule, handles: handles, timeout: timeout,
            codeVersion: codeVersion, onSuccess: onSuccess, onFailure: onFailure, run: body)
    }

    /// Makes such a task whose dependencies are computed. The macro writes it for an `@Task` function that takes a
    /// `borrowing PostgresTransaction` behind its context and its scope.
    public static func transactional(
        _ id: String, dependencies: [String], retry: RetryPolicy = .none, triggerRule: TriggerRule? = nil,
        handles: [String] = [], timeout: Duration? = nil, codeVersion: String = "", onSuccess: SuccessHandler? = nil,
        onFailure: FailureHandler? = nil,
        run body:
            @escaping @Sendable (
                inout Context, TaskScope, borrowing PostgresTransaction
            ) async throws -> Void
    ) -> WorkflowTask {
        WorkflowTask(
            id, dependencies: dependencies, retry: retry, triggerRule: triggerRule, handles: handles, timeout: timeout,
            // Such a task is another one than a plain one of the same code.
            codeVersion: "transactional " + codeVersion, onSuccess: onSuccess, onFailure: onFailure
        ) { context, scope in
            guard let means = scope.resource as? TaskMeans else {
                throw PipelineError(.noDatabase, "\"\(id)\" runs without a tenant's database")
            }
            let given = context
            let startedAt = means.runner.clock.now()
            var changed: Context?
            do {
                try await scope.withConnection { lease in
                    defer { means.leaveConnection() }
                    // Whatever the database's default: a stricter one would fail whenever the runner writes meanwhile.
                    try await lease.withTransaction(isolation: .readCommitted) { transaction in
                        var context = given
                        try await body(&context, scope, transaction)
                        let delta = ContextDelta(from: given, to: context)
                        guard means.beginCommit(transaction.canceller) else { throw CancellationError() }
                        changed = context
                        try await scope.write(delta, startedAt: startedAt, by: means, in: transaction)
                    }
                }
            } catch {
                // The answer to the commit may be what was lost.
                guard changed != nil, try await scope.isCommitted(by: means) else {
                    means.endCommit(nil)
                    throw error
                }
            }
            guard let changed else { return }
            means.endCommit(ContextDelta(from: given, to: changed))
            context = changed
        }
    }
}

extension TaskScope {
    /// Writes down that the task has completed, inside the task's own transaction.
    fileprivate func write(
        _ delta: ContextDelta, startedAt: Date, by means: TaskMeans, in transaction: borrowing PostgresTransaction
    ) async throws {
        let event = PipelineEvent(
            .taskCompleted, task: self.task, attempt: self.attempt, worker: means.runner.id, startedAt: startedAt,
            at: means.runner.clock.now(), delta: delta)
        let rows = try await transaction.query(PostgresWorkflowQueries.commit(event, at: means.place))
        guard !rows.isEmpty else {
            throw PipelineError(
                .takenOver, "another runner has the pipeline, or the task was committed before; all is rolled back")
        }
    }

    /// Whether this attempt's commit succeeded. Waits for a backend that is still at it, and asks even when the task has been
    /// cancelled, so it does in a task of its own.
    fileprivate func isCommitted(by means: TaskMeans) async throws -> Bool {
        guard let database = means.database else { return false }
        while true {
            do {
                return try await self.askOnce(database, means)
            } catch let error as PipelineError {
                // For as long as the claim may stand: only the database knows what the task came to.
                guard error.isTransient || error.isUnreached, !Task.isCancelled else { throw error }
                try? await means.runner.clock.sleep(for: DatabaseRetry.longestPause)
            }
        }
    }

    private func askOnce(_ database: TenantDatabase, _ means: TaskMeans) async throws -> Bool {
        let asking = Task { [attempt = self.attempt] () throws(PipelineError) -> Bool in
            try await means.runner.means.patiently { () throws(PipelineError) in
                struct Found: Error { let isCommitted: Bool }
                do {
                    return try await database.pool.withReservedConnection(database.label) { lease in
                        try await lease.withTransaction(isolation: .readCommitted) { transaction -> Bool in
                            _ = try await transaction.query(
                                "SELECT pg_catalog.set_config('lock_timeout', '5s', true)")
                            // The commit's transaction holds a lock on this row until it ends.
                            try await transaction.query(PostgresWorkflowQueries.lock(means.place.pipeline))
                            let found = try await transaction.query(
                                PostgresWorkflowQueries.ownCommit(
                                    at: means.place, attempt: attempt, by: means.runner.id))
                            // Rolled back: a commit would wait for a standby that is away.
                            throw Found(isCommitted: !found.isEmpty)
                        }
                    }
                } catch let found as Found {
                    return found.isCommitted
                } catch {
                    throw PipelineError(
                        .storageFailed, "whether the task was committed can't be read", underlying: error)
                }
            }
        }
        return try await asking.value
    }
}
