import CloacinaPostgres
import FoundationEssentials
import Synchronization

/// What runners of one database tell each other: that something is in a tenant's queue, and when it is due.
///
/// Everybody on the server can hear the channel and call on it. So the tenant goes by a word that only its own schema holds: who
/// listens learns neither its name nor whose queue it is, and who calls without the word is heard by nobody.
struct QueueCall: Sendable, Hashable {
    /// The channel they call on.
    static let channel = "cloacina_queue"

    let token: String
    let delay: Duration

    /// Milliseconds, a space, and the tenant's word; nil when it isn't that.
    init?(_ payload: String) {
        let parts = payload.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let milliseconds = Int64(parts[0], radix: 10), milliseconds >= 0 else { return nil }
        self.token = String(parts[1])
        self.delay = .milliseconds(min(milliseconds, 1 << 40))  // can't trap: thirty years at most
    }

    /// Calls with the word of the schema that the lease is for, unless the server's queue of calls is half full: every login can
    /// fill it, and sweeps find what nobody was called for.
    static func statement(after delay: Duration) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT pg_catalog.pg_notify($1, $2 || token) FROM cloacina_wakeups
                WHERE id = 1 AND pg_catalog.pg_notification_queue_usage() < 0.5
                """,
            [.text(self.channel), .text("\(delay.wholeMilliseconds) ")])
    }
}

extension DefaultRunner {
    /// Looks at the queue when a call says that something is due; not more often than is good, however many call.
    func hear(_ call: QueueCall) {
        let now = ContinuousClock.now
        switch self.state.withLock({ $0.limiter.call(at: now) }) {
        case .now: self.answer(call)
        case .at(let instant):
            let pause = now.duration(to: instant)
            self.inBackground {
                try? await self.clock.sleep(for: pause)
                self.wake(lookingAhead: true)
            }
        case .swallowed: break
        }
    }

    private func answer(_ call: QueueCall) {
        // The clock of who calls may be a little ahead of this one: what is not due yet is asked for when it is.
        guard call.delay > .zero else { return self.wake(lookingAhead: true) }
        self.wake(at: self.clock.now().addingTimeInterval(call.delay.seconds))
    }

    /// Reads the word by which the tenant's runners call each other; nil without a server, or when it can't be read now.
    func wakeupToken() async -> String? {
        try? await self.askForWord(PostgresWorkflowQueries.token)?.single(as: String.self)
    }

    /// Runs a statement that reads the word, whose row the tenant's own runners may lock: the other tenants wait for the connection.
    /// Nil without a server, or when it can't be read now.
    func askForWord(_ statement: PostgresStatement) async -> PostgresRows? {
        guard let database = self.database else { return nil }
        return try? await database.pool.withReservedConnection(database.label) { lease in
            try await lease.pipeline(
                [statement], deadline: .now.advanced(by: .seconds(5)), lockTimeout: .seconds(1))[0]
        }
    }
}
