import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Testing

extension ServerTests {
    /// C8: a server that lets nobody in but those it knows. One at a time, since they change the server's rules.
    @Suite(.serialized, .privateServer, .timeLimit(.minutes(40))) struct MigrationLoginRefusedTests {
        /// Lends an administrator of a server that refuses every login but the administrator's and the superuser's.
        private func withClosedServer(
            _ login: MigrationLogin, _ body: (DatabaseAdmin, String) async throws -> Void
        ) async throws {
            try await withPrivateDatabase { _ in
                let name = TenantFixture.name()
                try await TenantFixture.withAdmin { admin in
                    _ = try await admin.createTenant(TenantConfig(name: name))
                    try await self.closed {
                        let other = DatabaseAdmin(
                            try #require(TestDatabase.current).administrator, migrationLogin: login)
                        try await body(other, name)
                        await other.close()
                    }
                    try await admin.removeTenant(named: name)
                }
            }
        }

        /// Puts a rule before all others that refuses whoever else there is.
        private func closed(_ body: () async throws -> Void) async throws {
            let database = try #require(TestDatabase.current)
            let known = try [database.server.administratorURL, database.server.superuserURL].map {
                try #require(URLComponents(string: $0)?.user)
            }
            let path: String = try await TenantFixture.withSuperuser {
                try await $0.query("SELECT current_setting('hba_file')").single()
            }
            let before = try Data(contentsOf: URL(filePath: path))
            let rules = ["local", "host"].map { kind in
                let address = kind == "host" ? "all" : ""
                return known.map { "\(kind) all \"\($0)\" \(address) scram-sha-256\n" }.joined()
                    + "\(kind) all all \(address) reject\n"
            }
            try await self.write(Data(rules.joined().utf8) + before, to: path)
            do {
                try await body()
                try await self.write(before, to: path)
            } catch {
                try await self.write(before, to: path)
                throw error
            }
        }

        /// Changes the server's rules, and waits until a new session shows that they count.
        private func write(_ rules: Data, to path: String) async throws {
            // In place: the file stays the server's own.
            try rules.write(to: URL(filePath: path))
            let loaded: String = try await TenantFixture.withSuperuser { connection in
                let time: String = try await connection.query("SELECT pg_conf_load_time()::text").single()
                try await connection.query("SELECT pg_reload_conf()")
                return time
            }
            while true {
                let now: String = try await TenantFixture.withSuperuser {
                    try await $0.query("SELECT pg_conf_load_time()::text").single()
                }
                if now != loaded { return }
                await Task.yield()
            }
        }

        @Test("C8: a server that refuses the login is told of with the way to let it in, and the way without")
        func aRefusedLoginIsNamedWithTheWayOut() async throws {
            try await self.withClosedServer(.shortLived) { admin, name in
                let error = await #expect(throws: AdminError.self) {
                    try await admin.migrate(sets: TenantFixture.sets())
                }
                #expect(error?.code == .loginRefused)
                #expect(error?.sqlState == "28000")
                for words in ["pg_hba.conf", "/^cloacina_migrator_", "--files-as-administrator"] {
                    #expect(error?.message.contains(words) == true, "\(String(describing: error))")
                }
                #expect(try await MigratorWatch.logins().isEmpty)
                #expect(try await MigratorWatch.hasTable("items", in: name) == false)
                let other = TenantFixture.name()
                let creation = await #expect(throws: AdminError.self) {
                    try await admin.createTenant(TenantFixture.config(other, sets: TenantFixture.sets()))
                }
                #expect(creation?.code == .loginRefused)
                #expect(try await admin.tenant(named: other).state == .creating)
                #expect(try await MigratorWatch.logins().isEmpty)
                try await admin.removeTenant(named: other)
            }
        }

        @Test("C8: over the administrator's own login files run there all the same")
        func aClosedServerTakesFilesAsTheAdministrator() async throws {
            try await self.withClosedServer(.administrator) { admin, name in
                let report = try await admin.migrate(sets: TenantFixture.sets())
                #expect(report.results.map(\.outcome) == [.migrated])
                #expect(try await MigratorWatch.hasTable("items", in: name))
            }
        }
    }
}
