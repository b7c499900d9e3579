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

    /// What the engine lends to the task.
    package let resource: (any TaskResource)?

    /// Describes one attempt at one task. The engine does so for running tasks; tests may for their own.
    public init(executionID: UUID, workflow: String, task: String, attempt: Int) {
        self.init(executionID: executionID, workflow: workflow, task: task, attempt: attempt, resource: nil)
    }

    package init(executionID: UUID, workflow: String, task: String, attempt: Int, resource: (any TaskResource)?) {
        self.executionID = executionID
        self.workflow = workflow
        self.task = task
        self.attempt = attempt
        self.resource = resource
    }
}

/// Something the engine lends to a task, such as its tenant's database.
package protocol TaskResource: Sendable {}
