#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// One line of a pipeline's history, written in the same commit as the change it tells of.
///
/// The history is what a pipeline is taken up from after a crash: what a task handed on is in its ``delta``.
public struct PipelineEvent: Sendable, Hashable {
    /// What happened.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// The pipeline waits for a runner.
        case pipelineQueued = "pipeline queued"
        /// A runner began it, or went on with it after a pause or a release.
        case pipelineStarted = "pipeline started"
        /// Its runner died, or could not go on with it, which ``PipelineEvent/detail`` says; it waits for another.
        case pipelineRecovered = "pipeline recovered"
        /// Its runner shut down in good order; it waits for another.
        case pipelineReleased = "pipeline released"
        /// It stands still until it is resumed.
        case pipelinePaused = "pipeline paused"
        /// It waits for a runner again.
        case pipelineResumed = "pipeline resumed"
        /// It was cancelled while tasks ran, which are being stopped.
        case pipelineCancelling = "pipeline cancelling"
        /// Its time ran out.
        case pipelineTimedOut = "pipeline timed out"
        /// Every task succeeded or was skipped by a rule.
        case pipelineCompleted = "pipeline completed"
        /// A task failed.
        case pipelineFailed = "pipeline failed"
        /// It was cancelled.
        case pipelineCancelled = "pipeline cancelled"
        /// An attempt is about to begin. Written only after a crash, to find out which task causes it.
        case taskStarted = "task started"
        /// An attempt succeeded.
        case taskCompleted = "task completed"
        /// An attempt failed, and another one follows.
        case taskRetrying = "task retrying"
        /// An attempt failed, and none follows.
        case taskFailed = "task failed"
        /// An attempt was stopped because its runner shut down; it does not count as failed.
        case taskInterrupted = "task interrupted"
        /// The task will not run.
        case taskSkipped = "task skipped"
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
    /// The error's text or the reason.
    public var detail: String?
    /// What the task changed in its context.
    public var delta: ContextDelta?
    /// When the next attempt is due.
    public var dueAt: Date?

    package init(
        _ kind: Kind, task: String? = nil, attempt: Int = 0, worker: UUID? = nil, startedAt: Date? = nil, at: Date,
        detail: String? = nil, delta: ContextDelta? = nil, dueAt: Date? = nil
    ) {
        self.kind = kind
        self.task = task
        self.attempt = attempt
        self.worker = worker
        self.startedAt = startedAt
        self.at = at
        self.detail = detail
        self.delta = delta
        self.dueAt = dueAt
    }
}

extension PipelineEvent {
    /// What a recovered pipeline's line says when its runner lived.
    static let givenBack = "its runner lives, but could not go on with it"

    /// What it says when its runner died.
    package static func recovery(of runner: UUID) -> String { "runner \(runner.uuidString.lowercased()) died" }
}
