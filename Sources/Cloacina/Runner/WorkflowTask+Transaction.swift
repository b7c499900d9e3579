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
    public static func transactional(
        _ id: String, after dependencies: String..., retry: RetryPolicy = .none, triggerRule: TriggerRule? = nil,
        timeout: Duration? = nil, codeVersion: String = "",
        run body:
            @escaping @Sendable (
                inout Context, TaskScope, borrowing PostgresTransaction
            ) async throws -> Void
    ) -> WorkflowTask {
        WorkflowTask(
            id, dependencies: dependencies, retry: retry, triggerRule: triggerRule, timeout: timeout,
            codeVersion: codeVersion
        ) { context, scope in
            let given = context
            let startedAt = Date()
            // Each try of the transaction's begins with the context as it was given.
            let changed = try await scope.withConnection { lease in
                try await lease.withTransaction { transaction in
                    var context = given
                    try await body(&context, scope, transaction)
                    try await scope.commit(
                        ContextDelta(from: given, to: context), startedAt: startedAt, in: transaction)
                    return context
                }
            }
            scope.didCommit(ContextDelta(from: given, to: changed))
            context = changed
        }
    }
}

extension TaskScope {
    /// Writes down that the task has completed, inside the task's own transaction.
    fileprivate func commit(
        _ delta: ContextDelta, startedAt: Date, in transaction: borrowing PostgresTransaction
    ) async throws {
        guard let means = self.resource as? TaskMeans else {
            throw PipelineError(.noDatabase, "\"\(self.task)\" runs without a tenant's database")
        }
        let event = PipelineEvent(
            .taskCompleted, task: self.task, attempt: self.attempt, worker: means.runner.id, startedAt: startedAt,
            at: Date(), delta: delta)
        let rows = try await transaction.query(PostgresWorkflowQueries.commit(event, at: means.place))
        guard !rows.isEmpty else {
            throw PipelineError(
                .takenOver, "another runner has the pipeline, or the task was committed before; all is rolled back")
        }
    }

    fileprivate func didCommit(_ delta: ContextDelta) { (self.resource as? TaskMeans)?.didCommit(delta) }
}
