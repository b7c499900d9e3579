import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Glibc
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// C8: the login over which files run ends with its operation, however that ends, and commits nothing without its lease.
    @Suite(.timeLimit(.minutes(40))) struct MigrationLoginLifeTests {
        @Test("C8: what a file made as the login, or granted to it, keeps no login alive")
        func aLoginThatAFileGaveSomethingIsDroppedWithIt() async throws {
            // A stranger whom the administrator may not act as, and whose turn comes before the owner's.
            let (name, stranger) = (TenantFixture.name(), TestDatabase.uniqueName("aaa"))
            let set = try MigrationFixture.set([
                1: """
                CREATE TABLE made (id int);
                GRANT SELECT ON made TO \(stranger);
                DO $$ BEGIN
                    EXECUTE format('GRANT SELECT ON made TO %I', session_user);
                    PERFORM set_config('role', 'none', true); PERFORM lo_create(0);
                    EXECUTE format('ALTER ROLE %I PASSWORD ''known''', session_user);
                    PERFORM set_config('role', '\(name)_owner', true);
                END $$;
                """
            ])
            try await TenantFixture.withSuperuser { try await $0.script("CREATE ROLE \(stranger)") }
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                let report = try await admin.migrate(sets: [set])
                #expect(report.results.map(\.outcome) == [.migrated], "\(report)")
                #expect(try await MigratorWatch.logins().isEmpty)
                try await admin.removeTenant(named: name)
            }
            try await TenantFixture.withSuperuser { try await $0.script("DROP ROLE \(stranger)") }
        }

        /// Runs something while a file of the tenant's waits for a lock that a superuser's session holds.
        private func whileAFileWaits(
            _ name: String, _ admin: DatabaseAdmin, _ sets: [MigrationSet],
            _ body: (Task<FleetReport, any Error>, PostgresConnection) async throws -> Void
        ) async throws {
            try await TenantFixture.withSuperuser { holder in
                try await holder.script("BEGIN; LOCK TABLE \(PostgresIdentifier.quote(name)).gate")
                let task = Task { try await admin.migrate(sets: sets) }
                try await TenantFixture.withSuperuser { try await $0.waitUntil(MigratorWatch.waits) }
                try await body(task, holder)
            }
        }

        private static let gate = [1: "CREATE TABLE gate (id int);"]
        private static let gated = Self.gate.merging([
            2: "ALTER TABLE gate ADD title text; CREATE TABLE made (id int);"
        ]) { $1 }

        private func withPatientAdmin(_ body: (DatabaseAdmin, String) async throws -> Void) async throws {
            var patient = MigrationRunner.Configuration()
            patient.lockTimeout = .seconds(600)
            let name = TenantFixture.name()
            let admin = DatabaseAdmin(
                try #require(TestDatabase.current).administrator, faults: .none, migration: patient)
            try await admin.bootstrap()
            _ = try await admin.createTenant(TenantFixture.config(name, sets: [MigrationFixture.set(Self.gate)]))
            try await body(admin, name)
            try await admin.removeTenant(named: name)
            await admin.close()
        }

        @Test("C8: a cancelled migration leaves no login")
        func aCancelledMigrationLeavesNoLogin() async throws {
            try await self.withPatientAdmin { admin, name in
                let sets = [try MigrationFixture.set(Self.gated)]
                try await self.whileAFileWaits(name, admin, sets) { task, _ in
                    task.cancel()
                    let result = await task.result
                    let error = #expect(throws: AdminError.self) { try result.get() }
                    #expect(error?.code == .cancelled)
                    let logins = try await MigratorWatch.logins()
                    #expect(logins.isEmpty)
                }
                #expect(try await MigratorWatch.hasTable("made", in: name) == false)
                #expect(try await admin.migrate(sets: sets).failures.isEmpty)
            }
        }

        /// As code that a file made as the login can, from its author's session.
        @Test("C8: who holds a login up holds up no command, and the next one drops it")
        func aLoginThatIsHeldUpHoldsUpNoCommand() async throws {
            try await self.withPatientAdmin { admin, name in
                let texts = Self.gated.merging([
                    3: """
                    DO $$ BEGIN
                        PERFORM set_config('role', 'none', true); PERFORM lo_create(0);
                        PERFORM set_config('role', '\(name)_owner', true);
                    END $$;
                    """
                ]) { $1 }
                let sets = [try MigrationFixture.set(texts)]
                try await self.whileAFileWaits(name, admin, sets) { task, gate in
                    let login = try #require(try await MigratorWatch.logins().first)
                    try await TenantFixture.withSuperuser { holder in
                        try await holder.script("BEGIN; ALTER ROLE \(login) PASSWORD 'known'")
                        try await gate.script("ROLLBACK")
                        let report = try await task.value
                        #expect(report.failures.isEmpty, "\(report)")
                        #expect(try await MigratorWatch.logins() == [login])
                        try await holder.script("ROLLBACK")
                    }
                }
                try await TenantFixture.withSuperuser { try await $0.waitUntil(MigratorWatch.isGone) }
                try await admin.bootstrap()
                #expect(try await MigratorWatch.logins().isEmpty)
            }
        }

        @Test("C8: a file that somebody else applied meanwhile, who found no lease, is not applied twice")
        func aLeaseLostInBetweenStopsBeforeTheCommit() async throws {
            try await self.withPatientAdmin { admin, name in
                let sets = [try MigrationFixture.set(Self.gated)]
                try await self.whileAFileWaits(name, admin, sets) { task, holder in
                    try await TenantFixture.withSuperuser { connection in
                        try await connection.script("DELETE FROM cloacina.leases")
                        try await connection.query(
                            """
                            INSERT INTO \(identifier: name).cloacina_migrations
                            SELECT source, 2, title, canonical_checksum, raw_checksum, duration_ms, applied_by, applied_at,
                                state, error
                            FROM \(identifier: name).cloacina_migrations WHERE source = \(sets[0].source)
                            """)
                    }
                    try await holder.script("ROLLBACK")
                    let result = try #require(try await task.value.results.first)
                    #expect(result.outcome == .failed)
                    #expect(result.error?.contains("already has it as applied") == true, "\(result)")
                }
                #expect(try await MigratorWatch.hasTable("made", in: name) == false)
                #expect(try await MigratorWatch.logins().isEmpty)
            }
        }

        @Test("C8: the administrator's session that ends while a file runs stops it before the commit")
        func anAdministratorThatIsGoneCommitsNothing() async throws {
            try await self.withPatientAdmin { admin, name in
                let sets = [try MigrationFixture.set(Self.gated)]
                let pid = try await admin.withBackend { $0.backendPID }
                try await self.whileAFileWaits(name, admin, sets) { task, holder in
                    try await TenantFixture.withSuperuser { connection in
                        let kill: PostgresStatement = "SELECT pg_terminate_backend(\(pid), 60000)"
                        let isKilled: Bool = try await connection.query(kill).single()
                        #expect(isKilled)
                    }
                    try await holder.script("ROLLBACK")
                    let report = try await task.value
                    #expect(report.results.map(\.outcome) == [.failed])
                }
                #expect(try await MigratorWatch.hasTable("made", in: name) == false)
                #expect(try await MigratorWatch.logins().isEmpty)
                #expect(try await admin.migrate(sets: sets).failures.isEmpty)
            }
        }

        @Test(
            "C8: what a killed command leaves is gone after the next one, and a stranger's role of such a name is not")
        func aKilledCommandsLoginIsGoneAfterTheNextOne() async throws {
            let stranger = "cloacina_migrator_" + String(UInt64.random(in: (1 << 44)..<(1 << 48)), radix: 16)
            try await AdminCommand.with { command in
                try await self.withPatientAdmin { admin, name in
                    try FileManager.default.createDirectory(
                        atPath: command.path("app"), withIntermediateDirectories: false)
                    for (version, text) in Self.gated {
                        try Data("-- migrate:up\n\(text)\n".utf8)
                            .write(to: URL(filePath: command.path("app/000\(version)_m\(version).tenant.sql")))
                    }
                    try await TenantFixture.withSuperuser { try await $0.script("CREATE ROLE \(stranger)") }
                    try await self.whileTheGateIsShut(name) {
                        var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("PG") }
                        environment[ConnectionOptions.environmentVariable] = try command.url().string
                        let child = try ChildProcess.start(
                            [
                                try AdminProgram.path(), "migrate", "apply", "--migrations",
                                command.path("app") + "=app",
                            ], environment: environment, output: STDERR_FILENO)
                        try await TenantFixture.withSuperuser { watcher in
                            while try await !watcher.query(MigratorWatch.waits).single(as: Bool.self) {
                                // It gives up on the lock and tries again; one that ended would be waited for in vain.
                                try #require(child.exitStatus() == nil)
                                await Task.yield()
                            }
                        }
                        kill(child.processID, SIGKILL)
                        while child.exitStatus() == nil { await Task.yield() }
                    }
                    #expect(try await MigratorWatch.logins().count == 1)
                    // Both of its sessions end once the server has noticed.
                    try await TenantFixture.withSuperuser { watcher in
                        try await watcher.waitUntil(MigratorWatch.isGone)
                        try await watcher.waitUntil(
                            """
                            SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                                               AND application_name = 'cloacina-admin')
                            """)
                    }
                    #expect(try await command.run("migrate", "apply").status == 0)
                    #expect(try await MigratorWatch.logins().isEmpty)
                    #expect(try await MigratorWatch.exists(stranger))
                    try await TenantFixture.withSuperuser { try await $0.script("DROP ROLE \(stranger)") }
                }
            }
        }

        private func whileTheGateIsShut(_ name: String, _ body: () async throws -> Void) async throws {
            try await TenantFixture.withSuperuser { holder in
                try await holder.script("BEGIN; LOCK TABLE \(PostgresIdentifier.quote(name)).gate")
                try await body()
                try await holder.script("ROLLBACK")
            }
        }
    }
}
