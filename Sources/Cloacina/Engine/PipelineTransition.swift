package import FoundationEssentials

/// What an attempt came to.
package enum TaskOutcome: Sendable, Hashable {
    /// It succeeded and hands on what it changed.
    case completed(ContextDelta)
    /// It succeeded, and that is in its history already: it was committed with the task's own writes.
    case committed(ContextDelta)
    /// It threw, or took too long.
    case failed(TaskFailure)
    /// It was stopped because its runner shuts down.
    case interrupted
}

/// One change of a pipeline, to be applied as a whole or not at all.
package struct PipelineTransition: Sendable, Hashable {
    /// The revision that the pipeline must have; the transition makes the next one.
    package let expectedRevision: Int
    /// What the pipeline is afterwards. Any other state than `running` ends the runner's claim.
    package var status = PipelineStatus.running
    /// When it may be claimed again, if it is queued afterwards.
    package var dueAt: Date?
    /// True when that is a time that was stored before, by the clock by which it is due.
    package var keepsDueAt = false
    /// What happened.
    package var events: [PipelineEvent] = []
    /// The tasks among them whose completion was committed with their own writes: it stands apart until it is folded in here.
    package var folds: [String] = []
    /// Folds in every own commit that stands apart, before the events: for those who don't know of them.
    package var foldsEverything = false
    /// True when no task has a line, so that the pipeline begins anew with whatever version comes next.
    package var isUntouched = false
    /// The version that the pipeline goes on with; nil when that stays.
    package var version: String?
    /// The context that the pipeline hands back, as JSON; with its end.
    package var output: String?
    /// Pairs of each task and its status, as JSON in declared order; with its end.
    package var outcomes: String?

    package init(expectedRevision: Int) {
        self.expectedRevision = expectedRevision
    }

    /// The next transition of a pipeline that nobody drives, decided on from what is stored of it. Whatever its tasks committed
    /// themselves becomes a part of its history.
    init(of stored: StoredPipeline, to status: PipelineStatus, dueAt: Date? = nil) {
        self.init(expectedRevision: stored.revision)
        self.status = status
        self.dueAt = dueAt
        self.foldsEverything = true
        self.isUntouched = !stored.isTouched
    }

    /// True when the pipeline is un-begun by it: no task has a line, and nobody has it any more.
    package var isUnbegun: Bool { self.isUntouched && (self.status == .queued || self.status == .paused) }

    /// What happened and nobody was told of yet: of an own commit everybody was told when it was made.
    var untold: [PipelineEvent] {
        guard !self.folds.isEmpty else { return self.events }
        let folded = Set(self.folds)
        return self.events.filter { event in
            event.kind != .taskCompleted || !(event.task.map { folded.contains($0) } ?? false)
        }
    }

    /// Whether it changes nothing that can't wait: own commits are stored already.
    package var isEmpty: Bool { self.status == .running && self.events.count == self.folds.count }
}

/// A task that a runner begins.
package struct TaskStart: Sendable, Hashable {
    package let position: Int
    package let attempt: Int
}
