/// How much a transaction sees of others that run beside it.
public struct PostgresIsolation: Sendable, Hashable, CustomStringConvertible {
    enum Base: String { case readCommitted = "read committed", repeatableRead = "repeatable read", serializable }
    let base: Base

    /// Each statement sees what was committed before it began.
    public static let readCommitted = Self(base: .readCommitted)
    /// Every statement sees what was committed before the first one; SQLSTATE 40001 asks for another try.
    public static let repeatableRead = Self(base: .repeatableRead)
    /// The outcome is that of some order in which the transactions ran alone; SQLSTATE 40001 asks for another try.
    public static let serializable = Self(base: .serializable)

    /// The level as PostgreSQL's settings spell it.
    var setting: String { self.base.rawValue }

    /// The level as SQL spells it.
    public var description: String { self.base.rawValue.uppercased() }

    /// The statement that begins a transaction of a level; of the session's default when `nil`.
    static func begin(_ isolation: PostgresIsolation?) -> PostgresStatement {
        let level = isolation.map { " ISOLATION LEVEL \($0.description)" } ?? ""
        return PostgresStatement(trusted: "BEGIN" + level, prepared: false)
    }
}
