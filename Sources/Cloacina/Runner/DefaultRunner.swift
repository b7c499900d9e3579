public import CloacinaPostgres
import CloacinaWorkflow
import FoundationEssentials
public import Logging
import Synchronization

/// Runs one tenant's workflows and records every step in the tenant's schema.
///
/// A process has one runner for each tenant and one pool for all of them. A runner that has nothing to do costs nothing: it
/// has no connection, no timer and no task of its own.
///
/// ```swift
/// let runner = try DefaultRunner(pool: pool, label: PostgresLabel(schema: "acme"), workflows: [etl])
/// let result = try await runner.execute("etl", context: Context(["day": "2026-11-23"]))
/// ```
public final class DefaultRunner: PipelineExecutor {
    private let store: any WorkflowStore
    private let resource: (any TaskResource)?
    private let configuration: RunnerConfiguration
    private let logger: Logger
    private let owner = UUID.version7()
    private let slots: TaskSlots
    private let workflows = Mutex<[String: Workflow]>([:])

    /// Makes a runner of the tenant whose schema and role a label names.
    ///
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/duplicateWorkflow`` when two workflows have one name.
    public convenience init(
        pool: PostgresPool, label: PostgresLabel, workflows: [Workflow] = [],
        configuration: RunnerConfiguration = RunnerConfiguration(), logger: Logger? = nil, fileID: String = #fileID,
        line: Int = #line
    ) throws(PipelineError) {
        try self.init(
            store: PostgresWorkflowStore(pool: pool, label: label),
            resource: TenantDatabase(pool: pool, label: label), workflows: workflows, configuration: configuration,
            logger: logger, fileID: fileID, line: line)
    }

    package init(
        store: any WorkflowStore, resource: (any TaskResource)? = nil, workflows: [Workflow] = [],
        configuration: RunnerConfiguration = RunnerConfiguration(), logger: Logger? = nil, fileID: String = #fileID,
        line: Int = #line
    ) throws(PipelineError) {
        self.store = store
        self.resource = resource
        self.configuration = configuration
        self.logger = logger ?? .silent
        self.slots = TaskSlots(max(1, configuration.maximumConcurrentTasks))
        for workflow in workflows { try self.register(workflow, fileID: fileID, line: line) }
    }

    /// Makes a workflow known to this runner.
    ///
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/duplicateWorkflow``.
    public func register(
        _ workflow: Workflow, fileID: String = #fileID, line: Int = #line
    ) throws(PipelineError) {
        let isNew = self.workflows.withLock { workflows in
            guard workflows[workflow.name] == nil else { return false }
            workflows[workflow.name] = workflow
            return true
        }
        guard isNew else {
            throw PipelineError(
                .duplicateWorkflow, "the runner has a workflow \"\(workflow.name)\" already", fileID: fileID, line: line
            )
        }
    }

    /// The names of the runner's workflows, sorted.
    public var workflowNames: [String] { self.workflows.withLock { $0.keys.sorted() } }

    /// Runs a workflow to its end: independent tasks at the same time, each step recorded.
    ///
    /// When the caller is cancelled, the tasks that run are cancelled, the others are skipped, and the result says what each
    /// came to.
    ///
    /// - Throws: ``PipelineError``: ``PipelineError/Code/workflowNotFound``, ``PipelineError/Code/cancelled`` when the caller
    ///   was cancelled before, ``PipelineError/Code/storageFailed``, ``PipelineError/Code/pipelineVanished``.
    public func execute(
        _ workflowName: String, context: Context = Context()
    ) async throws(PipelineError) -> PipelineResult {
        guard let workflow = self.workflows.withLock({ $0[workflowName] }) else {
            let known = self.workflowNames.joined(separator: ", ")
            throw PipelineError(.workflowNotFound, "the runner has no workflow \"\(workflowName)\"; it has: \(known)")
        }
        guard !Task.isCancelled else { throw PipelineError(.cancelled, "the caller was cancelled before") }
        let mailbox = Mailbox()
        let run = PipelineRun(
            workflow: workflow, input: context, owner: self.owner, store: self.store, resource: self.resource,
            slots: self.slots, mailbox: mailbox, patience: self.configuration.databasePatience, logger: self.logger)
        // Not a child of the caller: when that is cancelled, what the tasks came to must still be written.
        let task = Task { await run.run() }
        let result = await withTaskCancellationHandler {
            await task.value
        } onCancel: {
            mailbox.post(.cancel)
        }
        return try result.get()
    }
}
