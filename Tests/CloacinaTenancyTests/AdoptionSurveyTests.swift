import FoundationEssentials
import Testing

@testable import CloacinaTenancy

/// Issue 11, C18: what a restore brought back is taken over when it is the tenant's, and left alone when it is not.
@Suite struct AdoptionSurveyTests {
    private static func restored(_ state: Tenant.State = .active) throws -> AdoptionSurvey {
        let roles = TenantRoles(try TenantName("acme"))
        var oid: Int64 = 100
        var found: [String: Int64] = [:]
        for role in roles.all {
            found[role] = oid
            oid += 1
        }
        let survey = TenantSurvey(
            serviceRole: "svc", tenantsRole: "grp",
            registered: TenantSurvey.Registered(
                id: UUID(), state: state, schema: "acme", schemaOID: 7, roleOIDs: [1, 2, 3, 4], version: 1),
            foundSchema: 99, foundRoles: found, isSchemaTaken: false)
        return AdoptionSurvey(
            tenant: survey, schemaOwner: roles.owner, privileged: [], hasServiceRole: true)
    }

    private func check(_ survey: AdoptionSurvey) throws {
        try survey.check(name: "acme", roles: TenantRoles(try TenantName("acme")))
    }

    @Test func whatWasRestoredWholeIsTakenOver() throws {
        try self.check(try Self.restored())
    }

    @Test func ofATenantThatIsBeingRemovedAnythingMayBeGone() throws {
        var survey = try Self.restored(.removing)
        survey = AdoptionSurvey(
            tenant: TenantSurvey(
                serviceRole: "svc", tenantsRole: "grp", registered: survey.tenant.registered, foundSchema: nil,
                foundRoles: ["acme_a": 5], isSchemaTaken: false), schemaOwner: nil, privileged: [],
            hasServiceRole: true)
        try self.check(survey)
    }

    private static let obstacles: [(String, @Sendable (inout AdoptionSurvey) -> Void)] = [
        ("belongs to mallory", { @Sendable in $0.schemaOwner = "mallory" }),
        ("acme_a may do more", { @Sendable in $0.privileged = ["acme_a"] }),
        ("service role svc is missing", { @Sendable in $0.hasServiceRole = false }),
    ]

    @Test(arguments: 0..<3)
    func whatIsSomebodyElsesIsNamedAndLeftAlone(index: Int) throws {
        let (words, change) = Self.obstacles[index]
        var survey = try Self.restored()
        change(&survey)
        let error = #expect(throws: AdminError.self) { try self.check(survey) }
        #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
    }

    @Test func missingRolesAreNamedWithTheWayToRestoreThem() throws {
        let whole = try Self.restored()
        var tenant = whole.tenant
        tenant.foundRoles["acme_owner"] = nil
        let survey = AdoptionSurvey(
            tenant: tenant, schemaOwner: nil, privileged: [], hasServiceRole: true)
        let error = #expect(throws: AdminError.self) { try self.check(survey) }
        #expect(error?.code == .schemaReplaced)
        #expect(error?.message.contains("acme_owner are missing") == true)
        #expect(error?.message.contains("pg_dumpall --roles-only") == true)
    }
}
