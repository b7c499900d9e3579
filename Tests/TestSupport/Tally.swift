import Synchronization

/// A number that only grows, and whoever waits until it is high enough: a signal when it has to reach 1, a meeting when all
/// who add to it wait for the number of them.
package final class Tally: Sendable {
    private struct State {
        var count = 0
        var waiting: [(count: Int, continuation: CheckedContinuation<Void, Never>)] = []
    }
    private let state = Mutex(State())

    package init() {}

    /// How high it is.
    package var count: Int { self.state.withLock { $0.count } }

    /// Adds one.
    package func add() {
        let reached = self.state.withLock { state in
            state.count += 1
            let reached = state.waiting.filter { $0.count <= state.count }
            state.waiting.removeAll { $0.count <= state.count }
            return reached
        }
        for waiting in reached { waiting.continuation.resume() }
    }

    /// Waits, however the task is cancelled, until it is that high.
    package func reached(_ count: Int) async {
        await withCheckedContinuation { continuation in
            let isReached = self.state.withLock { state in
                if state.count < count { state.waiting.append((count, continuation)) }
                return state.count >= count
            }
            if isReached { continuation.resume() }
        }
    }

    /// Adds one and waits for the others.
    package func meet(_ count: Int) async {
        self.add()
        await self.reached(count)
    }
}
