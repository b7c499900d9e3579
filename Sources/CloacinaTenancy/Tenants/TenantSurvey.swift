import CloacinaPostgres
import FoundationEssentials

/// What was found where a tenant is to be made or unmade: the installation, the registry's row and the catalogs.
struct TenantSurvey: Sendable, Hashable {
    /// The registry's row.
    struct Registered: Sendable, Hashable {
        var id: UUID
        var state: Tenant.State
        var schema: String
        /// Nil until the tenant's objects are committed.
        var schemaOID: Int64?
        /// Owner, runtime, engine, login a, login b; empty until the tenant's objects are committed.
        var roleOIDs: [Int64]
        var version: Int
    }

    /// The roles that bootstrap made; nil when it did not run.
    var serviceRole: String?
    var tenantsRole: String?
    var registered: Registered?
    /// The OID of the schema that has the tenant's schema name now.
    var foundSchema: Int64?
    /// The roles that have the tenant's role names now: name and OID.
    var foundRoles: [String: Int64]
    /// Whether the registry has another tenant with the same schema name.
    var isSchemaTaken: Bool
    /// Which of the tenant's and the schema's names are those of roles.
    var namesOfRoles: [String] = []
    /// Which of the names for the tenant's roles are those of schemas.
    var rolesOfSchemas: [String] = []

    /// What creating the tenant has to do first.
    enum Beginning: Sendable, Hashable {
        /// Nothing is there: make a reservation.
        case reserve
        /// An interrupted creation left a reservation with nothing behind it: take it over.
        case takeOver(UUID)
        /// An interrupted creation left everything but the hand-over of the credentials: make new ones.
        case reissue(UUID)
    }

    /// Decides how creating a tenant begins, or that it may not.
    func beginning(name: String, schema: String) throws(AdminError) -> Beginning {
        guard self.serviceRole != nil else { throw Self.notBootstrapped }
        switch self.registered?.state {
        case .active:
            throw AdminError(.tenantExists, "the tenant exists already; nothing was changed", tenant: name)
        case .removing:
            throw AdminError(
                .tenantNotReady, "the tenant is half removed; remove it again to finish that, then create it",
                tenant: name)
        case .creating:
            guard let registered else { break }
            guard registered.schemaOID != nil else {
                try self.checkVacancy(name: name, schema: schema)
                return .takeOver(registered.id)
            }
            guard registered.schema == schema else {
                throw AdminError(
                    .tenantExists,
                    "its creation was begun with the schema \(registered.schema); name that one to finish it",
                    tenant: name)
            }
            try self.checkIdentity(name: name)
            return .reissue(registered.id)
        case nil: break
        }
        try self.checkVacancy(name: name, schema: schema)
        return .reserve
    }

    /// Checks that what the registered names stand for is what was registered, or gone.
    func checkIdentity(name: String) throws(AdminError) {
        guard let registered, let oid = registered.schemaOID else { return }
        if let foundSchema, foundSchema != oid {
            throw Self.replaced(
                "the schema \(registered.schema) has OID \(foundSchema), but \(oid) was registered", name)
        }
        let strangers = self.foundRoles.filter { !registered.roleOIDs.contains($0.value) }.keys.sorted()
        if let role = strangers.first {
            throw Self.replaced("the role \(role) is another than the one that was registered", name)
        }
    }

    private static func replaced(_ fact: String, _ name: String) -> AdminError {
        AdminError(
            .schemaReplaced,
            "\(fact): it was left alone. \(TenantAdoption.advice(name)); otherwise it is somebody else's: rename or drop "
                + "it by hand",
            tenant: name)
    }

    /// The registered roles that are still there under their names.
    func remaining(_ name: String) -> String? {
        guard let oid = self.foundRoles[name], self.registered?.roleOIDs.contains(oid) == true else { return nil }
        return name
    }

    static let notBootstrapped = AdminError(
        .notBootstrapped, "this database has no control schema; run bootstrap first")

    private func checkVacancy(name: String, schema: String) throws(AdminError) {
        if self.isSchemaTaken || self.foundSchema != nil {
            throw AdminError(
                .schemaExists,
                "the schema \(schema) exists already and is never adopted; nothing was changed: choose "
                    + "another schema name, or drop it", tenant: name)
        }
        if let role = self.foundRoles.keys.sorted().first {
            throw AdminError(
                .roleExists,
                "the role \(role) exists already and is never adopted; nothing was changed: choose another "
                    + "tenant name, or drop the role", tenant: name)
        }
        // A login finds the schema of its own name first, unless it was told another path.
        if let taken = self.namesOfRoles.sorted().first {
            throw AdminError(
                .invalidName,
                "\(taken) is the name of a role of this server, which would have the schema of that name on its search path "
                    + "(\"$user\"); nothing was changed: choose another", tenant: name)
        }
        if let taken = self.rolesOfSchemas.sorted().first {
            throw AdminError(
                .invalidName,
                "the tenant's role \(taken) would have the schema of that name on its search path (\"$user\"); nothing was "
                    + "changed: choose another tenant name", tenant: name)
        }
    }
}

extension TenantSurvey {
    /// Reads the row of ``RegistryQueries/survey(name:schema:roles:)``.
    init(_ row: PostgresRow) throws {
        self.serviceRole = try row.value("service_role")
        self.tenantsRole = try row.value("tenants_role")
        self.foundSchema = try row.value("found_schema")
        let names: [String] = try row.value("found_role_names")
        let oids: [Int64] = try row.value("found_roles")
        self.foundRoles = Dictionary(zip(names, oids), uniquingKeysWith: { $1 })
        self.isSchemaTaken = try row.value("is_taken")
        self.namesOfRoles = try row.value("names_of_roles")
        self.rolesOfSchemas = try row.value("roles_of_schemas")
        if let id: UUID = try row.value("id", as: UUID?.self) {
            self.registered = Registered(
                id: id, state: try Tenant.State(registry: row.value("state")), schema: try row.value("schema_name"),
                schemaOID: try row.value("schema_oid"),
                roleOIDs: try row.value("role_oids"), version: try row.value("version"))
        }
    }
}

extension Tenant.State {
    /// Reads the registry's word.
    init(registry word: String) throws {
        guard let state = Self(rawValue: word) else {
            throw AdminError(
                .notBootstrapped, "the registry holds the state \(word), which this program doesn't know; update it")
        }
        self = state
    }
}
