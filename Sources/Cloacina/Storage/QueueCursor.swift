import FoundationEssentials
import Synchronization

/// Remembers how far a runner has worked off a queue, so that claims need not begin at its start.
///
/// As long as another session holds an old snapshot, the server keeps every entry of the queue's index that was taken since, and
/// each claim from the start walks over all of them. So when such a claim was slow, those that follow begin after the last
/// pipeline that was claimed. What came before that place since, such as something more urgent, is found by the next claim
/// from the start: when nothing follows any more, and after twenty times as long as the last one took. A claim of other lanes, such
/// as after another workflow was registered, begins at the start.
///
/// What the runner can't take has no part in this: no claim walks over it. See ``PostgresWorkflowQueries/claim(_:after:window:)``.
final class QueueCursor: Sendable {
    /// A place in the queue.
    struct Position: Sendable, Hashable {
        var priority: Int
        var dueAt: Date
        var id: UUID
    }

    private struct State {
        var position: Position?
        /// What was claimed up to the position.
        var lanes: [String] = []
        var onlyChildren = false
        /// Until when claims may begin after the position.
        var end = ContinuousClock.now
    }

    private let slowClaim: Duration
    private let state = Mutex(State())

    /// - Parameter slowClaim: What a claim from the start may take before others are spared it.
    init(slowClaim: Duration) { self.slowClaim = slowClaim }

    /// Where a claim begins; nil: at the start.
    func position(at now: ContinuousClock.Instant, for claim: QueueClaim) -> Position? {
        self.state.withLock { state in
            guard state.end > now, let position = state.position, state.onlyChildren == claim.onlyChildren,
                claim.abovePriority.map({ position.priority > $0 }) ?? true, state.lanes == claim.lanes
            else { return nil }
            return position
        }
    }

    /// Notes the last place that was claimed; when there was less than was wanted, nothing follows it.
    func note(_ position: Position?, of claim: QueueClaim, isFull: Bool) {
        self.state.withLock { state in
            state.position = isFull ? position : nil
            state.lanes = claim.lanes
            state.onlyChildren = claim.onlyChildren
        }
    }

    /// Notes how long a claim from the start took.
    func noteScan(from begin: ContinuousClock.Instant, to end: ContinuousClock.Instant) {
        let duration = begin.duration(to: end)
        self.state.withLock { $0.end = duration > self.slowClaim ? end.advanced(by: duration * 20) : end }
    }
}
