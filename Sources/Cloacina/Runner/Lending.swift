import Synchronization

/// Counts the tasks of one pipeline that have lent their slots because they wait for other pipelines, and tells when the first
/// begins and the last ends to do so.
final class Lending: Sendable {
    private struct State {
        var count = 0
        var isClosed = false
    }
    private let state = Mutex(State())
    private let note: @Sendable (Bool) -> Void

    init(_ note: @escaping @Sendable (Bool) -> Void) { self.note = note }

    func begin() {
        let isFirst = self.state.withLock { state in
            state.count += 1
            return state.count == 1 && !state.isClosed
        }
        if isFirst { self.note(true) }
    }

    func end() {
        let isLast = self.state.withLock { state in
            state.count -= 1
            return state.count == 0 && !state.isClosed
        }
        if isLast { self.note(false) }
    }

    /// Counts no longer: the pipeline is not driven any more, whatever its tasks' code still waits for.
    func close() {
        let wasWaiting = self.state.withLock { state in
            defer { state.isClosed = true }
            return state.count > 0 && !state.isClosed
        }
        if wasWaiting { self.note(false) }
    }
}
