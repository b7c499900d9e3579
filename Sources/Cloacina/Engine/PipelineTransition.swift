package import FoundationEssentials

/// What a task came to.
package enum TaskOutcome: Sendable, Hashable {
    /// It succeeded and hands on what it changed.
    case completed(ContextDelta)
    /// It threw; the error in words.
    case failed(String)
}

/// One change of a pipeline and its tasks, to be applied as a whole or not at all.
package struct PipelineTransition: Sendable, Hashable {
    /// A task that ended, and the claim under which it did.
    package struct Ended: Sendable, Hashable {
        package let task: String
        package let epoch: Int
        package let attempt: Int
        package let outcome: TaskOutcome
        package let at: Date

        package init(task: String, epoch: Int, attempt: Int, outcome: TaskOutcome, at: Date) {
            self.task = task
            self.epoch = epoch
            self.attempt = attempt
            self.outcome = outcome
            self.at = at
        }
    }

    /// A task that its runner begins.
    package struct Claim: Sendable, Hashable {
        package let position: Int
        package let task: String
        package let epoch: Int
        package let attempt: Int
    }

    /// The revision that the pipeline must have; the transition makes the next one.
    package let expectedRevision: Int
    /// What the pipeline is afterwards.
    package var status = PipelineStatus.running
    /// The tasks that ended.
    package var ended: [Ended] = []
    /// The tasks that the runner claims.
    package var claimed: [Claim] = []
    /// The tasks that became ready and that anyone may claim.
    package var queued: [String] = []
    /// The tasks that will not run.
    package var skipped: [String] = []
    /// Why they won't.
    package var skipReason: SkipReason?

    package init(expectedRevision: Int) {
        self.expectedRevision = expectedRevision
    }

    /// Whether it changes nothing.
    package var isEmpty: Bool {
        self.status == .running && self.ended.isEmpty && self.claimed.isEmpty && self.queued.isEmpty
            && self.skipped.isEmpty
    }
}
