import Testing

@testable import CloacinaTenancy

@Suite struct ServiceRoleTests {
    @Test("M4: a service login that bootstrap made and nobody else is in is taken into use")
    func oneThatBootstrapMadeIsAdopted() throws {
        try ServiceRole(isMarked: true, members: []).checkAdoption("svc")
        #expect(ServiceRole.creation("svc")[1].contains(ServiceRole.mark))
    }

    @Test(
        "M4: one with a password or members is refused, and the way is named",
        arguments: [
            (ServiceRole(isMarked: false, members: []), "password"),
            (ServiceRole(isMarked: true, members: ["mallory"]), "mallory"),
            (ServiceRole(isMarked: false, members: ["mallory"]), "mallory"),
        ])
    func oneOfSomebodyElsesIsRefused(role: ServiceRole, word: String) {
        let error = #expect(throws: AdminError.self) { try role.checkAdoption("svc") }
        #expect(error?.code == .roleExists)
        #expect(error?.message.contains(word) == true)
        #expect(error?.message.contains("--adopt-service-role") == true)
    }

    @Test("M4: roles that other databases know are named with them", arguments: [true, false])
    func sharedRolesAreNamed(isLogin: Bool) {
        let warning = SharedRole(role: "r", isLogin: isLogin, number: 5, databases: ["a", "b", "c"]).warning
        #expect(warning.contains("a, b, c and 2 more"))
        #expect(warning.contains(isLogin ? "--service-role" : "--tenants-role"))
        #expect(!SharedRole(role: "r", isLogin: isLogin, number: 1, databases: ["a"]).warning.contains("more"))
    }
}
