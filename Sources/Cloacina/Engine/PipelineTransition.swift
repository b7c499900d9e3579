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
    /// What happened.
    package var events: [PipelineEvent] = []

    package init(expectedRevision: Int) {
        self.expectedRevision = expectedRevision
    }

    /// Whether it changes nothing.
    package var isEmpty: Bool { self.status == .running && self.events.isEmpty }
}

/// A task that a runner begins.
package struct TaskStart: Sendable, Hashable {
    package let position: Int
    package let attempt: Int
}
