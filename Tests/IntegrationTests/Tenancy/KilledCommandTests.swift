import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// The built command, killed by SIGKILL at its statements, and then run again: what it had begun is finished or undone, and
    /// somebody says so. Issue 11.
    ///
    /// A ``KillingProxy`` kills before each flush and after each statement and each Sync. There are a
    /// thousand places, so a run tries a sample of fifty: every so many places from one that chance chooses and the test
    /// prints. `CLOACINA_TEST_KILLS=all` tries all of them, `CLOACINA_TEST_KILLS=3` those from number 3.
    @Suite(.serialized, .timeLimit(.minutes(MortalCommand.Sample.isEverything ? 240 : 20))) struct KilledCommandTests {
        /// The registry's, the catalogs' and the ledger's word on a tenant.
        private struct Remains {
            let state: Tenant.State?
            let traces: [String]
            let ledger: [String]

            init(of name: String, _ admin: DatabaseAdmin) async throws {
                self.state = try await admin.tenants().first { $0.name == name }?.state
                self.traces = try await TenantFixture.traces(of: name)
                self.ledger = try await TenantFixture.ledger(of: name)
            }

            var open: [String] { self.ledger.filter { $0.hasSuffix("started") } }
        }

        /// Checks that the ledger tells of each step that was under way as one that failed, and of nothing as under way.
        private func expectTold(_ before: Remains, _ after: Remains, _ place: String) {
            #expect(after.open.isEmpty, "\(place)")
            let failed = before.open.map { $0.replacing("started", with: "failed") }
            #expect(failed.allSatisfy { after.ledger.contains($0) }, "\(place): \(before.ledger), then \(after.ledger)")
        }

        private func files(_ command: AdminCommand) throws -> String {
            let directory = command.path("app")
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
            try self.write("CREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL)", 1, in: directory)
            return directory
        }

        private func write(_ sql: String, _ version: Int, _ marker: String = "", in directory: String) throws {
            let name = "\(directory)/\(String(10_000 + version).dropFirst())_m\(version).tenant.sql"
            try Data("-- A thing of the application.\n-- migrate:up\n\(marker)\(sql);\n".utf8).write(
                to: URL(filePath: name))
        }

        private func expectDead(_ document: CredentialsDocument, _ place: String) async {
            #expect(await !document.logsIn(), "the old secret, \(place)")
        }

        @Test("C7: `tenant create` that was killed at any statement is finished by the same command")
        func aKilledCreationIsFinished() async throws {
            try await MortalCommand.with { mortal in
                try await TenantFixture.withAdmin { admin in
                    let directory = try self.files(mortal.command)
                    try await mortal.die(.init(every: 23), "tenant create") {
                        let name = TenantFixture.name()
                        let path = mortal.command.path("\(name).json")
                        return [
                            "tenant", "create", name, "--migrations", directory + "=app", "--credentials-file", path,
                        ]
                    } check: { place, line in
                        try await self.checkCreation(line, mortal, admin, place)
                    } survived: { line in
                        try await admin.removeTenant(named: line[2])
                    }
                }
            }
        }

        private func checkCreation(
            _ line: [String], _ mortal: MortalCommand, _ admin: DatabaseAdmin, _ place: String
        ) async throws {
            let (name, path) = (line[2], line[line.count - 1])
            let before = try await Remains(of: name, admin)
            #expect(before.traces.isEmpty || before.traces.count == 6, "\(place): \(before.traces)")
            let hadFile = FileFacts(path) != nil
            let answer = try await mortal.run(line)
            #expect(answer.status == 0, "\(place): \(answer.notes)")
            switch before.state {
            case nil: #expect(before.traces.isEmpty && !hadFile, "\(place)")
            case .creating where hadFile:
                #expect(
                    answer.notes.contains("finished a creation that was cut off"), "\(place): \(answer.notes)")
            case .creating: #expect(!before.open.isEmpty, "\(place): \(before.ledger)")
            case .active: #expect(answer.notes.contains("the tenant is whole"), "\(place): \(answer.notes)")
            case .removing?: Issue.record("a creation doesn't remove: \(place)")
            }
            let after = try await Remains(of: name, admin)
            #expect(after.state == .active && after.traces.count == 6, "\(place): \(after.traces)")
            #expect(after.ledger.last == "create deliver done", "\(place): \(after.ledger)")
            self.expectTold(before, after, place)
            let document = try #require(try CredentialsFile.kept(CredentialsDocument.self, at: path), "\(place)")
            #expect(document.tenant == name)
            #expect(FileFacts(path + ".part") == nil, "\(place)")
            try await PostgresConnection.withConnection(PostgresConfiguration(document.connectionString)) {
                _ = try await $0.query("SELECT * FROM items")
            }
            #expect(try await self.history(of: name) == ["app 1 applied"], "\(place)")
            try await admin.removeTenant(named: name)
        }

        @Test("C3: `tenant drop` that was killed at any statement is finished by the same command")
        func aKilledRemovalIsFinished() async throws {
            try await MortalCommand.with { mortal in
                try await TenantFixture.withAdmin { admin in
                    let sets = try TenantFixture.sets()
                    try await mortal.die(.init(every: 61), "tenant drop") {
                        let name = TenantFixture.name()
                        let credentials = try await admin.createTenant(TenantFixture.config(name, sets: sets))
                        try await TenantFixture.withTenant(credentials) { try await $0.query("SELECT lo_create(0)") }
                        return ["tenant", "drop", name, "--confirm", name]
                    } check: { place, line in
                        let before = try await Remains(of: line[2], admin)
                        let answer = try await mortal.run(line)
                        #expect(answer.status == 0, "\(place): \(answer.notes)")
                        switch before.state {
                        case nil:
                            #expect(answer.notes.contains("was removed already"), "\(place): \(answer.notes)")
                        case .active: #expect(before.traces.count == 6, "\(place): \(before.traces)")
                        case .removing: #expect(!before.open.isEmpty, "\(place): \(before.ledger)")
                        case .creating?: Issue.record("a removal doesn't create: \(place)")
                        }
                        let after = try await Remains(of: line[2], admin)
                        #expect(after.state == nil && after.traces.isEmpty, "\(place): \(after.traces)")
                        #expect(after.ledger.last == "remove prove done", "\(place): \(after.ledger)")
                        self.expectTold(before, after, place)
                    } survived: { line in
                        let traces = try await TenantFixture.traces(of: line[2])
                        #expect(traces.isEmpty)
                    }
                }
            }
        }

        @Test("`tenant drop` of a tenant that was removed says so, and nothing else is taken for removed")
        func aRemovalThatWasDoneIsToldByTheSameCommand() async throws {
            struct Answer: Decodable {
                let tenant: String
                let removed: Bool
                let actor: String
            }
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                try await AdminCommand.with { command in
                    let line = ["tenant", "drop", name, "--confirm", name, "--output", "json"]
                    #expect(try await command.run(line).status == 0)
                    let again = try await command.run(line)
                    #expect(again.status == 0, "\(again.notes)")
                    #expect(again.notes.contains("was removed already"), "\(again.notes)")
                    let answer = try again.decoded(Answer.self)
                    let user = try await admin.endpoint().user
                    #expect(answer.tenant == name && answer.removed && answer.actor == user)
                    let never = try await command.run("tenant", "drop", name + "x", "--confirm", name + "x")
                    #expect(never.status == 1, "\(never.notes)")
                    // Somebody's role of the name is not to be called gone.
                    try await TenantFixture.withSuperuser { try await $0.script("CREATE ROLE \(name)_a") }
                    let doubtful = try await command.run(line)
                    try await TenantFixture.withSuperuser { try await $0.script("DROP ROLE \(name)_a") }
                    #expect(doubtful.status == 1, "\(doubtful.notes)")
                }
            }
        }

        @Test("C7: `tenant reissue` that was killed at any statement is finished by the same command, or was done")
        func aKilledReissueIsFinished() async throws {
            let name = TenantFixture.name()
            try await MortalCommand.with { mortal in
                try await TenantFixture.withAdmin { admin in
                    let first = mortal.command.path("first.json")
                    #expect(try await mortal.run(["tenant", "create", name, "--credentials-file", first]).status == 0)
                    var old = try mortal.command.document("first.json")
                    try await mortal.die(.init(every: 7), "tenant reissue") {
                        let path = mortal.command.path(TestDatabase.uniqueName("secret") + ".json")
                        return ["tenant", "reissue", name, "--credentials-file", path]
                    } check: { place, line in
                        old = try await self.checkReissue(line, old, mortal, admin, place)
                    } survived: { _ in
                        #expect(await !old.logsIn())
                    }
                    try await admin.removeTenant(named: name)
                }
            }
        }

        /// A reissue of which the last answer alone was lost says so and makes no other secret: whoever calls for one with a file
        /// that is there gets exit 1, and that what the file holds works.
        private func checkReissue(
            _ line: [String], _ old: CredentialsDocument, _ mortal: MortalCommand, _ admin: DatabaseAdmin,
            _ place: String
        ) async throws -> CredentialsDocument {
            let (name, path) = (line[2], line[line.count - 1])
            let before = try await Remains(of: name, admin)
            let hadFile = FileFacts(path) != nil
            let wasDone = hadFile && before.open.isEmpty
            let answer = try await mortal.run(line)
            #expect(answer.status == (wasDone ? 1 : 0), "\(place): \(answer.notes)")
            let told = wasDone ? "The secret in it works" : hadFile ? "finished what was cut off" : ""
            #expect(told.isEmpty || answer.notes.contains(told), "\(place): \(answer.notes)")
            let after = try await Remains(of: name, admin)
            #expect(after.ledger.last == "reissue password done", "\(place): \(after.ledger)")
            self.expectTold(before, after, place)
            let document = try #require(try CredentialsFile.kept(CredentialsDocument.self, at: path), "\(place)")
            #expect(FileFacts(path + ".part") == nil, "\(place)")
            #expect(await document.logsIn(), "\(place)")
            await self.expectDead(old, place)
            return document
        }

        // MARK: Migrations

        @Test("`migrate apply` that was killed at any statement is finished by the same command, each file once")
        func aKilledMigrationIsFinished() async throws {
            let name = TenantFixture.name()
            try await MortalCommand.with { mortal in
                try await TenantFixture.withAdmin { admin in
                    let directory = try self.files(mortal.command)
                    _ = try await admin.createTenant(TenantConfig(name: name))
                    let line = ["migrate", "apply", "--migrations", directory + "=app"]
                    #expect(try await mortal.run(line).status == 0)
                    var version = 1
                    try await mortal.die(.init(every: 11), "migrate apply") {
                        version += 1
                        try self.write(
                            """
                            CREATE TABLE t\(version) (id integer);
                            INSERT INTO items VALUES (\(version), 'once'); INSERT INTO t\(version) VALUES (1)
                            """, version, in: directory)
                        return line
                    } check: { place, line in
                        try await self.checkMigration(name, version, line, directory, mortal, admin, place)
                    } survived: { _ in
                    }
                    try await admin.removeTenant(named: name)
                }
            }
        }

        private func checkMigration(
            _ name: String, _ version: Int, _ line: [String], _ directory: String, _ mortal: MortalCommand,
            _ admin: DatabaseAdmin, _ place: String
        ) async throws {
            let wasApplied = try await self.history(of: name).contains("app \(version) applied")
            let pending = wasApplied ? [] : ["app/\(String(10_000 + version).dropFirst())_m\(version)"]
            let sets = [try MigrationFolder(directory: directory, source: "app").set]
            let found = try await admin.migrationStatus(sets: sets)
            #expect(found.tenants.map(\.pending) == [pending], "\(place): \(found.tenants)")
            let answer = try await mortal.run(line + ["--output", "json"])
            #expect(answer.status == 0, "\(place): \(answer.notes)")
            // What the killed one had committed isn't told as the second one's.
            #expect(pending.allSatisfy { answer.output.contains($0) }, "\(place): \(answer.output)")
            #expect(!wasApplied || !answer.output.contains("_m\(version)"), "\(place): \(answer.output)")
            #expect(try await self.history(of: name) == (1...version).map { "app \($0) applied" }, "\(place)")
            let status = try await admin.migrationStatus(sets: sets)
            let areCurrent = status.tenants.allSatisfy { $0.isCurrent }
            #expect(areCurrent, "\(place): \(status.tenants)")
            let rows: Int = try await TenantFixture.withSuperuser {
                try await $0.query("SELECT count(*) FROM \(identifier: name).items").single()
            }
            #expect(rows == version - 1, "\(place)")
            #expect(try await Remains(of: name, admin).open.isEmpty, "\(place)")
        }

        @Test("an index build outside a transaction that was killed at any statement is finished by the same command")
        func aKilledIndexBuildIsFinished() async throws {
            let name = TenantFixture.name()
            try await MortalCommand.with { mortal in
                try await TenantFixture.withAdmin { admin in
                    let directory = try self.files(mortal.command)
                    _ = try await admin.createTenant(TenantConfig(name: name))
                    let line = ["migrate", "apply", "--migrations", directory + "=app"]
                    #expect(try await mortal.run(line).status == 0)
                    var version = 1
                    try await mortal.die(.init(every: 13), "migrate apply of an index build") {
                        version += 1
                        let marker = "-- migrate:no-transaction\n"
                        let build = "CREATE INDEX CONCURRENTLY i\(version) ON items (name)"
                        try self.write(build, version, marker, in: directory)
                        return line
                    } check: { place, line in
                        let answer = try await mortal.run(line)
                        #expect(answer.status == 0, "\(place): \(answer.notes)")
                        let all = (1...version).map { "app \($0) applied" }
                        #expect(try await self.history(of: name) == all, "\(place)")
                        let states: [Bool] = try await TenantFixture.withSuperuser {
                            try await $0.query(
                                "SELECT indisvalid FROM pg_index WHERE indrelid = to_regclass(\(name + ".items"))"
                            ).column("indisvalid")
                        }
                        // The primary key's, and one for each file but the first.
                        #expect(states == Array(repeating: true, count: version), "\(place)")
                    } survived: { _ in
                    }
                    try await admin.removeTenant(named: name)
                }
            }
        }

        @Test("a shared catalog whose making was killed at any statement is made by the same command")
        func aKilledMigrationOfTheSharedCatalogIsFinished() async throws {
            try await MortalCommand.with { mortal in
                try await TenantFixture.withAdmin { admin in
                    let user = try await admin.endpoint().user
                    let line = ["migrate", "apply", "--output", "json"]
                    try await mortal.die(.init(every: 9), "migrate apply of the shared catalog") {
                        // As bootstrap begins: there is the schema and nothing in it.
                        try await TenantFixture.withSuperuser {
                            try await $0.script(
                                """
                                DROP SCHEMA cloacina CASCADE;
                                CREATE SCHEMA cloacina AUTHORIZATION \(PostgresIdentifier.quote(user))
                                """)
                        }
                        return line
                    } check: { place, line in
                        let answer = try await mortal.run(line)
                        #expect(answer.status == 0, "\(place): \(answer.notes)")
                        let status = try await admin.migrationStatus()
                        #expect(status.controlPending.isEmpty && status.controlProblems.isEmpty, "\(place)")
                        #expect(status.controlVersion > 0, "\(place)")
                    } survived: { _ in
                        // Everything else that a bootstrap makes can be made on what was left.
                        try await admin.bootstrap()
                    }
                }
            }
        }

        /// A tenant's own history of the application's files.
        private func history(of name: String) async throws -> [String] {
            try await TenantFixture.withSuperuser { connection in
                let history = PostgresStatement(
                    """
                    SELECT concat_ws(' ', source, version, state) AS line
                    FROM \(PostgresIdentifier.quote(name)).cloacina_migrations WHERE source = 'app' ORDER BY version
                    """, prepared: false)
                return try await connection.query(history).column("line")
            }
        }
    }
}
