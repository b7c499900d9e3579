/// What stands between this process and the server: nothing, or a pooler such as PgBouncer.
///
/// A label is state of a session, so its role is safe only where a client keeps one session. Behind a pooler every
/// flush outside a transaction therefore binds the label again, and asserts on the server, before anything else runs,
/// that it still talks to the backend that it was connected to.
public struct PostgresPooling: Sendable, Hashable, CustomStringConvertible {
    enum Base: String { case detect, none, session, transaction }
    let base: Base

    /// Finds out at connect; the default. Where a pooler hands one client's session to another, labels with a role,
    /// `LISTEN` and settings of the session are refused with ``PostgresError/Code/poolerUnsupported``.
    public static let detect = Self(base: .detect)
    /// A direct connection; behind a pooler connecting fails with ``PostgresError/Code/poolerUnsupported``.
    public static let none = Self(base: .none)
    /// A pooler whose sessions belong to one client until it disconnects: PgBouncer's `pool_mode = session`.
    public static let session = Self(base: .session)
    /// A pooler that hands sessions on after each transaction: labels with a login and no role work, and nothing that
    /// outlives a transaction.
    public static let transaction = Self(base: .transaction)

    /// The case's name.
    public var description: String { self.base.rawValue }
}

/// What a connection has turned out to lead through.
enum PoolerMode: UInt8, Sendable {
    /// The server itself.
    case direct
    /// A pooler that keeps the session for this client, as far as anyone can tell.
    case session
    /// A pooler that hands the session to others between transactions.
    case shared
}

extension PostgresError {
    /// The refusal of something that needs a session of its own.
    static func needsOwnSession(_ what: String) -> PostgresError {
        PostgresError(
            .poolerUnsupported,
            advice: "\(what) needs a session of its own, and the pooler in between hands sessions on after each "
                + "transaction; connect directly or set pool_mode = session (labels with a login and without a role do "
                + "without)")
    }

    /// The session turned out to be another backend's than the one at connect.
    static func movedSession(serverMessage: String?) -> PostgresError {
        PostgresError(
            .poolerUnsupported,
            advice: "a pooler has moved this connection to another backend, so nothing was run and the connection was "
                + "closed; connect directly or set pool_mode = session",
            serverMessage: serverMessage)
    }
}
