import CloacinaTenancy

/// What `bootstrap` says.
struct BootstrapAnswer: Renderable {
    let database: String
    let serverVersion: Int
    let serviceRole: String
    let tenantsRole: String
    /// The newest migration of the shared catalog.
    let version: Int
    let appliedMigrations: [Int]
    let createdRoles: [String]
    var warnings: [String]
    var credentialsFile: String?

    static let headings = ["database", "service login", "tenants' group", "version", "created roles", "credentials"]

    var cells: [String] {
        [
            self.database, self.serviceRole, self.tenantsRole, String(self.version),
            self.createdRoles.isEmpty ? "none" : self.createdRoles.joined(separator: ", "), self.credentialsFile ?? "-",
        ]
    }
}

extension BootstrapAnswer {
    init(_ report: BootstrapReport) {
        self.init(
            database: report.database, serverVersion: report.serverVersion, serviceRole: report.serviceRole,
            tenantsRole: report.tenantsRole, version: report.controlVersion,
            appliedMigrations: report.appliedMigrations, createdRoles: report.createdRoles, warnings: report.warnings)
    }
}

/// The service login's file.
struct ServiceCredentials: Codable, Equatable {
    let username: String
    let password: String
    let connectionString: String
}
