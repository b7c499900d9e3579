import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials

/// What `tenant show` and `tenant list` say of a tenant.
struct TenantAnswer: Renderable {
    let name: String
    let schema: String
    let state: String
    let version: Int
    /// The newest version of each of the application's sources.
    var versions: [String: Int] = [:]
    let id: String
    let login: String
    let ownerRole: String
    let runtimeRole: String
    let engineRole: String
    /// True when the tenant's own logins may run its runners.
    let engineAccess: Bool
    let createdAt: String
    /// Where `tenant create` put the secret.
    var credentialsFile: String?
    var limits: LimitsAnswer?
    /// The server's remarks on the files that `tenant create` applied.
    var notices: [MigrationNotice]?

    static let headings = ["name", "schema", "state", "version", "login", "created"]

    var cells: [String] {
        [self.name, self.schema, self.state, self.versionText, self.login, self.createdAt]
    }

    /// This library's version, then the application's.
    private var versionText: String {
        ([String(self.version)] + self.versions.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" })
            .joined(separator: ", ")
    }

    /// Two columns where there is one tenant; a list has no room for these.
    var details: [(String, String)] {
        var details = Array(zip(Self.headings, self.cells))
        details += [
            ("owner role", self.ownerRole), ("runtime role", self.runtimeRole), ("engine role", self.engineRole),
            ("engine access", self.engineAccess ? "yes" : "no"), ("id", self.id),
        ]
        details += self.limits?.limitDetails ?? []
        if let credentialsFile { details.append(("credentials", credentialsFile)) }
        for notice in self.notices ?? [] { details.append(("remark", notice.text)) }
        return details
    }
}

extension TenantAnswer {
    init(_ tenant: Tenant, credentialsFile: String? = nil, notices: [MigrationNotice]? = nil) {
        self.init(
            name: tenant.name, schema: tenant.schema, state: tenant.state.rawValue, version: tenant.version,
            versions: tenant.versions,
            id: tenant.id.uuidString.lowercased(), login: tenant.login, ownerRole: tenant.ownerRole,
            runtimeRole: tenant.runtimeRole, engineRole: tenant.engineRole,
            engineAccess: tenant.engineAccess, createdAt: tenant.createdAt.formatted(.iso8601),
            credentialsFile: credentialsFile, limits: LimitsAnswer(tenant), notices: notices)
    }
}
