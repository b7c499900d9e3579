package import FoundationEssentials

/// Where one task of a pipeline stands.
package enum TaskState: Sendable, Hashable {
    /// A dependency has not ended yet.
    case waiting
    /// It may begin.
    case ready
    /// Its code runs.
    case running
    /// An attempt failed and another one will follow; when, as far as clocks agree.
    case retrying(due: Date)
    /// It succeeded.
    case completed
    /// It failed.
    case failed
    /// It will not run.
    case skipped(SkipReason)

    package var status: TaskStatus {
        switch self {
        case .waiting: .waiting
        case .ready: .ready
        case .running: .running
        case .retrying: .retrying
        case .completed: .completed
        case .failed: .failed
        case .skipped: .skipped
        }
    }
}

/// The reason why a task will not run.
package struct SkipReason: Sendable, Hashable {
    /// The code, on which decisions rest.
    package let code: PipelineEvent.Reason
    /// The reason in words, for people.
    package let text: String

    package init(_ code: PipelineEvent.Reason, text: String) {
        self.code = code
        self.text = PipelineEvent.storable(text)
    }

    /// A task that it depends on, directly or not, failed.
    package static func dependencyFailed(_ task: String) -> Self { Self(.dependencyFailed, text: "\"\(task)\" failed") }

    /// A task that it depends on was skipped by its own rule.
    package static func dependencySkipped(_ task: String) -> Self {
        Self(.dependencySkipped, text: "\"\(task)\" was skipped")
    }

    /// Its own rule said no.
    package static func rule(_ rule: TriggerRule) -> Self { Self(.rule, text: "its rule does not hold: \(rule)") }

    /// The pipeline was cancelled before.
    package static let cancelled = Self(.cancelled, text: "the pipeline was cancelled")

    /// The pipeline's time ran out before.
    package static let timedOut = Self(.timedOut, text: "the pipeline's time ran out")
}

/// Where one task of a pipeline stands, and how often it was tried.
package struct TaskRecord: Sendable, Hashable {
    package var state = TaskState.waiting
    /// How many attempts were begun, as far as is known: one that a crash ended counts.
    package var attempt = 0
    /// How many attempts failed.
    package var failures = 0
    /// How many processes died while they ran it and nothing else of its pipeline.
    package var interruptions = 0

    package init(state: TaskState = .waiting, attempt: Int = 0, failures: Int = 0) {
        self.state = state
        self.attempt = attempt
        self.failures = failures
    }
}
