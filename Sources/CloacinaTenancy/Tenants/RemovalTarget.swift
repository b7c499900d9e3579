import FoundationEssentials

/// The tenant that a removal is about, as it was found.
struct RemovalTarget: Sendable {
    let id: UUID
    let name: String
    let schema: String
    /// Nil when none was ever registered.
    let schemaOID: Int64?
    /// Whether the registered schema is still there.
    let hasSchema: Bool
    /// The registered roles, those that are gone included.
    let roleOIDs: [Int64]
    /// The names that the tenant's roles have or had; empty when none was ever registered.
    let roleNames: [String]
    /// The group of all tenants' logins, which owns nothing unless a tenant acted as it.
    let tenantsRole: String
    let sql: RemovalSQL

    /// The registered roles that are still there.
    var roles: [String] { self.sql.roles }
}

extension RemovalTarget {
    /// Reads what was found.
    ///
    /// - Throws: ``AdminError`` when the database is not prepared or the registry has no such tenant.
    init(_ survey: TenantSurvey, name: String, roles: TenantRoles, serverVersion: Int) throws(AdminError) {
        guard let serviceRole = survey.serviceRole, let tenantsRole = survey.tenantsRole else {
            throw TenantSurvey.notBootstrapped
        }
        guard let registered = survey.registered else { throw AdminError.noTenant(name) }
        self.init(
            id: registered.id, name: name, schema: registered.schema, schemaOID: registered.schemaOID,
            hasSchema: registered.schemaOID != nil && survey.foundSchema == registered.schemaOID,
            roleOIDs: registered.roleOIDs, roleNames: registered.roleOIDs.isEmpty ? [] : roles.all,
            tenantsRole: tenantsRole,
            sql: RemovalSQL(
                schema: registered.schema, owner: survey.remaining(roles.owner),
                roles: roles.all.compactMap(survey.remaining), runtime: survey.remaining(roles.runtime),
                serviceRole: serviceRole, serverVersion: serverVersion))
    }
}
