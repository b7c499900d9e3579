import CloacinaPostgres
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
    /// Whether PUBLIC has neither advisory locks nor large objects, and temporary files can be limited.
    let hardened: Bool
    /// What a superuser should run.
    let hardeningStatements: [String]
    var credentialsFile: String?

    static let headings = [
        "database", "service login", "tenants' group", "version", "created roles", "hardened", "credentials",
    ]

    var cells: [String] {
        [
            self.database, self.serviceRole, self.tenantsRole, String(self.version),
            self.createdRoles.isEmpty ? "none" : self.createdRoles.joined(separator: ", "),
            self.hardened ? "yes" : "no", self.credentialsFile ?? "-",
        ]
    }
}

extension BootstrapAnswer {
    init(_ report: BootstrapReport) {
        self.init(
            database: report.database, serverVersion: report.serverVersion, serviceRole: report.serviceRole,
            tenantsRole: report.tenantsRole, version: report.controlVersion,
            appliedMigrations: report.appliedMigrations, createdRoles: report.createdRoles, warnings: report.warnings,
            hardened: report.hardeningStatements.isEmpty, hardeningStatements: report.hardeningStatements)
    }
}

/// The service login's file.
struct ServiceCredentials: Codable, Equatable {
    let username: String
    let password: String
    let connectionString: String
}

extension ServiceCredentials {
    /// Makes sure that a file from before is of the login that this database is served by.
    func check(_ role: String, _ path: String) throws {
        guard self.username == role else {
            throw CommandError(
                .failed, "\(path) holds the credentials of \(self.username), and the service login is \(role)",
                hint: "remove it, or name another")
        }
    }

    /// What is to be said of a file that was kept.
    func warnings(_ answer: BootstrapAnswer, _ endpoint: PostgresEndpoint) -> [String] {
        var warnings: [String] = []
        if answer.createdRoles.contains(answer.serviceRole) {
            warnings.append(
                "the service login is new and has no password: the credentials file is of another one; remove it and run "
                    + "this again")
        }
        let here = ConnectionURL.make(endpoint: endpoint, user: self.username, password: self.password)
        if self.connectionString != here {
            warnings.append(
                "the credentials file leads elsewhere, or otherwise, than this connection does; it was kept")
        }
        return warnings
    }
}
