import ArgumentParser
import CloacinaTenancy

/// What a tenant's logins may use of the server.
struct LimitOptions: ParsableArguments {
    @Option(name: .long, help: ArgumentHelp("Sessions at a time of each login, or none.", valueName: "number"))
    var connections: CountLimit?

    @Option(
        name: .long,
        help: ArgumentHelp("How long a statement may run: 500ms, 30s, 5min, 1h, or none.", valueName: "time"))
    var statementTimeout: TimeLimit?

    @Option(name: .long, help: ArgumentHelp("How long a statement may wait for a lock, or none.", valueName: "time"))
    var lockTimeout: TimeLimit?

    @Option(
        name: .long,
        help: ArgumentHelp("How long a session may be idle inside a transaction, or none.", valueName: "time"))
    var idleInTransactionTimeout: TimeLimit?

    @Option(
        name: .long,
        help: ArgumentHelp("Temporary files of each session: 64MB, 1GB, or none.", valueName: "size"))
    var tempFileLimit: SizeLimit?

    /// Whether any limit was given.
    var isEmpty: Bool {
        self.connections == nil && self.statementTimeout == nil && self.lockTimeout == nil
            && self.idleInTransactionTimeout == nil && self.tempFileLimit == nil
    }

    /// The same limits with those changed that were given.
    func applied(to limits: TenantLimits) -> TenantLimits {
        var limits = limits
        if let connections { limits.connections = connections.value }
        if let statementTimeout { limits.statementTimeout = statementTimeout.value }
        if let lockTimeout { limits.lockTimeout = lockTimeout.value }
        if let idleInTransactionTimeout { limits.idleInTransactionTimeout = idleInTransactionTimeout.value }
        if let tempFileLimit { limits.temporaryFileBytes = tempFileLimit.value }
        return limits
    }
}

/// A number from 1, or `none`.
struct CountLimit: ExpressibleByArgument, Equatable, Sendable {
    let value: Int?

    init?(argument: String) {
        guard let value = LimitText(argument, units: ["": 1]) else { return nil }
        self.value = value.number
    }
}

/// A time with its unit, as in `30s`, or `none`.
struct TimeLimit: ExpressibleByArgument, Equatable, Sendable {
    let value: Duration?

    init?(argument: String) {
        let units = ["ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000]
        guard let value = LimitText(argument, units: units) else { return nil }
        guard (value.number ?? 0) <= 2_147_483_647 else { return nil }
        // can't trap: 32 bits of milliseconds
        self.value = value.number.map { .milliseconds($0) }
    }
}

/// A size with its unit, as in `1GB`, or `none`; a unit is 1,024 of the one before, as for PostgreSQL.
struct SizeLimit: ExpressibleByArgument, Equatable, Sendable {
    let value: Int?

    init?(argument: String) {
        let units = ["kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40]
        guard let value = LimitText(argument, units: units) else { return nil }
        self.value = value.number
    }
}

/// A limit as it is written on a command line: a number with one of some units, or `none`.
private struct LimitText {
    /// In the smallest unit; nil for `none`.
    let number: Int?

    init?(_ text: String, units: [String: Int]) {
        guard text != "none" else {
            self.number = nil
            return
        }
        let digits = text.prefix { ("0"..."9").contains($0) }
        guard let number = Int(digits), number > 0, let unit = units[String(text[digits.endIndex...])] else {
            return nil
        }
        let (product, overflow) = number.multipliedReportingOverflow(by: unit)
        guard !overflow else { return nil }
        self.number = product
    }
}
