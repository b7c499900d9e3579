import Synchronization

/// Counts what a removal ended, whichever step or attempt did it, and keeps who was in the way.
final class RemovalTally: Sendable {
    private struct State {
        var sessions: Set<Int32> = []
        var transactions = 0
        var intruders: Set<String> = []
        var blockers: [LockHolder] = []
        var endedBlockers: [LockHolder] = []
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

    /// Those who were last seen to keep a change waiting, those that were ended for it included.
    var blockers: [LockHolder] { self.state.withLock { $0.blockers } }

    func didBlock(_ holders: [LockHolder]) { self.state.withLock { if !holders.isEmpty { $0.blockers = holders } } }

    func forgetBlockers() { self.state.withLock { $0.blockers = [] } }

    /// Those who kept an attempt waiting and were ended, in order.
    var endedBlockers: [LockHolder] { self.state.withLock { $0.endedBlockers } }

    /// Notes one who was ended; says whether that is new: one that was told to end may be there at the next look.
    func didEnd(_ blocker: LockHolder) -> Bool {
        self.state.withLock { state in
            guard !state.endedBlockers.contains(blocker) else { return false }
            state.endedBlockers.append(blocker)
            return true
        }
    }

    func didRollBack() { self.state.withLock { $0.transactions &+= 1 } }
}
