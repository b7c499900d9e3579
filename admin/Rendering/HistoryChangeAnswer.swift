/// The change that `migrate rebless` or `migrate resolve` made in one tenant's history.
struct HistoryChangeAnswer: Renderable, Equatable {
    let tenant: String
    /// As `source/version`.
    let migration: String
    let change: String

    static let headings = ["tenant", "migration", "change"]

    var cells: [String] { [self.tenant, self.migration, self.change] }
}
