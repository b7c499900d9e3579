import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import Testing

extension ServerTests {
    /// A file that the server still runs after the command that began it was killed.
    @Suite(.timeLimit(.minutes(40))) struct KilledFileTests {
        private static let made = "CREATE TABLE ledger (id integer);"
        private static let backfill = "-- migrate:no-transaction\nINSERT INTO ledger VALUES (1);"

        /// Lends what a killed command leaves of a file without a transaction: its row, and a login at work as the tenant's owner.
        private func withRemnant(
            of backfill: String, _ body: (DatabaseAdmin, String, MigrationSet, PostgresConnection) async throws -> Void
        ) async throws {
            let (name, database) = (TenantFixture.name(), try #require(TestDatabase.current))
            let set = try MigrationFixture.set([1: Self.made, 2: backfill])
            let login = "cloacina_migrator_" + String(UInt64.random(in: (1 << 44)..<(1 << 48)), radix: 16)
            try await TenantFixture.withAdmin { admin in
                let first = try MigrationFixture.set([1: Self.made])
                _ = try await admin.createTenant(TenantFixture.config(name, sets: [first]))
                try await PostgresConnection.withConnection(database.administrator) { connection in
                    let number: Int64 = try await connection.query(
                        "SELECT oid::bigint FROM pg_database WHERE datname = current_database()"
                    ).single()
                    try await connection.script(
                        """
                        CREATE ROLE \(login) LOGIN NOINHERIT PASSWORD 'known';
                        COMMENT ON ROLE \(login) IS 'cloacina: migrator of database \(number), made by session 0 of role 0 at 0';
                        GRANT \(name)_owner TO \(login); GRANT CONNECT ON DATABASE \(database.name) TO \(login)
                        """)
                }
                try await TenantFixture.withSuperuser { connection in
                    _ = try await connection.query(
                        """
                        INSERT INTO \(identifier: name).cloacina_migrations
                        SELECT source, 2, 'm2', \(set.migrations[1].canonicalChecksum), \(set.migrations[1].rawChecksum), NULL,
                            applied_by, applied_at, 'running', NULL
                        FROM \(identifier: name).cloacina_migrations WHERE source = 'app' AND version = 1
                        """)
                }
                var access = database.administrator
                (access.user, access.password) = (login, "known")
                let session = try await PostgresConnection.connect(access)
                try await session.script("BEGIN")
                try await body(admin, name, set, session)
                await session.close()
                #expect(try await MigratorWatch.exists(login) == false)
                try await admin.removeTenant(named: name)
            }
        }

        /// Ends the remnant, and waits until the server has noticed.
        private func end(_ session: PostgresConnection) async throws {
            await session.close()
            try await TenantFixture.withSuperuser { watcher in
                try await watcher.waitUntil(
                    "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = \(session.backendPID))")
            }
        }

        private func rows(of name: String) async throws -> Int {
            try await TenantFixture.withSuperuser {
                try await $0.query("SELECT count(*) FROM \(identifier: name).ledger").single()
            }
        }

        @Test(
            "V31: a broken-off file that the server still runs is not settled, and status and refusal name its session",
            arguments: [MigrationRunner.Resolution.pending, .applied])
        func whatStillRunsIsNotSettled(resolution: MigrationRunner.Resolution) async throws {
            try await self.withRemnant(of: Self.backfill) { admin, name, set, session in
                let pid = "pid \(session.backendPID)"
                let status = try await admin.migrationStatus(tenant: name, sets: [set])
                #expect(status.tenants.first?.blockers.first?.advice.contains(pid) == true, "\(status.tenants)")
                let error = await #expect(throws: AdminError.self) {
                    try await admin.resolve(2, of: "app", tenant: name, as: resolution)
                }
                #expect(error?.code == .busy)
                #expect(error?.message.contains(pid) == true, "\(error?.message ?? "")")
                try await self.end(session)
                try await admin.resolve(2, of: "app", tenant: name, as: resolution)
                let isPending = resolution == .pending
                let results = try await admin.migrate(tenant: name, sets: [set]).results
                #expect(results.flatMap(\.applied) == (isPending ? ["app/0002_m2"] : []), "\(results)")
                #expect(try await self.rows(of: name) == (isPending ? 1 : 0))
            }
        }

        @Test("V31: a broken-off file with a verify query is not run again while the server still runs it")
        func whatStillRunsIsNotRunAgain() async throws {
            let backfill = Self.backfill + "\n-- migrate:verify\nSELECT EXISTS (SELECT FROM ledger);"
            try await self.withRemnant(of: backfill) { admin, name, set, session in
                let refused = try await admin.migrate(tenant: name, sets: [set]).results
                #expect(refused.map(\.outcome) == [.busy], "\(refused)")
                #expect(refused.first?.error?.contains("pid \(session.backendPID)") == true, "\(refused)")
                #expect(try await self.rows(of: name) == 0)
                try await self.end(session)
                let results = try await admin.migrate(tenant: name, sets: [set]).results
                #expect(results.map(\.applied) == [["app/0002_m2"]], "\(results)")
                #expect(try await self.rows(of: name) == 1)
            }
        }

        @Test("V31: the server looks after the client of a session over which a file runs")
        func theServerLooksAfterTheClientOfAFile() async throws {
            let name = TenantFixture.name()
            let look = "INSERT INTO seen SELECT current_setting('client_connection_check_interval');"
            let set = try MigrationFixture.set([
                1: "CREATE TABLE seen (setting text);", 2: look, 3: "-- migrate:no-transaction\n" + look,
            ])
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantFixture.config(name, sets: [set]))
                let settings: [String] = try await TenantFixture.withSuperuser {
                    try await $0.query("SELECT setting FROM \(identifier: name).seen").column("setting")
                }
                #expect(settings == ["10s", "10s"])
                try await admin.removeTenant(named: name)
            }
        }
    }
}
