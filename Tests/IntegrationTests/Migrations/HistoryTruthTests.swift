import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import Testing

extension ServerTests {
    /// A tenant's own history is the truth: what differs from it is named, with the verb that leads out.
    @Suite(.timeLimit(.minutes(40))) struct HistoryTruthTests {
        private static let texts = [
            1: "CREATE TABLE a (id int);", 2: "CREATE TABLE b (id int);", 3: "CREATE TABLE c (id int);",
        ]

        /// Lends an administrator and a tenant that was created with some of the files.
        private func withTenant(
            _ versions: [Int], _ body: (DatabaseAdmin, String) async throws -> Void
        ) async throws {
            let name = TenantFixture.name()
            let set = try MigrationFixture.set(Self.texts.filter { versions.contains($0.key) })
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantFixture.config(name, sets: [set]))
                try await body(admin, name)
                try await admin.removeTenant(named: name)
            }
        }

        private func status(
            _ admin: DatabaseAdmin, _ name: String, _ sets: [MigrationSet]
        ) async throws -> TenantMigrationStatus {
            try #require(try await admin.migrationStatus(tenant: name, sets: sets).tenants.first)
        }

        @Test("C01: a late file is named, refused, and let through on request")
        func aLateFileIsNamed() async throws {
            try await self.withTenant([1, 3]) { admin, name in
                let set = try MigrationFixture.set(Self.texts)
                let status = try await self.status(admin, name, [set])
                #expect(status.problems.map(\.kind) == [.late])
                #expect(status.problems.first?.migration == "app/0002_m2")
                #expect(!status.isCurrent)
                let refused = try await admin.migrate(sets: [set])
                #expect(refused.failures.map(\.tenant) == [name])
                #expect(refused.failures.first?.error?.contains("--allow-out-of-order") == true)

                var configuration = MigrationRunner.Configuration()
                configuration.allowsOutOfOrder = true
                let report = try await admin.migrate(sets: [set], configuration: configuration)
                #expect(report.results.map(\.applied) == [["app/0002_m2"]])
                #expect(try await self.status(admin, name, [set]).isCurrent)
            }
        }

        @Test("X5: a shared schema of another program is named by status and dry run, as apply refuses it")
        func aSharedSchemaOfAnotherProgramIsNamed() async throws {
            try await AdminCommand.with { command in
                try await TenantFixture.withAdmin { admin in
                    try await TenantFixture.withSuperuser {
                        try await $0.script("UPDATE cloacina.cloacina_migrations SET canonical_checksum = 'x'")
                    }
                    let status = try await admin.migrationStatus()
                    #expect(status.controlProblems.map(\.kind) == [.edited])
                    #expect(!status.isCurrent)
                    let calls: [([String], Int32)] = [(["status"], 3), (["apply", "--dry-run"], 1), (["apply"], 1)]
                    for (arguments, exit) in calls {
                        let answer = try await command.run(["migrate"] + arguments)
                        #expect(answer.status == exit, "\(answer.notes)")
                    }
                    #expect(try await command.run("migrate", "status").notes.contains("(shared): edited cloacina/0001"))
                }
            }
        }

        @Test("C02: an edited file is named with nothing pending, and accepted by rebless")
        func anEditedFileIsNamedAndReblessed() async throws {
            try await self.withTenant([1, 2]) { admin, name in
                let edited = try MigrationFixture.set([1: Self.texts[1] ?? "", 2: "CREATE TABLE b (id bigint);"])
                let status = try await self.status(admin, name, [edited])
                #expect(status.pending.isEmpty)
                #expect(status.problems.map(\.kind) == [.edited])
                let refused = try await admin.migrate(tenant: name, sets: [edited])
                #expect(refused.failures.first?.error?.contains("migrate rebless --tenant \(name) app/0002") == true)

                #expect(try await admin.rebless(2, of: "app", tenant: name, sets: [edited]))
                #expect(try await self.status(admin, name, [edited]).isCurrent)
                #expect(try await admin.rebless(2, of: "app", tenant: name, sets: [edited]) == false)
                #expect(try await admin.reblessAll(2, of: "app", sets: [edited]).isEmpty)
                await #expect(throws: AdminError.self) {
                    try await admin.rebless(9, of: "app", tenant: name, sets: [edited])
                }
                let unknown = await #expect(throws: AdminError.self) {
                    try await admin.reblessAll(9, of: "app", sets: [edited])
                }
                #expect(unknown?.code == .invalidConfiguration)
                let audit: [String] = try await TenantFixture.withSuperuser { connection in
                    try await connection.query(
                        "SELECT detail FROM cloacina.audit WHERE action = 'tenant.migration_reblessed' AND tenant_name = \(name)"
                    ).column("detail")
                }
                #expect(audit == ["app/0002"])
            }
        }

        @Test("V38: a file that was applied and is gone is not reblessed, and that it is missing is said")
        func aMissingFileIsNotReblessed() async throws {
            try await self.withTenant([1, 2]) { admin, name in
                let left = try MigrationFixture.set([1: Self.texts[1] ?? ""])
                let error = await #expect(throws: AdminError.self) {
                    try await admin.rebless(2, of: "app", tenant: name, sets: [left])
                }
                #expect(error?.code == .invalidConfiguration)
                #expect(error?.message.contains("no file of the version 2") == true)
            }
        }

        @Test("C02: a deleted file, and a newer database, are named")
        func aMissingFileAndANewerDatabaseAreNamed() async throws {
            try await self.withTenant([1, 2, 3]) { admin, name in
                for (versions, kind) in [([1, 3], TenantMigrationProblem.Kind.missing), ([1, 2], .newer)] {
                    let set = try MigrationFixture.set(Self.texts.filter { versions.contains($0.key) })
                    #expect(try await self.status(admin, name, [set]).problems.map(\.kind) == [kind])
                    #expect(try await admin.migrate(sets: [set]).failures.map(\.tenant) == [name])
                }
            }
        }

        @Test("C15: a directory that goes by another name is noticed, and so is one under two names")
        func aMovedSourceIsNoticed() async throws {
            try await self.withTenant([1, 2]) { admin, name in
                let moved = try MigrationFixture.set(Self.texts.filter { $0.key < 3 }, source: "renamed")
                let status = try await self.status(admin, name, [moved])
                #expect(status.problems.map(\.kind) == [.moved, .moved])
                let refused = try await admin.migrate(sets: [moved])
                #expect(refused.failures.first?.error?.contains("--migrations DIRECTORY=app") == true)
                let both = [moved, try MigrationFixture.set(Self.texts)]
                let error = await #expect(throws: AdminError.self) { try await admin.migrate(sets: both) }
                #expect(error?.code == .invalidConfiguration)
            }
        }

        @Test("C20: a schema from an older backup is named and brought up; the registry follows")
        func aRestoredSchemaIsBroughtUp() async throws {
            try await self.withTenant([1, 2]) { admin, name in
                try await TenantFixture.withSuperuser { connection in
                    try await connection.script(
                        "DROP TABLE \(name).b; DELETE FROM \(name).cloacina_migrations WHERE source = 'app' AND version = 2"
                    )
                }
                let set = try MigrationFixture.set(Self.texts.filter { $0.key < 3 })
                let status = try await self.status(admin, name, [set])
                #expect(status.problems.map(\.kind) == [.restored])
                #expect(status.pending == ["app/0002_m2"])
                // Without the files, too, that something is amiss is seen.
                #expect(try await self.status(admin, name, []).problems.map(\.kind) == [.restored])
                #expect(try await admin.migrate(sets: [set]).results.map(\.applied) == [["app/0002_m2"]])
                #expect(try await self.status(admin, name, [set]).isCurrent)
            }
        }

        @Test("the registry learns what the history says")
        func theRegistryIsCorrected() async throws {
            try await self.withTenant([1, 2]) { admin, name in
                try await TenantFixture.withSuperuser { connection in
                    try await connection.script("UPDATE cloacina.tenant_versions SET version = 1")
                }
                let set = try MigrationFixture.set(Self.texts.filter { $0.key < 3 })
                #expect(try await admin.tenant(named: name).versions == ["app": 1])
                #expect(try await admin.migrate(sets: [set]).results.map(\.outcome) == [.current])
                #expect(try await admin.tenant(named: name).versions == ["app": 2])
            }
        }

        @Test("C08: a backfill that broke off half way is shown as failed, and resolved")
        func aBrokenOffBackfillIsResolved() async throws {
            let texts = [
                1: "CREATE TABLE mails (id int PRIMARY KEY, key int UNIQUE); INSERT INTO mails VALUES (1), (2), (3);",
                2: """
                -- migrate:no-transaction
                DO $$ BEGIN
                    UPDATE mails SET key = 7 WHERE id = 1; COMMIT;
                    UPDATE mails SET key = 7 WHERE id = 2 AND key IS NULL; COMMIT;
                END $$;
                """,
            ]
            let set = try MigrationFixture.set(texts)
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                let report = try await admin.migrate(sets: [set])
                let result = try #require(report.failures.first)
                #expect(result.applied == ["app/0001_m1"])
                #expect(result.error?.contains("migrate resolve") == true)
                #expect(try await admin.tenant(named: name).versions == ["app": 1])

                let status = try await self.status(admin, name, [set])
                #expect(status.problems.map(\.kind) == [.failed])
                #expect(status.blockers.first?.advice.contains("migrate resolve --tenant \(name) app/0002") == true)
                #expect(try await admin.migrate(sets: [set]).failures.map(\.tenant) == [name])

                try await TenantFixture.withSuperuser { try await $0.script("DELETE FROM \(name).mails WHERE id = 2") }
                try await admin.resolve(2, of: "app", tenant: name, as: .pending)
                #expect(try await admin.migrate(sets: [set]).results.map(\.applied) == [["app/0002_m2"]])
                #expect(try await self.status(admin, name, [set]).isCurrent)
                await #expect(throws: AdminError.self) {
                    try await admin.resolve(2, of: "app", tenant: name, as: .applied)
                }
                try await admin.removeTenant(named: name)
            }
        }

        @Test("X2 X4: a tenant whose creation stopped in a file is completed by apply, and its versions are shown")
        func aHalfCreatedTenantIsCompleted() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let bad = try MigrationFixture.set([1: "CREATE TABLE a (id int);", 2: "SELECT 1/0;"])
                await #expect(throws: AdminError.self) {
                    try await admin.createTenant(TenantFixture.config(name, sets: [bad]))
                }
                #expect(try await admin.tenant(named: name).versions == ["app": 1])
                let status = try await self.status(admin, name, [bad])
                #expect(status.state == .creating)
                #expect(status.problems.map(\.kind) == [.failed])
                #expect(status.versions == ["app": 1, "cloacina": 1])

                let good = try MigrationFixture.set([1: "CREATE TABLE a (id int);", 2: "CREATE TABLE b (id int);"])
                let report = try await admin.migrate(tenant: name, sets: [good])
                #expect(report.results.map(\.applied) == [["app/0002_m2"]])
                #expect(report.results.first?.advice?.contains("tenant create \(name)") == true)
                let credentials = try await admin.createTenant(TenantFixture.config(name, sets: [good]))
                try await TenantFixture.withTenant(credentials) { try await $0.query("SELECT * FROM b") }
                #expect(try await admin.tenant(named: name).versions == ["app": 2])
                try await admin.removeTenant(named: name)
            }
        }

        @Test("a reservation with nothing behind it is refused by name, not passed over")
        func aReservationIsRefused() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                try await TenantFixture.withSuperuser { connection in
                    try await connection.script(
                        """
                        INSERT INTO cloacina.tenants (id, name, schema_name, owner_role, runtime_role, engine_role, login_a, login_b, state)
                        VALUES (gen_random_uuid(), '\(name)_x', '\(name)_x', 'o', 'r', 'e', 'a', 'b', 'creating')
                        """)
                }
                let report = try await admin.migrate()
                #expect(report.upToDate == 1)
                #expect(report.failures.map(\.tenant) == [name + "_x"])
                #expect(report.failures.first?.error?.contains("tenant create \(name)_x") == true)
                try await admin.removeTenant(named: name)
            }
        }
    }
}
