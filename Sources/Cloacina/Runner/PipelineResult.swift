#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// Where a pipeline stands.
public enum PipelineStatus: String, Sendable, Hashable, CaseIterable {
    /// Some task has not ended.
    case running
    /// Every task completed.
    case completed
    /// A task failed.
    case failed
    /// The caller was cancelled before every task had completed.
    case cancelled

    /// Whether nothing more will happen.
    public var isTerminal: Bool { self != .running }
}

/// Where a task stands.
public enum TaskStatus: String, Sendable, Hashable, CaseIterable {
    /// A dependency has not ended.
    case waiting
    /// It may begin.
    case ready
    /// It is being run.
    case running
    /// It succeeded.
    case completed
    /// It threw.
    case failed
    /// It will not run.
    case skipped

    /// Whether nothing more will happen.
    public var isTerminal: Bool {
        switch self {
        case .waiting, .ready, .running: false
        case .completed, .failed, .skipped: true
        }
    }
}

/// What came of a pipeline.
public struct PipelineResult: Sendable, Identifiable {
    /// The pipeline's id: one run of the workflow.
    public let id: UUID
    /// The workflow's name.
    public let workflow: String
    /// How it ended.
    public let status: PipelineStatus
    /// The input and what every completed task changed, merged over all leaves of the workflow.
    public let finalContext: Context
    /// What came of each task, in the order in which the workflow declares them.
    public let tasks: [TaskResult]
    /// When it began.
    public let startedAt: Date
    /// How long it took.
    public let duration: Duration

    /// What came of one task; nil when the workflow has none of that id.
    public func task(_ id: String) -> TaskResult? { self.tasks.first { $0.id == id } }
}

/// What came of one task.
public struct TaskResult: Sendable, Identifiable {
    /// The task's id.
    public let id: String
    /// How it ended.
    public let status: TaskStatus
    /// How many attempts were begun; 0 when it never ran.
    public let attempt: Int
    /// When the last attempt began; nil when it never ran.
    public let startedAt: Date?
    /// When the last attempt ended; nil when it never ran.
    public let completedAt: Date?
    /// How long the task's own code took; nil when it never ran.
    public let duration: Duration?
    /// Why it failed or was skipped.
    public let error: String?
}
