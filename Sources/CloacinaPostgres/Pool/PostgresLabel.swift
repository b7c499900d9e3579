/// What a pooled connection is set to: the schema it sees, the role it acts as and the login it authenticated with.
///
/// Labels are compared on every check-out, so each carries a fingerprint of its parts: two different labels are told
/// apart by one comparison of integers.
public struct PostgresLabel: Hashable, Sendable {
    /// The schema that unqualified names resolve to. Everything of one tenant is in one schema, so it names the tenant.
    public var schema: String { didSet { self.updateFingerprint() } }

    /// The role that the session switches to with `SET ROLE`, or `nil` to stay with the login: a tenant's engine role for runners,
    /// its runtime role for code that only works with the application's tables.
    public var role: String? { didSet { self.updateFingerprint() } }

    /// The login that the connection authenticates as, or `nil` for the pool's own. It can't change while a connection
    /// lives.
    public var login: String? { didSet { self.updateFingerprint() } }

    private(set) var fingerprint: Int

    /// Creates a label for one schema; without a role and a login the connection acts as the pool's own login.
    public init(schema: String, role: String? = nil, login: String? = nil) {
        self.schema = schema
        self.role = role
        self.login = login
        self.fingerprint = Self.fingerprint(schema, role, login)
    }

    /// The value for `search_path`: the schema, then `pg_temp`, so that temporary tables can't shadow real ones.
    package var searchPath: String { PostgresIdentifier.quote(self.schema) + ", pg_temp" }

    /// Whether the parts are equal.
    public static func == (left: Self, right: Self) -> Bool {
        left.fingerprint == right.fingerprint && left.schema == right.schema && left.role == right.role
            && left.login == right.login
    }

    /// Feeds the fingerprint of the parts to the hasher.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(self.fingerprint)
    }

    private mutating func updateFingerprint() {
        self.fingerprint = Self.fingerprint(self.schema, self.role, self.login)
    }

    private static func fingerprint(_ schema: String, _ role: String?, _ login: String?) -> Int {
        var hasher = Hasher()
        hasher.combine(schema)
        hasher.combine(role)
        hasher.combine(login)
        return hasher.finalize()
    }
}
