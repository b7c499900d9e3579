import CloacinaWorkflow
import FoundationEssentials
import Synchronization

/// One caller's wait for a pipeline, which may have a limit: the status seen last, and the end of the time.
final class LimitedWait: Sendable {
    private let state = Mutex<(status: PipelineStatus?, isOver: Bool)>((nil, false))

    /// True once the time is over.
    var isOver: Bool { self.state.withLock { $0.isOver } }

    /// Notes the pipeline's status.
    func note(_ status: PipelineStatus) { self.state.withLock { $0.status = status } }

    /// Notes that the time is over.
    func end() { self.state.withLock { $0.isOver = true } }

    /// The error for a caller whose time is over.
    func overdue(_ id: UUID, after limit: Duration) -> PipelineError {
        let advice =
            switch self.state.withLock({ $0.status }) {
            case .queued:
                "was queued when seen last, and no runner has claimed it: see that one serves the queue (RunnerGroup) that has its "
                    + "workflow and version (stranded(limit:) says whether this one has), and that it is due"
            case .paused: "was paused when seen last, and stands still until resume(_:) is called"
            case .running: "was running when seen last, and goes on: wait again, or end it with cancel(_:)"
            case let status?: "was \(status) when seen last: wait again"
            case nil: "was not seen in that time: wait again, for longer than the database takes to answer"
            }
        return PipelineError(
            .deadlineExceeded, "the pipeline \(id) has not ended within \(Self.clamped(limit)); it \(advice)")
    }

    /// A limit that can be waited for and printed: from nothing to a hundred years.
    static func clamped(_ limit: Duration) -> Duration {
        max(.zero, limit.atMostACentury)
    }
}
