package import FoundationEssentials

/// Keeps pipelines, so that they outlive the process.
///
/// Every method is atomic: all of it is stored, or nothing.
package protocol WorkflowStore: Sendable {
    /// Stores a new pipeline together with its first transition; false when the id is there already.
    func create(_ pipeline: NewPipeline) async throws(PipelineError) -> Bool

    /// Stores a transition if the pipeline is as the transition expects it.
    func apply(_ change: PipelineChange) async throws(PipelineError) -> StoreOutcome

    /// Reads a pipeline; nil when there is none.
    func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline?
}

/// What became of a change.
package enum StoreOutcome: Sendable, Hashable {
    /// It is stored.
    case applied
    /// The pipeline's revision or a task's claim is another one by now; nothing was stored.
    case staleLease
}

/// A pipeline that begins.
package struct NewPipeline: Sendable {
    package let id: UUID
    package let workflow: String
    package let input: Context
    package let tasks: [String]
    package let owner: UUID
    package let at: Date
    package let first: PipelineTransition

    package init(
        id: UUID, workflow: String, input: Context, tasks: [String], owner: UUID, at: Date, first: PipelineTransition
    ) {
        self.id = id
        self.workflow = workflow
        self.input = input
        self.tasks = tasks
        self.owner = owner
        self.at = at
        self.first = first
    }
}

/// A transition of a stored pipeline.
package struct PipelineChange: Sendable {
    package let id: UUID
    package let owner: UUID
    package let at: Date
    package var transition: PipelineTransition

    package init(id: UUID, owner: UUID, at: Date, transition: PipelineTransition) {
        self.id = id
        self.owner = owner
        self.at = at
        self.transition = transition
    }
}

/// A pipeline as it is stored.
package struct StoredPipeline: Sendable {
    /// A task as it is stored.
    package struct Task: Sendable {
        package var record: TaskRecord
        package var startedAt: Date?
        package var endedAt: Date?
        package var reason: String?
        package var delta: ContextDelta?

        package init(
            record: TaskRecord, startedAt: Date? = nil, endedAt: Date? = nil, reason: String? = nil,
            delta: ContextDelta? = nil
        ) {
            self.record = record
            self.startedAt = startedAt
            self.endedAt = endedAt
            self.reason = reason
            self.delta = delta
        }
    }

    package var workflow: String
    package var status: PipelineStatus
    package var revision: Int
    package var input: Context
    package var startedAt: Date
    package var endedAt: Date?
    package var tasks: [String: Task]

    package init(
        workflow: String, status: PipelineStatus, revision: Int, input: Context, startedAt: Date, endedAt: Date?,
        tasks: [String: Task]
    ) {
        self.workflow = workflow
        self.status = status
        self.revision = revision
        self.input = input
        self.startedAt = startedAt
        self.endedAt = endedAt
        self.tasks = tasks
    }
}

/// One line of a pipeline's history, as every store writes it.
struct PipelineEvent {
    let kind: String
    var task: String?
    var attempt = 0
    let at: Date
    var detail: String?

    /// What a transition writes down: every attempt that ended, every task that was skipped, the pipeline's end.
    static func events(of transition: PipelineTransition, at: Date) -> [PipelineEvent] {
        var events = transition.ended.map { ended in
            switch ended.outcome {
            case .completed:
                PipelineEvent(kind: "task completed", task: ended.task, attempt: ended.attempt, at: ended.at)
            case .failed(let error):
                PipelineEvent(
                    kind: "task failed", task: ended.task, attempt: ended.attempt, at: ended.at, detail: error)
            }
        }
        events += transition.skipped.map { task in
            PipelineEvent(kind: "task skipped", task: task, at: at, detail: transition.skipReason?.text)
        }
        if transition.status.isTerminal {
            events.append(PipelineEvent(kind: "pipeline \(transition.status.rawValue)", at: at))
        }
        return events
    }
}
