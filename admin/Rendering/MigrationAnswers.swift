import CloacinaSchema
import CloacinaTenancy

/// One line of `migrate status`: the shared catalog, or a tenant's schema.
struct MigrationStatusAnswer: Renderable, Equatable {
    /// Missing for the shared catalog.
    let tenant: String?
    let schema: String
    let state: String
    /// This library's own; see ``versions`` for the application's.
    let version: Int
    /// The newest applied version of each source.
    let versions: [String: Int]
    /// What would be applied, as `source/NNNN_title`.
    let pending: [String]
    /// The differences between the tenant's history, the files and the registry.
    let problems: [TenantMigrationProblem]
    let current: Bool

    static let headings = ["tenant", "schema", "state", "versions", "pending", "problems"]

    var cells: [String] {
        [
            self.tenant ?? "(shared)", self.schema, self.state, Self.text(of: self.versions), Self.list(self.pending),
            Self.list(self.problems.map { $0.kind.rawValue + ($0.migration.map { " " + $0 } ?? "") }),
        ]
    }

    /// True when `migrate apply` would apply what is pending: nothing forbids it.
    var isToBeMigrated: Bool { self.state != "removing" && !self.problems.contains(where: \.isBlocking) }

    static func list(_ names: [String]) -> String { names.isEmpty ? "-" : names.joined(separator: ", ") }

    /// As `app 3, cloacina 1`.
    static func text(of versions: [String: Int]) -> String {
        self.list(versions.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" })
    }

    /// All problems as a person is told of them on standard error: each with the way out.
    static func remarks(on status: FleetStatus) -> [String] {
        status.controlProblems.map { "(shared): \($0.text)" }
            + status.tenants.flatMap { tenant in tenant.problems.map { "\(tenant.tenant): \($0.text)" } }
    }

    /// The lines of a status, the shared catalog's first.
    static func lines(of status: FleetStatus) -> [MigrationStatusAnswer] {
        let control = MigrationStatusAnswer(
            tenant: nil, schema: "cloacina", state: "active", version: status.controlVersion,
            versions: [MigrationSet.embeddedSource: status.controlVersion], pending: status.controlPending,
            problems: status.controlProblems,
            current: status.controlPending.isEmpty && status.controlProblems.isEmpty)
        return [control]
            + status.tenants.map {
                MigrationStatusAnswer(
                    tenant: $0.tenant, schema: $0.schema, state: $0.state.rawValue, version: $0.version,
                    versions: $0.versions, pending: $0.pending, problems: $0.problems, current: $0.isCurrent)
            }
    }

    /// Tenants half removed are finished by `tenant drop`, not by migrating.
    static func status(of lines: [MigrationStatusAnswer]) -> CommandStatus {
        lines.allSatisfy { $0.current || $0.state == "removing" } ? .done : .pending
    }
}

/// One line of `migrate apply`: what was behind, and what became of it.
struct MigrationResultAnswer: Renderable, Equatable {
    /// Missing for the shared catalog.
    let tenant: String?
    let schema: String
    /// `migrated`, `current`, `busy`, `failed`, `skipped` or `unreached`.
    let outcome: String
    let version: Int?
    /// The newest applied version of each source; missing for the shared catalog.
    var versions: [String: Int]?
    /// The migrations applied and committed, before a failure too.
    let applied: [String]
    /// The server's remarks.
    var notices: [MigrationNotice] = []
    var error: String?
    /// The parts of the error: file, line, the server's message, detail and hint.
    var failure: TenantMigrationFailure?
    var advice: String?
    /// The statements that put right what somebody had changed of its roles' rights.
    var restoredPrivileges: [String] = []

    static let headings = ["tenant", "schema", "outcome", "versions", "applied", "remarks", "error"]

    var cells: [String] {
        [
            self.tenant ?? "(shared)", self.schema, self.outcome,
            self.versions.map(MigrationStatusAnswer.text) ?? self.version.map { String($0) } ?? "-",
            MigrationStatusAnswer.list(self.applied), self.notices.isEmpty ? "-" : String(self.notices.count),
            self.error ?? "-",
        ]
    }

    init(tenant: String?, schema: String, outcome: String, version: Int?, applied: [String], error: String? = nil) {
        self.tenant = tenant
        self.schema = schema
        self.outcome = outcome
        self.version = version
        self.applied = applied
        self.error = error
    }

    init(_ result: TenantMigrationResult) {
        self.init(
            tenant: result.tenant, schema: result.schema, outcome: result.outcome.rawValue, version: result.version,
            applied: result.applied, error: result.error)
        self.versions = result.versions
        self.notices = result.notices
        self.failure = result.failure
        self.advice = result.advice
        self.restoredPrivileges = result.restoredPrivileges
    }

    /// The lines that a person is told on standard error while a fleet is migrated.
    static func remarks(on result: TenantMigrationResult) -> [String] {
        result.notices.map { "\(result.tenant): \($0.text)" }
            + ["\(result.tenant): \(result.outcome.rawValue)" + (result.error.map { ": " + $0 } ?? "")]
            + (result.advice.map { ["\(result.tenant): \($0)"] } ?? [])
            + result.restoredPrivileges.map {
                "\(result.tenant): what its roles may do was changed, by a file or by somebody, and is put right: \($0)"
            }
    }

    /// The lines of a report, the shared catalog's first if it was behind.
    static func lines(of report: FleetReport) -> [MigrationResultAnswer] {
        let control = MigrationResultAnswer(
            tenant: nil, schema: "cloacina", outcome: "migrated", version: nil, applied: report.controlApplied)
        return (report.controlApplied.isEmpty ? [] : [control]) + report.results.map { MigrationResultAnswer($0) }
    }

    /// Of one tenant the reason counts; of a fleet, that some failed.
    static func status(of lines: [MigrationResultAnswer], isFleet: Bool) -> CommandStatus {
        // Who names a tenant that can't be migrated wants to know.
        let failing = ["failed", "busy", "unreached"] + (isFleet ? [] : ["skipped"])
        let failures = lines.filter { failing.contains($0.outcome) }
        if failures.isEmpty { return .done }
        if isFleet { return .someTenantsFailed }
        if failures.allSatisfy({ $0.outcome == "busy" }) { return .lockBusy }
        // A session that was lost may be had again; what the server or the plan refused stays refused.
        if failures.allSatisfy({ $0.outcome == "unreached" || $0.failure?.code == "connectionFailed" }) {
            return .tryAgainLater
        }
        return failures.allSatisfy { $0.failure?.sqlState == "42501" } ? .privileges : .failed
    }
}
