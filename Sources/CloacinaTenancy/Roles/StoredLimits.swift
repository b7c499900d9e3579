import CloacinaPostgres

/// A tenant's limits in the server's own units, as the registry keeps them.
struct StoredLimits: Sendable, Hashable {
    var connections: Int32?
    var statementMilliseconds: Int32?
    var lockMilliseconds: Int32?
    var idleInTransactionMilliseconds: Int32?
    var temporaryFileKilobytes: Int32?

    /// Checks what the server could not take.
    ///
    /// - Throws: ``AdminError`` with ``AdminError/Code/invalidConfiguration``.
    init(_ limits: TenantLimits) throws(AdminError) {
        self.connections = try Self.connections(limits.connections)
        self.statementMilliseconds = try Self.wholeMilliseconds(limits.statementTimeout, "statement timeout")
        self.lockMilliseconds = try Self.wholeMilliseconds(limits.lockTimeout, "lock timeout")
        self.idleInTransactionMilliseconds = try Self.wholeMilliseconds(
            limits.idleInTransactionTimeout, "idle-in-transaction timeout")
        self.temporaryFileKilobytes = try Self.kilobytes(limits.temporaryFileBytes)
    }

    /// The same limits in an application's units.
    var limits: TenantLimits {
        var limits = TenantLimits()
        limits.connections = self.connections.map { Int(clamping: $0) }
        // can't trap: 32 bits of milliseconds
        limits.statementTimeout = self.statementMilliseconds.map { .milliseconds($0) }
        // can't trap: 32 bits of milliseconds
        limits.lockTimeout = self.lockMilliseconds.map { .milliseconds($0) }
        // can't trap: 32 bits of milliseconds
        limits.idleInTransactionTimeout = self.idleInTransactionMilliseconds.map { .milliseconds($0) }
        limits.temporaryFileBytes = self.temporaryFileKilobytes.map { Int(clamping: $0) &* 1024 }
        return limits
    }

    /// The settings of a login that hold the limits, by the names and in the form in which the server keeps them.
    var settings: [(name: String, value: String?)] {
        [
            ("statement_timeout", self.statementMilliseconds.map { "\($0)ms" }),
            ("lock_timeout", self.lockMilliseconds.map { "\($0)ms" }),
            ("idle_in_transaction_session_timeout", self.idleInTransactionMilliseconds.map { "\($0)ms" }),
            ("temp_file_limit", self.temporaryFileKilobytes.map { "\($0)kB" }),
        ]
    }

    /// The limits that are not what a login has in the catalog: `connection_limit`, or a setting's name.
    func differing(fromConnections connections: Int32, settings found: [String]) -> [String] {
        let others = self.settings.compactMap { name, value in
            value.flatMap { found.contains("\(name)=\($0)") ? nil : name }
        }
        return (self.connections == nil || self.connections == connections ? [] : ["connection_limit"]) + others
    }

    private static func connections(_ count: Int?) throws(AdminError) -> Int32? {
        guard let count else { return nil }
        guard count > 0, let number = Int32(exactly: count) else {
            throw Self.invalid("the number of connections is from 1 to \(Int32.max), or none")
        }
        return number
    }

    private static func wholeMilliseconds(_ duration: Duration?, _ name: String) throws(AdminError) -> Int32? {
        guard let duration else { return nil }
        // A part of a millisecond counts as a whole one: zero would switch the timeout off.
        let (seconds, attoseconds) = duration.components
        guard duration > .zero, seconds < 2_147_483 else {
            throw Self.invalid("the \(name) is longer than nothing and shorter than 24 days, or none")
        }
        return Int32(clamping: seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
    }

    private static func kilobytes(_ bytes: Int?) throws(AdminError) -> Int32? {
        guard let bytes else { return nil }
        guard bytes > 0, let kilobytes = Int32(exactly: bytes / 1024 + (bytes % 1024 == 0 ? 0 : 1)) else {
            throw Self.invalid("the limit of temporary files is from 1 byte to 2 TB, or none")
        }
        return kilobytes
    }

    private static func invalid(_ message: String) -> AdminError {
        AdminError(.invalidConfiguration, message + "; nothing was changed")
    }
}

extension StoredLimits {
    /// Reads the columns of ``LimitQueries/columns``.
    init(_ row: PostgresRow) throws {
        self.connections = try row.value("connection_limit")
        self.statementMilliseconds = try row.value("statement_timeout_ms")
        self.lockMilliseconds = try row.value("lock_timeout_ms")
        self.idleInTransactionMilliseconds = try row.value("idle_in_transaction_timeout_ms")
        self.temporaryFileKilobytes = try row.value("temporary_file_kb")
    }
}
