import CloacinaPostgres

/// What goes by a tenant's names, and whether it is what the tenant's was before a restore gave it new OIDs.
struct AdoptionSurvey: Sendable, Hashable {
    let tenant: TenantSurvey
    /// The role that owns the schema of the tenant's name.
    var schemaOwner: String?
    /// Roles of the tenant's names that may do more than a tenant's may.
    var privileged: [String]
    /// Whether the service login is there.
    var hasServiceRole: Bool

    /// Decides that all is the tenant's.
    ///
    /// Of a tenant that is being removed, anything may be gone already.
    ///
    /// - Throws: ``AdminError``, which names what is missing or somebody else's.
    func check(name: String, roles: TenantRoles) throws(AdminError) {
        guard self.tenant.serviceRole != nil else { throw TenantSurvey.notBootstrapped }
        guard let registered = self.tenant.registered else { throw AdminError.noTenant(name) }
        guard registered.schemaOID != nil else {
            throw AdminError(
                .tenantNotReady,
                "nothing of the tenant was ever made; `cloacina-admin tenant create \(name)` finishes it",
                tenant: name)
        }
        guard self.hasServiceRole else {
            throw AdminError(
                .notBootstrapped,
                "the service role \(self.tenant.serviceRole ?? "") is missing on this server; restore the roles "
                    + "(pg_dumpall --roles-only), then adopt again", tenant: name)
        }
        if registered.state != .removing {
            guard self.tenant.foundSchema != nil else {
                throw Self.refusal("there is no schema \(registered.schema); restore it, then adopt again", name)
            }
            let missing = roles.all.filter { self.tenant.foundRoles[$0] == nil }
            guard missing.isEmpty else {
                throw Self.refusal(
                    "the roles \(missing.joined(separator: ", ")) are missing on this server; restore them "
                        + "(pg_dumpall --roles-only), then adopt again", name)
            }
        }
        if let schemaOwner, schemaOwner != roles.owner {
            throw Self.refusal(
                "the schema \(registered.schema) belongs to \(schemaOwner), not to \(roles.owner): it is somebody else's",
                name)
        }
        if let role = self.privileged.first {
            throw Self.refusal("the role \(role) may do more than a tenant's: it is somebody else's", name)
        }
    }

    private static func refusal(_ fact: String, _ name: String) -> AdminError {
        AdminError(.schemaReplaced, "\(fact); nothing was changed", tenant: name)
    }
}

extension AdoptionSurvey {
    /// Reads the row of ``AdoptionQueries/shape(schema:roles:serviceRole:)``.
    init(_ tenant: TenantSurvey, _ row: PostgresRow) throws {
        self.init(
            tenant: tenant, schemaOwner: try row.value("schema_owner"), privileged: try row.value("privileged"),
            hasServiceRole: try row.value("has_service_role"))
    }
}
