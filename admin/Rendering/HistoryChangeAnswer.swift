import CloacinaTenancy

/// The change that `migrate rebless` or `migrate resolve` made in one tenant's history, or what kept it from that.
struct HistoryChangeAnswer: Renderable, Equatable {
    let tenant: String
    /// As `source/version`.
    let migration: String
    /// The change; missing when there was none.
    var change: String?
    /// `done`, `busy`, `failed` or `unreached`.
    var outcome = "done"
    var error: String?
    /// The parts of the error.
    var failure: TenantMigrationFailure?

    static let headings = ["tenant", "migration", "change", "outcome", "error"]

    var cells: [String] {
        [self.tenant, self.migration, self.change ?? "-", self.outcome, self.error ?? "-"]
    }

    /// Of several tenants it counts whether some were left.
    static func status(of answers: [HistoryChangeAnswer]) -> CommandStatus {
        answers.allSatisfy { $0.outcome == "done" } ? .done : .someTenantsFailed
    }
}

extension HistoryChangeAnswer {
    init(_ result: ReblessResult, _ migration: MigrationReference) {
        self.init(tenant: result.tenant, migration: migration.text)
        if result.outcome == .reblessed {
            self.change = result.outcome.rawValue
        } else {
            self.outcome = result.outcome.rawValue
            self.error = result.failure?.text
            self.failure = result.failure
        }
    }
}
