#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// One line of a pipeline's history, written in the same commit as the change it tells of.
///
/// The history is what a pipeline is taken up from after a crash: what a task handed on is in its ``delta``.
public struct PipelineEvent: Sendable, Hashable {
    /// The kind of an event. Open: a newer version of this library may have written kinds that this one doesn't know.
    public struct Kind: RawRepresentable, Sendable, Hashable, CaseIterable {
        /// The kinds that this version writes.
        package enum Known: String, Sendable, CaseIterable {
            case pipelineQueued = "pipeline queued"
            case pipelineStarted = "pipeline started"
            case pipelineRecovered = "pipeline recovered"
            case pipelineReleased = "pipeline released"
            case pipelinePaused = "pipeline paused"
            case pipelineResumed = "pipeline resumed"
            case pipelineContinued = "pipeline continued"
            case pipelineCancelling = "pipeline cancelling"
            case pipelineTimedOut = "pipeline timed out"
            case pipelineCompleted = "pipeline completed"
            case pipelineFailed = "pipeline failed"
            case pipelineCancelled = "pipeline cancelled"
            case taskStarted = "task started"
            case taskCompleted = "task completed"
            case taskRetrying = "task retrying"
            case taskFailed = "task failed"
            case taskInterrupted = "task interrupted"
            case taskSkipped = "task skipped"
        }

        /// The kind's text, as it is stored.
        public let rawValue: String
        /// The kind, if this version knows it.
        package let known: Known?

        /// Makes a kind of its text, whether this version knows it or not.
        public init(rawValue: String) {
            self.rawValue = rawValue
            self.known = Known(rawValue: rawValue)
        }

        package init(_ known: Known) {
            self.rawValue = known.rawValue
            self.known = known
        }

        /// Whether two kinds are the same.
        public static func == (left: Self, right: Self) -> Bool {
            left.known == right.known && (left.known != nil || left.rawValue == right.rawValue)
        }

        /// Feeds the text to the hasher.
        public func hash(into hasher: inout Hasher) { hasher.combine(self.rawValue) }

        /// The kinds that this version writes.
        public static var allCases: [Self] { Known.allCases.map { Self($0) } }

        /// The pipeline waits for a runner.
        public static let pipelineQueued = Self(.pipelineQueued)
        /// A runner began it, or went on with it after a pause or a release.
        public static let pipelineStarted = Self(.pipelineStarted)
        /// Its runner died, or could not go on with it, which ``PipelineEvent/reason`` says; it waits for another.
        public static let pipelineRecovered = Self(.pipelineRecovered)
        /// Its runner shut down in good order; it waits for another.
        public static let pipelineReleased = Self(.pipelineReleased)
        /// It stands still until it is resumed.
        public static let pipelinePaused = Self(.pipelinePaused)
        /// It waits for a runner again.
        public static let pipelineResumed = Self(.pipelineResumed)
        /// It goes on under another version of its workflow, which its history fits.
        public static let pipelineContinued = Self(.pipelineContinued)
        /// It was cancelled while tasks ran, which are being stopped.
        public static let pipelineCancelling = Self(.pipelineCancelling)
        /// Its time ran out.
        public static let pipelineTimedOut = Self(.pipelineTimedOut)
        /// Every task succeeded or was skipped by a rule, or a task that handles its failure succeeded.
        public static let pipelineCompleted = Self(.pipelineCompleted)
        /// A task failed.
        public static let pipelineFailed = Self(.pipelineFailed)
        /// It was cancelled.
        public static let pipelineCancelled = Self(.pipelineCancelled)
        /// An attempt is about to begin. Written only after a crash, to find out which task causes it.
        public static let taskStarted = Self(.taskStarted)
        /// An attempt succeeded.
        public static let taskCompleted = Self(.taskCompleted)
        /// An attempt failed, and another one follows.
        public static let taskRetrying = Self(.taskRetrying)
        /// An attempt failed, and none follows.
        public static let taskFailed = Self(.taskFailed)
        /// An attempt was stopped because its runner shut down; it does not count as failed.
        public static let taskInterrupted = Self(.taskInterrupted)
        /// The task will not run.
        public static let taskSkipped = Self(.taskSkipped)
        /// The stored row can't be read; ``PipelineEvent/detail`` says why. Never stored.
        public static let unreadable = Self(rawValue: "unreadable")
    }

    /// The code of what led to an event. Decisions rest on it, never on ``PipelineEvent/detail``.
    public struct Reason: RawRepresentable, Sendable, Hashable {
        /// The code, as it is stored.
        public let rawValue: String

        /// Makes a reason of its code, whether this version knows it or not.
        public init(rawValue: String) { self.rawValue = rawValue }

        /// The runner's heartbeat stopped.
        public static let runnerDied = Self(rawValue: "runner_died")
        /// The runner was shutting down, and was killed before it had given its pipelines back.
        public static let runnerStopped = Self(rawValue: "runner_stopped")
        /// The runner lives, but could not go on with the pipeline, and gave it back.
        public static let givenBack = Self(rawValue: "given_back")
        /// The answer to the runner's claim was lost. It began nothing, and gave the pipeline back.
        public static let claimLost = Self(rawValue: "claim_lost")
        /// A task that this one depends on, directly or not, failed.
        public static let dependencyFailed = Self(rawValue: "dependency_failed")
        /// A task that this one depends on was skipped by its own rule.
        public static let dependencySkipped = Self(rawValue: "dependency_skipped")
        /// The task's own rule does not hold.
        public static let rule = Self(rawValue: "rule")
        /// The pipeline was cancelled.
        public static let cancelled = Self(rawValue: "cancelled")
        /// The pipeline's time ran out.
        public static let timedOut = Self(rawValue: "timed_out")
        /// The pipeline had begun with another version of its workflow, and left that.
        static func left(version: String) -> Self { Self(rawValue: "left_version_\(version)") }
        /// The stored rows can't be read, or exceed what is read.
        public static let unreadable = Self(rawValue: "unreadable")
        /// The database refuses what is to be stored, whenever it is tried.
        public static let refused = Self(rawValue: "refused")
        /// Process after process died while it ran the task.
        public static let abandoned = Self(rawValue: "abandoned")
    }

    /// What happened.
    public var kind: Kind
    /// The task it happened to; nil for the pipeline.
    public var task: String?
    /// The number of the attempt, from 1; 0 where there is none.
    public var attempt: Int
    /// The runner that wrote it.
    public var worker: UUID?
    /// When the attempt began that ended here.
    public var startedAt: Date?
    /// When it happened.
    public var at: Date
    /// The code of what led to it, where there is one.
    public var reason: Reason?
    /// The error's text, or the reason in words. For people; no decision rests on it.
    public var detail: String?
    /// What the task changed in its context.
    public var delta: ContextDelta?
    /// When the next attempt is due.
    public var dueAt: Date?

    package init(
        _ kind: Kind, task: String? = nil, attempt: Int = 0, worker: UUID? = nil, startedAt: Date? = nil, at: Date,
        reason: Reason? = nil, detail: String? = nil, delta: ContextDelta? = nil, dueAt: Date? = nil
    ) {
        self.kind = kind
        self.task = task
        self.attempt = attempt
        self.worker = worker
        self.startedAt = startedAt
        self.at = at
        self.reason = reason
        self.detail = detail
        self.delta = delta
        self.dueAt = dueAt
    }
}

extension PipelineEvent {
    /// The words of a pipeline's line whose runner gave it back.
    static let givenBack = "its runner lives, but could not go on with it"

    /// The words of a pipeline's line whose claim was lost.
    static let claimLost = "its runner never learned that it had claimed it"

    /// The words of a pipeline's line whose runner died.
    package static func recovery(of runner: UUID) -> String { "runner \(runner.uuidString.lowercased()) died" }

    /// Text that every database takes: without NUL characters, at most this many bytes.
    static func storable(_ text: String, upTo bytes: Int = TaskFailure.maximumTextBytes) -> String {
        guard text.utf8.count > bytes || text.utf8.contains(0) else { return text }
        return TaskFailure(text: text, typeName: "", isTransient: false).text
    }
}
