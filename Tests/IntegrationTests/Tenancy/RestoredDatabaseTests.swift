import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// A database with two tenants that a dump brought to another server, roles and all: every verb works there, or names `tenant
    /// adopt`, after which it works. Issue 11, C18.
    @Suite(
        .serialized, .privateServer, .timeLimit(.minutes(40)),
        .enabled(if: DatabaseDump.isPossible, "the server came without pg_dump, pg_dumpall, pg_restore or psql"))
    struct RestoredDatabaseTests {
        /// Two tenants of a restored database, and the credentials that were theirs at home.
        private struct Restored {
            let first: TenantCredentials
            let second: TenantCredentials
            let admin: DatabaseAdmin
        }

        /// Lends a restored database as `TestDatabase.current`, on a server of its own.
        private func withRestored(_ body: (Restored) async throws -> Void) async throws {
            try await withPrivateDatabase { source in
                let names = [TenantFixture.name(), TenantFixture.name()]
                var credentials: [TenantCredentials] = []
                try await TenantFixture.withAdmin { admin in
                    for name in names {
                        let made = try await admin.createTenant(TenantFixture.config(name, sets: TenantFixture.sets()))
                        try await TenantFixture.withTenant(made) {
                            try await $0.query("INSERT INTO items (name) VALUES (\(name))")
                        }
                        credentials.append(made)
                    }
                }
                let dump = try await DatabaseDump(of: try #require(TestDatabase.current), into: source.directory)
                try await PrivateServer.with { target in
                    let database = try await dump.restore(on: target.access)
                    try await TestDatabase.$current.withValue(database) {
                        let there = try credentials.map { try Self.moved($0, to: database) }
                        try await TenantFixture.withAdmin(bootstrap: false) { admin in
                            try await self.expectOtherNumbers(names)
                            try await body(Restored(first: there[0], second: there[1], admin: admin))
                        }
                    }
                }
            }
        }

        /// The same login and password on another server.
        private static func moved(
            _ credentials: TenantCredentials, to database: TestDatabase
        ) throws -> TenantCredentials {
            var url = try #require(URLComponents(string: credentials.connectionString))
            url.port = URLComponents(string: database.server.superuserURL)?.port
            return TenantCredentials(
                tenant: credentials.tenant, schema: credentials.schema, username: credentials.username,
                password: credentials.password, connectionString: try #require(url.string))
        }

        /// Makes sure that the restore is what the tests are about.
        private func expectOtherNumbers(_ names: [String]) async throws {
            let known: Int = try await TenantFixture.withSuperuser {
                try await $0.query(
                    """
                    SELECT count(*) FROM cloacina.tenants t
                    WHERE EXISTS (SELECT FROM pg_roles WHERE oid = ANY (t.role_oids) AND rolname LIKE t.name || '\\_%')
                    """
                ).single()
            }
            #expect(known == 0)
            for name in names { #expect(try await TenantFixture.traces(of: name).count == 6) }
        }

        private func items(_ credentials: TenantCredentials) async throws -> [String] {
            try await TenantFixture.withTenant(credentials) {
                try await $0.query("SELECT name FROM items").column("name")
            }
        }

        /// The application's files with one more, which fills what the first one made.
        private func newerSets() throws -> [MigrationSet] {
            let first = try TenantFixture.sets()[0].migrations
            let second = try Migration(
                fileName: "0002_more.tenant.sql",
                contents: Array("-- More.\n-- migrate:up\nALTER TABLE items ADD COLUMN more integer DEFAULT 7;\n".utf8))
            return [try MigrationSet(source: "app", lane: .tenant, migrations: first + [second])]
        }

        @Test("C18: in a restored database the verbs that read and migrate work at once, and the logins log in")
        func aRestoredDatabaseIsReadAndMigrated() async throws {
            try await self.withRestored { restored in
                let names = [restored.first.tenant, restored.second.tenant].sorted()
                #expect(try await restored.admin.tenants().map(\.name) == names)
                #expect(try await restored.admin.tenant(named: names[0]).state == .active)
                let before = try await restored.admin.migrationStatus(sets: TenantFixture.sets())
                #expect(before.controlPending.isEmpty && before.controlProblems.isEmpty)
                #expect(before.tenants.allSatisfy { $0.isCurrent })
                let sets = try self.newerSets()
                let report = try await restored.admin.migrate(sets: sets)
                #expect(report.results.map(\.outcome) == [.migrated, .migrated], "\(report.results)")
                let after = try await restored.admin.migrationStatus(sets: sets)
                #expect(after.tenants.allSatisfy { $0.isCurrent })
                for credentials in [restored.first, restored.second] {
                    #expect(try await self.items(credentials) == [credentials.tenant])
                    try await TenantFixture.withTenant(credentials) { try await $0.query("SELECT more FROM items") }
                }
            }
        }

        @Test("C18: what changes a restored tenant's roles refuses, changes nothing and names `tenant adopt`")
        func whatChangesRolesNamesAdoption() async throws {
            try await self.withRestored { restored in
                let (admin, name) = (restored.admin, restored.first.tenant)
                let whole = try await TenantFixture.traces(of: name)
                let changes: [(String, () async throws -> Void)] = [
                    ("drop", { try await admin.removeTenant(named: name) }),
                    ("drop --dry-run", { _ = try await admin.plannedSQL(removing: name) }),
                    ("reissue", { try await admin.reissueCredentials(forTenant: name) }),
                    ("limits", { try await admin.setLimits(.none, forTenantNamed: name) }),
                    ("access", { try await admin.setEngineAccess(true, ofTenant: name) }),
                ]
                for (verb, change) in changes {
                    let error = await #expect(throws: AdminError.self, "\(verb)") { try await change() }
                    let message = error?.message ?? ""
                    #expect(message.contains("cloacina-admin tenant adopt \(name)"), "\(verb): \(message)")
                }
                #expect(try await TenantFixture.traces(of: name) == whole)
                #expect(try await admin.tenant(named: name).state == .active)
                #expect(try await self.items(restored.first) == [name])
            }
        }

        @Test("C18: an adopted tenant is given secrets, limits, engine access and files, and removed with a true proof")
        func anAdoptedTenantIsAsAnyOther() async throws {
            try await self.withRestored { restored in
                let (admin, name) = (restored.admin, restored.first.tenant)
                try await AdminCommand.with { command in
                    for tenant in [name, restored.second.tenant] {
                        let adopted = try await command.run("tenant", "adopt", tenant)
                        #expect(adopted.status == 0, "\(adopted.notes)")
                    }
                    let file = command.path("new.json")
                    let reissued = try await command.run("tenant", "reissue", name, "--credentials-file", file)
                    #expect(reissued.status == 0, "\(reissued.notes)")
                    let document = try command.document("new.json")
                    #expect(await document.logsIn())
                    await #expect(throws: PostgresError.self) { try await self.items(restored.first) }
                    try await admin.setLimits(TenantLimits(), forTenantNamed: name)
                    try await admin.setEngineAccess(true, ofTenant: name)
                    try await admin.setEngineAccess(false, ofTenant: name)
                    let report = try await admin.migrate(sets: try self.newerSets())
                    #expect(report.results.map(\.outcome) == [.migrated, .migrated], "\(report.results)")
                    let dropped = try await command.run("tenant", "drop", name, "--confirm", name)
                    #expect(dropped.status == 0, "\(dropped.notes)")
                    #expect(try await TenantFixture.traces(of: name).isEmpty)
                    #expect(await !document.logsIn())
                    // The other one is as it was, and a new one of the name can be made.
                    #expect(try await self.items(restored.second) == [restored.second.tenant])
                    let again = try await admin.createTenant(TenantFixture.config(name, sets: self.newerSets()))
                    #expect(try await self.items(again).isEmpty)
                    try await admin.removeTenant(named: name)
                    try await admin.removeTenant(named: restored.second.tenant)
                    #expect(try await admin.tenants().isEmpty)
                }
            }
        }
    }
}
