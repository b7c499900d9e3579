#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// What a running task can know about itself. `import Cloacina` adds the tenant's database to it.
public struct TaskScope: Sendable {
    /// The pipeline's id: one run of the workflow.
    public let executionID: UUID
    /// The workflow's name.
    public let workflow: String
    /// The task's id.
    public let task: String
    /// Which attempt this is, from 1.
    public let attempt: Int

    /// Why tasks above this one failed, by their ids.
    package let failures: [String: TaskFailure]
    /// What the engine lends to the task.
    package let resource: (any TaskResource)?

    /// Describes one attempt at one task. The engine does so for running tasks; tests may for their own.
    ///
    /// - Parameters:
    ///   - executionID: The pipeline's id.
    ///   - workflow: The workflow's name.
    ///   - task: The task's id.
    ///   - attempt: Which attempt this is, from 1.
    ///   - failures: Why tasks above this one failed, by their ids.
    public init(
        executionID: UUID, workflow: String, task: String, attempt: Int, failures: [String: TaskFailure] = [:]
    ) {
        self.init(
            executionID: executionID, workflow: workflow, task: task, attempt: attempt, resource: nil,
            failures: failures)
    }

    package init(
        executionID: UUID, workflow: String, task: String, attempt: Int, resource: (any TaskResource)?,
        failures: [String: TaskFailure] = [:]
    ) {
        self.executionID = executionID
        self.workflow = workflow
        self.task = task
        self.attempt = attempt
        self.resource = resource
        self.failures = failures
    }

    /// Why a task above this one failed for good; nil when it didn't, or isn't above this one.
    ///
    /// ```swift
    /// WorkflowTask("refund", after: "charge", triggerRule: .taskFailed("charge"), handles: ["charge"]) { context, scope in
    ///     if let failure = scope.failure(of: "charge") { try context.set("reason", to: failure.text) }
    /// }
    /// ```
    public func failure(of task: String) -> TaskFailure? { self.failures[task] }
}

/// Something the engine lends to a task, such as its tenant's database.
package protocol TaskResource: Sendable {}
