package import FoundationEssentials

/// Where one task of a pipeline stands.
package enum TaskState: Sendable, Hashable {
    /// A dependency has not ended yet.
    case waiting
    /// It may be claimed.
    case ready
    /// A runner has claimed it; the epoch counts the claims.
    case running(owner: UUID, epoch: Int)
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
        case .completed: .completed
        case .failed: .failed
        case .skipped: .skipped
        }
    }
}

/// Why a task will not run.
package struct SkipReason: Sendable, Hashable {
    /// The reason in words, as it is stored.
    package let text: String

    package init(text: String) { self.text = text }

    /// A task that it depends on, directly or not, failed.
    package static func dependencyFailed(_ task: String) -> Self { Self(text: "\"\(task)\" failed") }

    /// The pipeline was cancelled before.
    package static let cancelled = Self(text: "the pipeline was cancelled")
}

/// Where one task of a pipeline stands, and how often it was claimed.
package struct TaskRecord: Sendable, Hashable {
    package var state = TaskState.waiting
    /// How many claims there were.
    package var epoch = 0
    /// How many attempts were begun.
    package var attempt = 0

    package init(state: TaskState = .waiting, epoch: Int = 0, attempt: Int = 0) {
        self.state = state
        self.epoch = epoch
        self.attempt = attempt
    }
}
