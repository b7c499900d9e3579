/// How much of the server each of a tenant's logins may use.
///
/// The numbers of connections and of bytes in temporary files are enforced. The timeouts are defaults of the login's sessions: a
/// session may `SET` others, and a login may `ALTER ROLE` its own. Sessions of the service login, such as a pool's with
/// ``TenantIsolation/role``, are not limited by them; those with ``TenantIsolation/login`` are.
public struct TenantLimits: Sendable, Hashable {
    /// How many sessions a login may have at a time; 40 by default.
    public var connections: Int? = 40
    /// How long a statement may run; 5 minutes by default.
    public var statementTimeout: Duration? = .seconds(300)
    /// How long a statement may wait for a lock; 30 seconds by default.
    public var lockTimeout: Duration? = .seconds(30)
    /// How long a session may be idle inside a transaction before the server ends it; 5 minutes by default.
    public var idleInTransactionTimeout: Duration? = .seconds(300)
    /// How many bytes of temporary files a session may have at a time, rounded up to whole kilobytes; 1 GiB by default.
    ///
    /// It holds only where the administrator is a superuser, or was given the right:
    /// `GRANT SET ON PARAMETER temp_file_limit TO administrator`, from PostgreSQL 15 on.
    public var temporaryFileBytes: Int? = 1 << 30

    /// The limits that a tenant has when nothing else is said. `nil` leaves a limit to the server's own settings.
    public init() {}

    /// No limit but those of the server's own settings.
    public static let none: TenantLimits = {
        var limits = TenantLimits()
        limits.connections = nil
        limits.statementTimeout = nil
        limits.lockTimeout = nil
        limits.idleInTransactionTimeout = nil
        limits.temporaryFileBytes = nil
        return limits
    }()
}

extension TenantLimits: Encodable {
    private enum CodingKeys: String, CodingKey {
        case connections, statementTimeoutMilliseconds, lockTimeoutMilliseconds, idleInTransactionTimeoutMilliseconds
        case temporaryFileBytes
    }

    /// Writes the times in milliseconds, and leaves out what is not limited.
    public func encode(to encoder: any Encoder) throws {
        let stored = try StoredLimits(self)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encodeIfPresent(self.connections, forKey: .connections)
        try container.encodeIfPresent(stored.statementMilliseconds, forKey: .statementTimeoutMilliseconds)
        try container.encodeIfPresent(stored.lockMilliseconds, forKey: .lockTimeoutMilliseconds)
        try container.encodeIfPresent(
            stored.idleInTransactionMilliseconds, forKey: .idleInTransactionTimeoutMilliseconds)
        try container.encodeIfPresent(self.temporaryFileBytes, forKey: .temporaryFileBytes)
    }
}
