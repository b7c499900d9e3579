/// What is known about a setting of the server's session. A pure value.
///
/// A new value travels in one transaction with the statements it is for: if they fail, the server takes it back, and so
/// does this. Whenever the value is not certain, the next statement sets it again.
struct SessionSetting<Value: Equatable & Sendable>: Sendable {
    /// The value that the session certainly has; `nil` when unknown.
    private(set) var bound: Value?
    /// Whether it was set inside a transaction block that is still open.
    private var isProvisional = false
    /// The lease whose own SQL ran since the value was last confirmed.
    private var unconfirmedSince: UInt64?

    init(_ value: Value? = nil) { self.bound = value }

    /// Whether a statement of a lease has to set the value first.
    ///
    /// What a lease does to its own session is its own business; the next lease confirms the value by setting it again.
    func needsSetting(_ value: Value, lease: UInt64) -> Bool {
        if self.bound != value { return true }
        guard let unconfirmedSince else { return false }
        return unconfirmedSince != lease
    }

    mutating func didSet(_ value: Value, inTransaction: Bool) {
        self.bound = value
        self.isProvisional = inTransaction
        self.unconfirmedSince = nil
    }

    /// The value is not certain any more: the statements that carried it failed, or it turned out to be worth nothing.
    mutating func forget() {
        self.bound = nil
        self.isProvisional = false
    }

    /// The caller's own SQL ran: it may have changed the setting without our seeing it.
    mutating func didRunForeignSQL(in lease: UInt64) { self.unconfirmedSince = lease }

    /// A transaction block ended; after a rollback a value that was set inside it is gone.
    mutating func didEndTransaction(committed: Bool) {
        if self.isProvisional, !committed { self.bound = nil }
        self.isProvisional = false
    }
}

/// How long a statement may wait for a lock.
enum LockTimeout: Hashable, Sendable {
    /// As the server, the database or the login says.
    case standard
    case milliseconds(Int32)

    /// At least a millisecond, since zero means no limit to PostgreSQL.
    init(_ duration: Duration?) {
        guard let duration else {
            self = .standard
            return
        }
        // can't trap: a case of this type and no Duration
        self = .milliseconds(Int32(clamping: max(1, duration.boundedMilliseconds)))
    }

    /// The setting's text; `NULL` resets it.
    var bind: PostgresValue {
        switch self {
        case .standard: .null
        case .milliseconds(let milliseconds): .text(String(milliseconds))  // can't trap: a case, no Duration
        }
    }

    /// Sets it for the session. The name is qualified: the path in force may be the last tenant's.
    var statement: PostgresStatement {
        PostgresStatement(trusted: "SELECT pg_catalog.set_config('lock_timeout', $1, false)", [self.bind])
    }
}
