#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// Where a pipeline stands.
public enum PipelineStatus: String, Sendable, Hashable, CaseIterable, Codable {
    /// It waits for a runner, or for its time.
    case queued
    /// A runner has claimed it.
    case running
    /// It stands still until it is resumed.
    case paused
    /// Every task completed or was skipped by a rule, or a task that handles its failure completed.
    case completed
    /// A task failed and none that handles that completed, or the time ran out.
    case failed
    /// It was cancelled before every task had completed.
    case cancelled
    /// What is stored is no status that this version knows.
    case unknown

    /// Whether nothing more will happen.
    public var isTerminal: Bool {
        switch self {
        case .queued, .running, .paused, .unknown: false
        case .completed, .failed, .cancelled: true
        }
    }
}

/// Where a task stands.
public enum TaskStatus: String, Sendable, Hashable, CaseIterable, Codable {
    /// A dependency has not ended.
    case waiting
    /// It may begin, or has begun: a beginning is not stored, unless a crash has made its pipeline's tasks suspects.
    case ready
    /// It has begun, and that is stored.
    case running
    /// An attempt failed; the next one waits for its time.
    case retrying
    /// It succeeded.
    case completed
    /// It threw and no attempt was left, it took too long, it did not stop in time, or too many processes died of it.
    case failed
    /// It will not run.
    case skipped

    /// Whether nothing more will happen.
    public var isTerminal: Bool {
        switch self {
        case .waiting, .ready, .running, .retrying: false
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
    /// When it began first; when it was asked for, if it never began.
    public let startedAt: Date
    /// How long it took from then to its end.
    public let duration: Duration
    /// True when the call that answers this began the pipeline; false when an earlier call did, with the same idempotency key, and
    /// wherever a result is asked for by a pipeline's id.
    public internal(set) var isNew = false
    /// When it ended, or, of one that has not, when it was looked at.
    public var endedAt: Date { self.startedAt.addingTimeInterval(self.duration.seconds) }

    /// What came of one task; nil when the workflow has none of that id.
    public func task(_ id: String) -> TaskResult? { self.tasks.first { $0.id == id } }

    /// How each task fared, by its id: for a drawing of the run.
    ///
    /// ```swift
    /// let drawing = WorkflowGraph(workflow).annotated(with: result.taskRuns).mermaid()
    /// ```
    public var taskRuns: [String: WorkflowGraph.TaskRun] {
        Dictionary(
            self.tasks.map { task in
                let run = WorkflowGraph.TaskRun(
                    state: task.status.rawValue, attempts: task.attempt, duration: task.duration)
                return (task.id, run)
            }, uniquingKeysWith: { first, _ in first })
    }

    /// Why the first task failed that did, with its name; nil when none did.
    public var error: String? {
        self.tasks.first { $0.status == .failed }.map { "\"\($0.id)\" failed: \($0.error ?? "no reason is known")" }
    }

    /// The same result, if the pipeline completed.
    ///
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/notCompleted``, which names how it ended, the first task that
    ///   failed, and why.
    @discardableResult
    public func completed(fileID: String = #fileID, line: Int = #line) throws(PipelineError) -> PipelineResult {
        guard self.status != .completed else { return self }
        let reason = self.error.map { ": \($0)" } ?? ""
        throw PipelineError(
            .notCompleted, "\"\(self.workflow)\" ended as \(self.status)\(reason)", fileID: fileID, line: line)
    }
}

/// What came of one task.
public struct TaskResult: Sendable, Identifiable {
    /// The task's id.
    public let id: String
    /// How it ended.
    public let status: TaskStatus
    /// How many attempts were begun; 0 when it never ran.
    public let attempt: Int
    /// What came of each attempt that ended, in order; of more than 20, the first 10 and the last 10.
    /// ``DefaultRunner/history(of:)`` has all.
    public let attempts: [TaskAttempt]
    /// When the last attempt began; nil when it never ran.
    public var startedAt: Date? { self.attempts.last?.startedAt }
    /// When the last attempt ended; nil when it never ran.
    public var completedAt: Date? { self.attempts.last?.endedAt }
    /// How long the last attempt took; nil when it never ran.
    public var duration: Duration? { self.attempts.last?.duration }
    /// Why it failed or was skipped.
    public let error: String?
}

/// What came of one attempt at a task.
public struct TaskAttempt: Sendable, Hashable {
    /// Its number, from 1. An attempt that a crash ended is missing from the list, and its number is not given again.
    public let number: Int
    /// When it began; nil when it was given up.
    public let startedAt: Date?
    /// When it ended.
    public let endedAt: Date
    /// Why it failed; nil when it succeeded or was interrupted by a shutdown.
    public let error: String?
    /// The runner that ran it.
    public let worker: UUID?
    /// Whether it succeeded.
    public let succeeded: Bool

    /// How long it took, as the clock showed; zero when the clock was put back meanwhile.
    public var duration: Duration? {
        self.startedAt.map { .clamped(seconds: max(0, self.endedAt.timeIntervalSince($0))) }
    }
}
