import Cloacina
import FoundationEssentials
import Synchronization

/// Remembers which attempts at which tasks have run in this process, and wakes whoever waits for so many of them.
final class AttemptLog: Sendable {
    struct Entry: Sendable, Hashable {
        let pipeline: UUID
        let task: String
        let attempt: Int
    }

    private struct State {
        var entries: [Entry: Int] = [:]
        var total = 0
        var waiting: [(count: Int, gate: Gate)] = []
    }
    private let state = Mutex(State())

    /// How often each attempt ran.
    var entries: [Entry: Int] { self.state.withLock { $0.entries } }

    /// The attempts that ran more than once.
    var repeated: [Entry] { self.entries.filter { $0.value > 1 }.map(\.key) }

    /// Notes that a task's code runs.
    func note(_ scope: TaskScope) {
        let entry = Entry(pipeline: scope.executionID, task: scope.task, attempt: scope.attempt)
        let reached = self.state.withLock { state in
            state.entries[entry, default: 0] += 1
            state.total += 1
            let reached = state.waiting.filter { $0.count <= state.total }
            state.waiting.removeAll { $0.count <= state.total }
            return reached
        }
        for waiting in reached { waiting.gate.open() }
    }

    /// Waits until so many attempts have begun.
    func reached(_ count: Int) async {
        let gate = Gate()
        let isReached = self.state.withLock { state in
            if state.total < count { state.waiting.append((count, gate)) }
            return state.total >= count
        }
        if !isReached { await gate.wait() }
    }
}
