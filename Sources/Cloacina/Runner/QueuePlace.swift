import Synchronization

/// One pipeline from the queue, in the count of what its runner has claimed: each step is counted once, whoever says so first.
final class QueuePlace: Sendable {
    enum Step: Sendable { case arrived, began, ended, left }

    private struct State {
        var hasArrived = false
        var hasBegun = false
        var isOver = false
    }
    private let state = Mutex(State())
    private let note: @Sendable ([Step]) -> Void

    init(_ note: @escaping @Sendable ([Step]) -> Void) { self.note = note }

    /// Takes note that the pipeline's run has looked for the first time for what it can begin.
    func arrive() {
        let isFirst = self.state.withLock { state in
            defer { state.hasArrived = true }
            return !state.hasArrived
        }
        if isFirst { self.note([.arrived]) }
    }

    /// Takes note that the pipeline's first task begins.
    func begin() {
        let isFirst = self.state.withLock { state in
            defer { state.hasBegun = true }
            return !state.hasBegun
        }
        if isFirst { self.note([.began]) }
    }

    /// Takes note that the pipeline is over here: ended, or given back.
    func end(hasEnded: Bool) {
        let steps = self.state.withLock { state -> [Step] in
            guard !state.isOver else { return [] }
            defer { state = State(hasArrived: true, hasBegun: true, isOver: true) }
            return (state.hasArrived ? [] : [.arrived]) + (state.hasBegun ? [] : [.began])
                + [hasEnded ? .ended : .left]
        }
        if !steps.isEmpty { self.note(steps) }
    }
}
