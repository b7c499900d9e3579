import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

extension ServerTests {
    /// The attack log: names, passwords, and creations and removals that meet each other or what somebody moved.
    @Suite(.serialized, .attackedTenants, .timeLimit(.minutes(40))) struct AttackLogTenantTests {
        @Test(
            "names that look like something else are usable, and leave nothing",
            arguments: ["a_a", "selects", "x" + String(repeating: "y", count: 47)])
        func anOddNameIsUsableAndLeavesNothing(name: String) async throws {
            try await TenantFixture.withAdmin(bootstrap: false) { admin in
                let credentials = try await admin.createTenant(TenantConfig(name: name))
                try await TenantFixture.withTenant(credentials) { session in
                    let schema: String = try await session.query("SELECT current_schema()::text").single()
                    #expect(schema == name)
                }
                try await admin.removeTenant(named: name)
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
        }

        /// Names with the rule that they break are in `TenantNameTests`; here, that nothing of them reaches the server.
        @Test(arguments: [
            "a\"; DROP SCHEMA cloacina CASCADE; --", "a'b", "acme\u{200B}", "\u{202E}acme", "cloacina_service",
            "cloacina_tenants", "cloacina", "public", "pg_catalog",
            String(repeating: "x", count: 49),
        ])
        func aBadNameIsRefusedWithoutResidue(name: String) async throws {
            try await TenantFixture.withAdmin(bootstrap: false) { admin in
                let before = try await Self.operations()
                let error = await #expect(throws: AdminError.self) {
                    try await admin.createTenant(TenantConfig(name: name))
                }
                #expect(error?.code == .invalidName || error?.code == .roleExists, "\(String(describing: error))")
                #expect(try await admin.tenants().allSatisfy { $0.name != name && $0.schema != name })
                #expect(try await Self.operations() == before)
            }
        }

        private static func operations() async throws -> Int {
            try await TenantFixture.withSuperuser {
                try await $0.query("SELECT count(*) FROM cloacina.operations").single()
            }
        }

        /// What the server gets is the verifier of exactly this text, so that the login works with it.
        @Test func anyPrintableASCIIIsAPasswordThatLogsIn() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin(bootstrap: false) { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                for password in [
                    " ", "'", "\"", "\\", "a' OR '1'='1", "$$", "%00%", "&?#/:@[]",
                    "md5" + String(repeating: "0", count: 32),
                    "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy", String(repeating: "x", count: 512),
                ] {
                    var options = ReissueOptions()
                    options.password = password
                    let report = try await admin.reissueCredentials(forTenant: name, options: options)
                    #expect(report.credentials.password == password)
                    try await TenantFixture.withTenant(report.credentials) { try await $0.query("SELECT 1") }
                }
                for password in [
                    "", "p\u{E4}ss", "e\u{301}", "a\u{0}b", "a\u{7F}b", "\u{A0}", String(repeating: "x", count: 513),
                ] {
                    var options = ReissueOptions()
                    options.password = password
                    let error = await #expect(throws: AdminError.self) {
                        try await admin.reissueCredentials(forTenant: name, options: options)
                    }
                    #expect(error?.code == .passwordNotAcceptable)
                }
                try await admin.removeTenant(named: name)
            }
        }

        @Test func ofCreationsAndRemovalsAtOnceTheTenantIsWholeOrGone() async throws {
            let name = TenantFixture.name()
            let configuration = try #require(TestDatabase.current).administrator
            try await TenantFixture.withAdmin(bootstrap: false) { admin in
                for _ in 0..<2 {
                    let outcomes = await withTaskGroup(of: AdminError?.self) { group in
                        for number in 0..<4 {
                            group.addTask {
                                let admin = DatabaseAdmin(configuration)
                                let failure = await Self.failure {
                                    if number.isMultiple(of: 2) {
                                        _ = try await admin.createTenant(TenantConfig(name: name))
                                    } else {
                                        try await admin.removeTenant(named: name)
                                    }
                                }
                                await admin.close()
                                return failure
                            }
                        }
                        return await group.reduce(into: []) { $0.append($1) }
                    }
                    let expected: Set<AdminError.Code> = [.tenantExists, .tenantNotFound, .tenantNotReady, .busy]
                    for case let error? in outcomes { #expect(expected.contains(error.code), "\(error)") }
                    let tenants = try await admin.tenants().filter { $0.name == name }
                    #expect(tenants.allSatisfy { $0.state == .active })
                    #expect(try await TenantFixture.traces(of: name).count == (tenants.isEmpty ? 0 : 6))
                    #expect(try await !TenantFixture.ledger(of: name).contains { $0.hasSuffix(" started") })
                    if !tenants.isEmpty { try await admin.removeTenant(named: name) }
                }
            }
        }

        private static func failure(_ body: () async throws -> Void) async -> AdminError? {
            do { try await body() } catch {
                guard let error = error as? AdminError else { Issue.record("\(error)"); return nil }
                return error
            }
            return nil
        }

        /// A superuser's changes; a tenant may make none of them.
        @Test(
            arguments: [
                ("ALTER SCHEMA {name} RENAME TO {name}_moved", "ALTER SCHEMA {name}_moved RENAME TO {name}", nil),
                (
                    "ALTER ROLE {name}_a RENAME TO {name}_moved", "ALTER ROLE {name}_moved RENAME TO {name}_a",
                    .removalIncomplete
                ),
                (
                    "ALTER ROLE {name}_b RENAME TO {name}_moved; CREATE ROLE {name}_b",
                    "DROP ROLE {name}_b; ALTER ROLE {name}_moved RENAME TO {name}_b", .schemaReplaced
                ),
            ] as [(String, String, AdminError.Code?)])
        func whatWasRenamedOrReplacedIsToldFromTheTenantsOwn(
            change: String, back: String, code: AdminError.Code?
        ) async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin(bootstrap: false) { admin in
                _ = try await admin.createTenant(TenantFixture.config(name, sets: TenantFixture.sets()))
                try await TenantFixture.withSuperuser { try await $0.script(change.replacing("{name}", with: name)) }
                if let code {
                    let error = await #expect(throws: AdminError.self) { try await admin.removeTenant(named: name) }
                    #expect(error?.code == code)
                    try await TenantFixture.withSuperuser { try await $0.script(back.replacing("{name}", with: name)) }
                }
                try await admin.removeTenant(named: name)
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
            #expect(try await TenantFixture.traces(of: name + "_moved").isEmpty)
        }
    }
}
