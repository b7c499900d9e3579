import CloacinaPostgres
import FoundationEssentials

/// What runners of one database tell each other: that something is in a tenant's queue, and when it is due.
struct QueueCall: Sendable, Hashable {
    /// The channel they call on.
    static let channel = "cloacina_queue"

    let schema: String
    let delay: Duration

    init(schema: String, delay: Duration = .zero) {
        self.schema = schema
        self.delay = max(.zero, delay)
    }

    /// Milliseconds, a space, and the schema, whose name may hold anything; nil when it isn't that.
    init?(_ payload: String) {
        let parts = payload.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let milliseconds = Int64(parts[0]), milliseconds >= 0 else { return nil }
        self.init(schema: String(parts[1]), delay: .milliseconds(milliseconds))
    }

    var payload: String { "\(self.delay.wholeMilliseconds) \(self.schema)" }

    var statement: PostgresStatement {
        PostgresStatement(trusted: "SELECT pg_catalog.pg_notify($1, $2)", [.text(Self.channel), .text(self.payload)])
    }
}

extension DefaultRunner {
    /// Looks at the queue when a call says that something is due.
    func hear(_ call: QueueCall) {
        guard call.delay > .zero else { return self.wake() }
        self.wake(at: self.clock.now().addingTimeInterval(call.delay.seconds))
    }
}
