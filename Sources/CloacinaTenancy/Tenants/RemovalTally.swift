import Synchronization

/// Counts what a removal ended, whichever step or attempt did it.
final class RemovalTally: Sendable {
    private struct State {
        var sessions: Set<Int32> = []
        var transactions = 0
    }

    private let state = Mutex(State())

    /// How many sessions were ended.
    var endedSessions: Int { self.state.withLock { $0.sessions.count } }
    /// How many prepared transactions were rolled back.
    var rolledBackTransactions: Int { self.state.withLock { $0.transactions } }

    /// A session that was told to end may be there at the next look, and is told again.
    func didEnd(_ processIDs: [Int32]) { self.state.withLock { $0.sessions.formUnion(processIDs) } }

    func didRollBack() { self.state.withLock { $0.transactions &+= 1 } }
}
