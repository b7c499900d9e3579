import Synchronization

/// Counts what a removal ended, whichever step or attempt did it, and keeps who was in the way.
final class RemovalTally: Sendable {
    private struct State {
        var sessions: Set<Int32> = []
        var transactions = 0
        var intruders: Set<String> = []
    }

    private let state = Mutex(State())

    /// How many sessions were ended.
    var endedSessions: Int { self.state.withLock { $0.sessions.count } }
    /// How many prepared transactions were rolled back.
    var rolledBackTransactions: Int { self.state.withLock { $0.transactions } }

    /// A session that was told to end may be there at the next look, and is told again.
    func didEnd(_ processIDs: [Int32]) { self.state.withLock { $0.sessions.formUnion(processIDs) } }

    /// Roles of other tenants whose sessions were in the way, by name, in order.
    var intruders: [String] { self.state.withLock { $0.intruders.sorted() } }

    func didIntrude(_ role: String) { self.state.withLock { _ = $0.intruders.insert(role) } }

    /// Forgets who was in the way; whoever still is will be found again.
    func forgetIntruders() { self.state.withLock { $0.intruders = [] } }

    func didRollBack() { self.state.withLock { $0.transactions &+= 1 } }
}
