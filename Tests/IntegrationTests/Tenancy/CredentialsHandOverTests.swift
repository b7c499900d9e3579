import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// C4 and C7: a secret that was handed out works, and none is lost.
    @Suite(.timeLimit(.minutes(40))) struct CredentialsHandOverTests {
        struct Injected: Error {}

        struct Point: Sendable, CustomTestStringConvertible {
            let step: OperationStep
            let moment: FaultPoints.Moment
            var testDescription: String { "\(self.moment) \(self.step)" }

            static func all(_ steps: [OperationStep]) -> [Point] {
                steps.flatMap { step in FaultPoints.Moment.allCases.map { Point(step: step, moment: $0) } }
            }

            /// Kills the administrator's backend once, here.
            func cut(_ administrator: String) -> FaultPoints {
                FaultPoints { step, moment in
                    guard step == self.step, moment == self.moment else { return }
                    try await TenantFixture.withSuperuser { connection in
                        let kill: PostgresStatement = """
                            SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity
                            WHERE datname = current_database() AND application_name = \(administrator)
                            """
                        let killed: Int = try await connection.query(kill).single()
                        #expect(killed == 1)
                    }
                }
            }
        }

        private func administrator(_ name: String, _ faults: FaultPoints) throws -> DatabaseAdmin {
            var configuration = try #require(TestDatabase.current).administrator
            configuration.applicationName = name
            return DatabaseAdmin(configuration, patience: .seconds(5), faults: faults)
        }

        /// A process that dies at a point: whatever it left behind, file and all, stays.
        private func die(
            at point: Point, _ name: String, _ path: String,
            _ body: (DatabaseAdmin, @escaping @Sendable (TenantCredentials) async throws -> Void) async throws -> Void
        ) async throws {
            let admin = try self.administrator(name, point.cut(name))
            let file = try CredentialsFile(creating: path)
            try? await body(admin) { try file.write(CredentialsDocument($0)) }
            await admin.close()
        }

        @Test(
            "C7: a creation that was killed anywhere is finished by the same command",
            arguments: Point.all(OperationStep.creation))
        func aKilledCreationIsFinishedByTheSameCommand(at point: Point) async throws {
            let name = TenantFixture.name()
            try await AdminCommand.with { command in
                try await TenantFixture.withAdmin { admin in
                    let path = command.path("a.json")
                    try await self.die(at: point, name, path) { mortal, keep in
                        _ = try await mortal.createTenant(TenantConfig(name: name), handingOver: keep)
                    }
                    let answer = try await command.run("tenant", "create", name, "--credentials-file", path)
                    #expect(answer.status == 0, "\(answer.notes)")
                    let document = try command.document("a.json")
                    #expect(await document.logsIn())
                    #expect(document.tenant == name)
                    #expect(FileFacts(path + ".part") == nil)
                    #expect(try await admin.tenant(named: name).state == .active)
                    let ledger = try await TenantFixture.ledger(of: name)
                    #expect(ledger.last == "create deliver done")
                    #expect(!ledger.contains { $0.hasSuffix("started") })
                    try await admin.removeTenant(named: name)
                }
            }
        }

        @Test(
            "C7: a reissue that was killed anywhere is finished by the same command",
            arguments: Point.all(OperationStep.reissue))
        func aKilledReissueIsFinishedByTheSameCommand(at point: Point) async throws {
            let name = TenantFixture.name()
            try await AdminCommand.with { command in
                try await TenantFixture.withAdmin { admin in
                    let old = try await admin.createTenant(TenantConfig(name: name))
                    let path = command.path("b.json")
                    try await self.die(at: point, name, path) { mortal, keep in
                        _ = try await mortal.reissueCredentials(forTenant: name, handingOver: keep)
                    }
                    let wasDone = try await TenantFixture.ledger(of: name).last == "reissue password done"
                    let answer = try await command.run("tenant", "reissue", name, "--credentials-file", path)
                    #expect(answer.status == (wasDone ? 1 : 0), "\(answer.notes)")
                    #expect(!wasDone || answer.notes.contains("The secret in it works"))
                    let document = try command.document("b.json")
                    #expect(await document.logsIn())
                    await #expect(throws: PostgresError.self) {
                        try await TenantFixture.withTenant(old) { try await $0.query("SELECT 1") }
                    }
                    #expect(FileFacts(path + ".part") == nil)
                    #expect(try await TenantFixture.ledger(of: name).last == "reissue password done")
                    try await admin.removeTenant(named: name)
                }
            }
        }

        @Test(
            "C7: what broke off never goes on with an older file: its secret may be the stolen one",
            arguments: [true, false])
        func anOlderFileIsNotTakenForTheOneThatWasLeft(isReissue: Bool) async throws {
            let name = TenantFixture.name()
            let verb = isReissue ? "reissue" : "create"
            try await AdminCommand.with { command in
                try await TenantFixture.withAdmin { admin in
                    let (old, new) = (command.path("a.json"), command.path("b.json"))
                    #expect(try await command.run("tenant", "create", name, "--credentials-file", old).status == 0)
                    if !isReissue { try await admin.removeTenant(named: name) }
                    try await self.die(at: Point(step: .password, moment: .before), name, new) { mortal, keep in
                        if isReissue {
                            _ = try await mortal.reissueCredentials(forTenant: name, handingOver: keep)
                        } else {
                            _ = try await mortal.createTenant(TenantConfig(name: name), handingOver: keep)
                        }
                    }
                    let refused = try await command.run("tenant", verb, name, "--credentials-file", old)
                    #expect(refused.status == 1)
                    #expect(refused.notes.contains("exists already"))
                    let answer = try await command.run("tenant", verb, name, "--credentials-file", new)
                    #expect(answer.status == 0, "\(answer.notes)")
                    let (before, after) = (try command.document("a.json"), try command.document("b.json"))
                    #expect(await after.logsIn())
                    #expect(await !before.logsIn())
                    try await admin.removeTenant(named: name)
                }
            }
        }

        @Test("C7: credentials that can't be kept leave a tenant that the same call finishes")
        func credentialsThatCannotBeKeptAreNotInForce() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let lost = Recorder()
                let error = await #expect(throws: AdminError.self) {
                    try await admin.createTenant(TenantConfig(name: name)) {
                        lost.append($0.connectionString)
                        throw Injected()
                    }
                }
                #expect(error?.code == .handOverFailed)
                #expect(error?.underlying is Injected)
                #expect(try await admin.tenant(named: name).state == .creating)
                await #expect(throws: PostgresError.self) {
                    try await PostgresConnection.withConnection(PostgresConfiguration(lost.values[0])) {
                        _ = try await $0.query("SELECT 1")
                    }
                }
                let credentials = try await admin.createTenant(TenantConfig(name: name))
                try await TenantFixture.withTenant(credentials) { try await $0.query("SELECT 1") }
                try await admin.removeTenant(named: name)
            }
        }

        @Test("C7: a whole file of another tenant, or of a tenant that is in use, is not touched")
        func aFileOfSomethingElseIsNotTouched() async throws {
            let (name, other) = (TenantFixture.name(), TenantFixture.name())
            try await AdminCommand.with { command in
                try await TenantFixture.withAdmin { admin in
                    let path = command.path("a.json")
                    #expect(try await command.run("tenant", "create", name, "--credentials-file", path).status == 0)
                    let document = try command.document("a.json")
                    let refused = [
                        try await command.run("tenant", "create", other, "--credentials-file", path),
                        try await command.run("tenant", "reissue", name, "--credentials-file", path),
                    ]
                    for answer in refused {
                        #expect(answer.status == 1)
                        #expect(answer.notes.contains("exists already"))
                    }
                    #expect(try command.document("a.json") == document)
                    #expect(await document.logsIn())
                    #expect(try await admin.tenants().map(\.name) == [name])
                    try await admin.removeTenant(named: name)
                }
            }
        }

        @Test("C4: a creation gives its lease back only when its end is committed")
        func aLeaseOutlastsTheCommitThatItProtects() async throws {
            let name = TenantFixture.name()
            let seen = Recorder()
            let faults = FaultPoints { step, moment in
                guard step == .deliver, moment == .after else { return }
                try await TenantFixture.withSuperuser { connection in
                    let row = try await connection.query(
                        """
                        SELECT t.state || ' ' || (SELECT count(*) FROM cloacina.leases l WHERE l.object = 'tenant ' || t.name)
                        AS line FROM cloacina.tenants t WHERE t.name = \(name)
                        """)
                    seen.append(try row.single())
                }
            }
            try await TenantFixture.withAdmin(faults: faults) { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                #expect(seen.values == ["active 1"])
                try await TenantFixture.withSuperuser { connection in
                    let leases: Int = try await connection.query("SELECT count(*) FROM cloacina.leases").single()
                    #expect(leases == 0)
                }
                try await admin.removeTenant(named: name)
            }
        }

        @Test("C4: of two creations at once one succeeds and its credentials work, on a slow disk too")
        func ofTwoCreationsOnASlowDiskOneSucceeds() async throws {
            let database = try #require(TestDatabase.current)
            try await TenantFixture.withSuperuser {
                try await $0.script(
                    """
                    ALTER DATABASE \(database.name) SET commit_delay = 20000;
                    ALTER DATABASE \(database.name) SET commit_siblings = 0
                    """)
            }
            try await TenantFixture.withAdmin { admin in
                for _ in 0..<10 {
                    let name = TenantFixture.name()
                    let outcomes = await withTaskGroup(of: Result<TenantCredentials, any Error>.self) { group in
                        for _ in 0..<2 {
                            group.addTask {
                                let creator = DatabaseAdmin(database.administrator)
                                let result: Result<TenantCredentials, any Error>
                                do {
                                    result = .success(try await creator.createTenant(TenantConfig(name: name)))
                                } catch {
                                    result = .failure(error)
                                }
                                await creator.close()
                                return result
                            }
                        }
                        return await group.reduce(into: []) { $0.append($1) }
                    }
                    let credentials = outcomes.compactMap { try? $0.get() }
                    #expect(credentials.count == 1)
                    for one in credentials {
                        try await TenantFixture.withTenant(one) { try await $0.query("SELECT 1") }
                    }
                    try await admin.removeTenant(named: name)
                }
            }
        }

        @Test("C4: an operation whose lease was deleted by hand stops before it delivers")
        func anOperationWithoutItsLeaseStops() async throws {
            let name = TenantFixture.name()
            let faults = FaultPoints { step, moment in
                guard step == .deliver, moment == .before else { return }
                try await TenantFixture.withSuperuser { try await $0.script("DELETE FROM cloacina.leases") }
            }
            try await TenantFixture.withAdmin { admin in
                let robbed = try self.administrator(name, faults)
                let error = await #expect(throws: AdminError.self) {
                    try await robbed.createTenant(TenantConfig(name: name))
                }
                await robbed.close()
                #expect(error?.code == .busy)
                #expect(try await admin.tenant(named: name).state == .creating)
                _ = try await admin.createTenant(TenantConfig(name: name))
                try await admin.removeTenant(named: name)
            }
        }

        @Test("M6: a verifier is in no log of a server that logs only what fails")
        func aFailedCreationLeavesNoVerifierInTheLog() async throws {
            let log = try ServerLog.begin()
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                try await TenantFixture.withSuperuser { holder in
                    // Another session makes a role of the name and commits while ours waits for it.
                    try await holder.script("BEGIN; CREATE ROLE \(name)_a")
                    let creation = Task { try await admin.createTenant(TenantConfig(name: name)) }
                    try await TenantFixture.withSuperuser { watcher in
                        try await watcher.waitUntil(
                            """
                            SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                                           AND wait_event_type = 'Lock' AND query LIKE 'CREATE ROLE%')
                            """)
                    }
                    try await holder.script("COMMIT")
                    let result = await creation.result
                    #expect { try result.get() } throws: {
                        ($0 as? AdminError)?.code == .roleExists || $0 is AdminError
                    }
                    try await holder.script("DROP ROLE \(name)_a")
                }
            }
            let lines = try log.lines(with: name + "_a")
            #expect(!lines.isEmpty)  // what was looked for could have been there
            #expect(lines.allSatisfy { !$0.contains("SCRAM-SHA-256$") })
        }
    }
}
