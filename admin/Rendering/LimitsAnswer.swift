import CloacinaPostgres
import CloacinaTenancy

/// What `tenant limits` says, and `tenant show` among the rest.
struct LimitsAnswer: Renderable, Equatable {
    let tenant: String
    let connections: Int?
    let statementTimeoutMilliseconds: Int64?
    let lockTimeoutMilliseconds: Int64?
    let idleInTransactionTimeoutMilliseconds: Int64?
    let temporaryFileBytes: Int?
    /// What the login in use does not have, by the server's names.
    let notInForce: [String]
    /// The tenants' sessions that `tenant limits` had to end.
    var endedSessions: [String]?

    static let headings = [
        "tenant", "connections", "statement timeout", "lock timeout", "idle in transaction", "temporary files",
        "not in force",
    ]

    var cells: [String] {
        [
            self.tenant, self.connections.map { String($0) } ?? "none", Self.time(self.statementTimeoutMilliseconds),
            Self.time(self.lockTimeoutMilliseconds), Self.time(self.idleInTransactionTimeoutMilliseconds),
            Self.size(self.temporaryFileBytes), self.notInForce.isEmpty ? "-" : self.notInForce.joined(separator: ", "),
        ]
    }

    /// The names and values without the tenant's, for an answer that has it already.
    var limitDetails: [(String, String)] { Array(self.details.dropFirst()) }

    /// Says why a limit does not hold, and what to do.
    func explain(_ tenant: Tenant, _ admin: DatabaseAdmin, _ console: Console) async throws {
        guard !self.notInForce.isEmpty else { return }
        if self.notInForce.contains("temp_file_limit") {
            let role = PostgresIdentifier.quote(try await admin.endpoint().user)
            console.note(
                TextTable.printable(
                    "note: temp_file_limit is not in force: from PostgreSQL 15 on a superuser can let the administrator set "
                        + "it (GRANT SET ON PARAMETER temp_file_limit TO \(role)); then cloacina-admin tenant limits \(self.tenant) "
                        + "--temp-file-limit \(Self.size(self.temporaryFileBytes))"))
        }
        let others = self.notInForce.filter { $0 != "temp_file_limit" }
        guard !others.isEmpty else { return }
        console.note(
            TextTable.printable(
                "warning: \(tenant.login) has another \(others.joined(separator: ", ")): the tenant may set those itself"
            ))
    }

    private static func time(_ milliseconds: Int64?) -> String {
        guard let milliseconds else { return "none" }
        for (unit, length) in [("h", Int64(3_600_000)), ("min", 60_000), ("s", 1_000)]
        where milliseconds % length == 0 { return "\(milliseconds / length)\(unit)" }
        return "\(milliseconds)ms"
    }

    private static func size(_ bytes: Int?) -> String {
        guard let bytes else { return "none" }
        for (unit, length) in [("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20)] where bytes % length == 0 {
            return "\(bytes / length)\(unit)"
        }
        return "\(bytes / 1024)kB"
    }
}

extension LimitsAnswer {
    init(_ tenant: Tenant) {
        let limits = tenant.limits
        self.init(
            tenant: tenant.name, connections: limits.connections,
            statementTimeoutMilliseconds: limits.statementTimeout.map(Self.milliseconds),
            lockTimeoutMilliseconds: limits.lockTimeout.map(Self.milliseconds),
            idleInTransactionTimeoutMilliseconds: limits.idleInTransactionTimeout.map(Self.milliseconds),
            temporaryFileBytes: limits.temporaryFileBytes, notInForce: tenant.limitsNotInForce)
    }

    private static func milliseconds(_ duration: Duration) -> Int64 {
        let (seconds, attoseconds) = duration.components
        return seconds &* 1000 &+ attoseconds / 1_000_000_000_000_000
    }
}
