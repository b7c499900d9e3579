import FoundationEssentials
import Testing

@testable import CloacinaTenancy

@Suite struct RemovalPlanTests {
    private let target = RemovalTarget(
        id: UUID(), name: "acme", schema: "acme", schemaOID: 7, hasSchema: true, roleOIDs: [1, 2],
        roleNames: ["acme_a", "acme_owner"], tenantsRole: "grp",
        sql: RemovalSQL(
            schema: "acme", owner: "acme_owner", roles: ["acme_a", "acme_owner"], serviceRole: "svc",
            serverVersion: 160_000))

    @Test("C17: what others would lose is the first line of the plan")
    func whatOthersWouldLoseComesFirst() {
        let dependents = RemovalDependents(names: ["view reporting.v"], count: 1)
        let refused = TenantRemoval.plan(self.target, dependents, [], cascade: false)
        #expect(refused[0] == "-- refused without --cascade, since others would lose: view reporting.v")
        let dropped = TenantRemoval.plan(self.target, dependents, [], cascade: true)
        #expect(dropped[0] == "-- dropped as well, though others': view reporting.v")
        #expect(dropped.contains(#"DROP OWNED BY "acme_a" CASCADE"#))
        let alone = TenantRemoval.plan(self.target, .none, [], cascade: false)
        #expect(!alone.contains { $0.hasPrefix("--") })
        #expect(alone.contains(#"DROP OWNED BY "acme_a""#))
    }

    @Test("C3c: other databases are named in the plan")
    func otherDatabasesAreNamed() {
        let plan = TenantRemoval.plan(self.target, .none, ["postgres", "template1"], cascade: false)
        #expect(
            plan.filter { $0.hasPrefix("--") } == ["-- in the database postgres:", "-- in the database template1:"])
    }

    @Test("C3: logins are shut before anything is dropped")
    func loginsAreShutFirst() throws {
        let plan = TenantRemoval.plan(self.target, .none, [], cascade: false)
        let shut = try #require(plan.firstIndex(of: #"ALTER ROLE "acme_a" NOLOGIN CONNECTION LIMIT 0"#))
        let drop = try #require(plan.firstIndex(of: #"DROP SCHEMA "acme" CASCADE"#))
        #expect(shut < drop)
    }

    @Test("C17: of many dependents the first are named and all are counted")
    func ofManyDependentsTheFirstAreNamed() {
        let dependents = RemovalDependents(names: ["view a", "view b"], count: 45)
        #expect(dependents.description == "view a, view b and 43 more")
        let error = #expect(throws: AdminError.self) { try dependents.check(tenant: "acme") }
        #expect(error?.code == .dependentsExist)
        #expect(error?.message.contains("--cascade") == true)
        #expect(throws: Never.self) { try RemovalDependents.none.check(tenant: "acme") }
    }
}
