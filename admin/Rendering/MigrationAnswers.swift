import CloacinaTenancy

/// One line of `migrate status`: the shared catalog, or a tenant's schema.
struct MigrationStatusAnswer: Renderable, Equatable {
    /// Missing for the shared catalog.
    let tenant: String?
    let schema: String
    let state: String
    let version: Int
    /// What would be applied, as `source/NNNN_title`.
    let pending: [String]
    /// The sources of which the schema is newer than this program.
    let newerThanProgram: [String]
    let current: Bool

    static let headings = ["tenant", "schema", "state", "version", "pending", "newer than program"]

    var cells: [String] {
        [
            self.tenant ?? "(shared)", self.schema, self.state, String(self.version), Self.list(self.pending),
            Self.list(self.newerThanProgram),
        ]
    }

    static func list(_ names: [String]) -> String { names.isEmpty ? "-" : names.joined(separator: ", ") }

    /// The lines of a status, the shared catalog's first.
    static func lines(of status: FleetStatus) -> [MigrationStatusAnswer] {
        let control = MigrationStatusAnswer(
            tenant: nil, schema: "cloacina", state: "active", version: status.controlVersion,
            pending: status.controlPending, newerThanProgram: [], current: status.controlPending.isEmpty)
        return [control]
            + status.tenants.map {
                MigrationStatusAnswer(
                    tenant: $0.tenant, schema: $0.schema, state: $0.state.rawValue, version: $0.version,
                    pending: $0.pending, newerThanProgram: $0.newerThanProgram, current: $0.isCurrent)
            }
    }

    /// Tenants half created or half removed are finished by `tenant create` and `tenant drop`, not by migrating.
    static func status(of lines: [MigrationStatusAnswer]) -> CommandStatus {
        lines.allSatisfy { $0.current || $0.state != "active" } ? .done : .pending
    }
}

/// One line of `migrate apply`: what was behind, and what became of it.
struct MigrationResultAnswer: Renderable, Equatable {
    /// Missing for the shared catalog.
    let tenant: String?
    let schema: String
    /// `migrated`, `current`, `busy` or `failed`.
    let outcome: String
    let version: Int?
    let applied: [String]
    var error: String?

    static let headings = ["tenant", "schema", "outcome", "version", "applied", "error"]

    var cells: [String] {
        [
            self.tenant ?? "(shared)", self.schema, self.outcome, self.version.map { String($0) } ?? "-",
            MigrationStatusAnswer.list(self.applied), self.error ?? "-",
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
    }

    /// The lines of a report, the shared catalog's first if it was behind.
    static func lines(of report: FleetReport) -> [MigrationResultAnswer] {
        let control = MigrationResultAnswer(
            tenant: nil, schema: "cloacina", outcome: "migrated", version: nil, applied: report.controlApplied)
        return (report.controlApplied.isEmpty ? [] : [control]) + report.results.map { MigrationResultAnswer($0) }
    }

    /// Of one tenant the reason counts; of a fleet, that some failed.
    static func status(of lines: [MigrationResultAnswer], isFleet: Bool) -> CommandStatus {
        let failures = lines.filter { $0.outcome == "failed" || $0.outcome == "busy" }
        if failures.isEmpty { return .done }
        if isFleet { return .someTenantsFailed }
        return failures.allSatisfy { $0.outcome == "busy" } ? .lockBusy : .failed
    }
}
