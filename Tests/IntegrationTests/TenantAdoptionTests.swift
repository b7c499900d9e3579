import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

extension ServerTests {
    /// A tenant that a restore brought back: everything has another OID than the one that was registered. Issue 11, C18.
    @Suite(.timeLimit(.minutes(40))) struct TenantAdoptionTests {
        /// Makes what is there what the registry doesn't know, as a restore does the other way round.
        private func forgetOIDs(of name: String, schema: Bool = true) async throws {
            try await TenantFixture.withSuperuser {
                try await $0.script(
                    """
                    UPDATE cloacina.tenants SET role_oids = '{1,2,3,4}' WHERE name = '\(name)';
                    UPDATE cloacina.tenants SET schema_oid = CASE WHEN \(schema) THEN 5::oid ELSE schema_oid END
                    WHERE name = '\(name)'
                    """)
            }
        }

        @Test("C18: removal stops at what a restore brought back, `adopt` takes it over, removal takes it away")
        func whatARestoreBroughtBackIsTakenOver() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let credentials = try await admin.createTenant(TenantFixture.config(name, sets: TenantFixture.sets()))
                let whole = try await TenantFixture.traces(of: name)
                try await self.forgetOIDs(of: name)
                let error = await #expect(throws: AdminError.self) { try await admin.removeTenant(named: name) }
                #expect(error?.code == .schemaReplaced)
                #expect(error?.message.contains("cloacina-admin tenant adopt \(name)") == true)
                #expect(try await TenantFixture.traces(of: name) == whole)
                let adopted = try await admin.adoptTenant(named: name)
                #expect(adopted.state == .active)
                try await TenantFixture.withTenant(credentials) { try await $0.query("SELECT * FROM items") }
                // Once more changes nothing.
                let again = try await admin.adoptTenant(named: name)
                #expect(again == adopted)
                let report = try await admin.removeTenant(named: name)
                #expect(report.droppedRelations > 0)
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
            let adoptions = try await TenantFixture.ledger(of: name).filter { $0 == "adopt adopt done" }
            #expect(adoptions.count == 2)
        }

        @Test("C18: roles with other OIDs are never passed over as if they were gone")
        func rolesAreNeverPassedOver() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                try await TenantFixture.withSuperuser { try await $0.script("DROP SCHEMA \(name) CASCADE") }
                try await self.forgetOIDs(of: name, schema: false)
                let error = await #expect(throws: AdminError.self) { try await admin.removeTenant(named: name) }
                #expect(error?.code == .schemaReplaced)
                #expect(error?.message.contains("the role \(name)_") == true)
                let lost = await #expect(throws: AdminError.self) { try await admin.adoptTenant(named: name) }
                #expect(lost?.message.contains("there is no schema \(name)") == true)
                try await TenantFixture.withSuperuser {
                    try await $0.script("CREATE SCHEMA \(name) AUTHORIZATION \(name)_owner")
                }
                try await admin.adoptTenant(named: name)
                try await admin.removeTenant(named: name)
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
        }

        @Test("C18: a schema of somebody else's is not taken over")
        func aSchemaOfSomebodyElsesIsNotTakenOver() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                try await self.forgetOIDs(of: name)
                try await TenantFixture.withSuperuser {
                    try await $0.script("ALTER SCHEMA \(name) OWNER TO pg_database_owner")
                }
                let error = await #expect(throws: AdminError.self) { try await admin.adoptTenant(named: name) }
                #expect(error?.code == .schemaReplaced)
                #expect(error?.message.contains("belongs to pg_database_owner") == true)
                try await TenantFixture.withSuperuser {
                    try await $0.script("ALTER SCHEMA \(name) OWNER TO \(name)_owner")
                }
                try await admin.adoptTenant(named: name)
                try await admin.removeTenant(named: name)
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
        }

        @Test("C18: from PostgreSQL 16 the lost ADMIN OPTION is named with the GRANT that gives it back")
        func theLostAdminOptionIsNamedWithItsGrant() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let credentials = try await admin.createTenant(TenantConfig(name: name))
                guard try await admin.withBackend({ $0.serverVersion }) >= 160_000 else {
                    // Until then CREATEROLE is enough.
                    try await admin.removeTenant(named: name)
                    return
                }
                let administrator = try await admin.endpoint().user
                let roles = try await TenantFixture.traces(of: name).filter { $0.hasPrefix("role ") }
                    .map { $0.dropFirst(5) }
                try await TenantFixture.withSuperuser {
                    try await $0.script("REVOKE \(roles.joined(separator: ", ")) FROM \(administrator) CASCADE")
                }
                try await self.forgetOIDs(of: name)
                let error = await #expect(throws: AdminError.self) { try await admin.adoptTenant(named: name) }
                #expect(error?.code == .insufficientPrivilege)
                let message = try #require(error?.message)
                let grant = try #require(message.firstRange(of: "GRANT \"")).lowerBound
                #expect(message.hasSuffix("WITH ADMIN OPTION"))
                try await TenantFixture.withSuperuser { try await $0.script(String(message[grant...])) }
                try await admin.adoptTenant(named: name)
                // The service may act as the tenant again.
                try await TenantFixture.withSuperuser { connection in
                    let mayAct: Bool = try await connection.query(
                        "SELECT pg_has_role('cloacina_service', \(name + "_runtime"), 'SET')"
                    ).single()
                    #expect(mayAct)
                }
                try await TenantFixture.withTenant(credentials) { try await $0.query("SELECT 1") }
                try await admin.removeTenant(named: name)
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
        }
    }
}
