import FoundationEssentials
import Testing

@testable import CloacinaTenancy

@Suite struct TenantSurveyTests {
    private let id = UUID()
    private let vacant = TenantSurvey(
        serviceRole: "svc", tenantsRole: "grp", registered: nil, foundSchema: nil, foundRoles: [:], isSchemaTaken: false
    )

    private func registered(_ state: Tenant.State, oid: Int64?) -> TenantSurvey.Registered {
        TenantSurvey.Registered(
            id: self.id, state: state, schema: "acme", schemaOID: oid, roleOIDs: [1, 2, 3, 4], version: 1)
    }

    @Test func aVacantNameIsReserved() throws {
        #expect(try self.vacant.beginning(name: "acme", schema: "acme") == .reserve)
    }

    @Test func aReservationWithNothingBehindItIsTakenOver() throws {
        var survey = self.vacant
        survey.registered = self.registered(.creating, oid: nil)
        #expect(try survey.beginning(name: "acme", schema: "acme") == .takeOver(self.id))
    }

    @Test func aCreationThatLacksOnlyTheHandOverGetsNewCredentials() throws {
        var survey = self.vacant
        survey.registered = self.registered(.creating, oid: 7)
        survey.foundSchema = 7
        survey.foundRoles = ["acme_a": 3]
        #expect(try survey.beginning(name: "acme", schema: "acme") == .reissue(self.id))
        #expect(throws: AdminError.self) { try survey.beginning(name: "acme", schema: "other") }
    }

    private static let obstacles: [(AdminError.Code, @Sendable (inout TenantSurvey) -> Void)] = [
        (.notBootstrapped, { @Sendable in $0.serviceRole = nil }),
        (.schemaExists, { @Sendable in $0.foundSchema = 9 }),
        (.schemaExists, { @Sendable in $0.isSchemaTaken = true }),
        (.roleExists, { @Sendable in $0.foundRoles = ["acme_b": 9] }),
        // L6: such a schema would be "$user" of a login.
        (.invalidName, { @Sendable in $0.namesOfRoles = ["acme"] }),
        (.invalidName, { @Sendable in $0.rolesOfSchemas = ["acme_a"] }),
    ]

    @Test(arguments: 0..<6)
    func whatIsInTheWayIsNamed(index: Int) {
        let (code, change) = Self.obstacles[index]
        var survey = self.vacant
        change(&survey)
        let error = #expect(throws: AdminError.self) { try survey.beginning(name: "acme", schema: "acme") }
        #expect(error?.code == code)
    }

    @Test func anotherSchemaOfTheNameIsNotTheTenants() {
        var survey = self.vacant
        survey.registered = self.registered(.active, oid: 7)
        survey.foundSchema = 8
        let error = #expect(throws: AdminError.self) { try survey.checkIdentity(name: "acme") }
        #expect(error?.code == .schemaReplaced)
    }

    @Test("C18: a role of the name that is not the registered one stops a removal, and says how it is adopted")
    func aRestoredRoleStopsUntilItIsAdopted() {
        var survey = self.vacant
        survey.registered = self.registered(.active, oid: 7)
        survey.foundRoles = ["acme_a": 3, "acme_b": 99]
        let error = #expect(throws: AdminError.self) { try survey.checkIdentity(name: "acme") }
        #expect(error?.code == .schemaReplaced)
        #expect(error?.message.contains("the role acme_b") == true)
        #expect(error?.message.contains("cloacina-admin tenant adopt acme") == true)
        survey.foundRoles = ["acme_a": 3]
        #expect(throws: Never.self) { try survey.checkIdentity(name: "acme") }
    }

    @Test func anotherRoleOfTheNameIsNotTheTenants() {
        var survey = self.vacant
        survey.registered = self.registered(.removing, oid: nil)
        survey.foundRoles = ["acme_a": 3, "acme_b": 99]
        #expect(survey.remaining("acme_a") == "acme_a")
        #expect(survey.remaining("acme_b") == nil)
        #expect(survey.remaining("acme_owner") == nil)
    }
}
