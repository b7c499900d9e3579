import Synchronization

/// Counts what is under way, for whoever must wait until nothing is.
final class PendingWork: Sendable {
    private struct State {
        var count = 0
        var waiting: [CheckedContinuation<Void, Never>] = []
    }
    private let state = Mutex(State())

    func begin() { self.state.withLock { $0.count += 1 } }

    func end() {
        let waiting = self.state.withLock { state in
            state.count -= 1
            guard state.count == 0 else { return [] as [CheckedContinuation<Void, Never>] }
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    /// Returns when nothing is under way.
    func wait() async {
        await withCheckedContinuation { continuation in
            let isIdle = self.state.withLock { state in
                if state.count > 0 { state.waiting.append(continuation) }
                return state.count == 0
            }
            if isIdle { continuation.resume() }
        }
    }
}
