import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// A tenant that does all it can, all the time, to stay. Issue 11, point 2.
    @Suite(
        .serialized, .privateServer { _ in [ServerSetting("max_prepared_transactions", "10")] },
        .timeLimit(.minutes(40)))
    struct HostileTenantTests {
        /// One thing that is done again and again, over a new connection each time.
        private struct Attack: Sendable {
            var database: String?
            let scripts: [String]

            private static let hold = "SELECT pg_sleep(300)"

            static func all(_ login: String) -> [Attack] {
                [
                    Attack(scripts: ["BEGIN; ALTER ROLE \(login) PASSWORD 'x'; \(Self.hold)"]),
                    Attack(scripts: ["BEGIN; ALTER ROLE \(login) SET work_mem = '1MB'; \(Self.hold)"]),
                    Attack(scripts: ["BEGIN; LOCK TABLE items IN ACCESS SHARE MODE; \(Self.hold)"]),
                    Attack(scripts: ["BEGIN; INSERT INTO items (name) VALUES ('x'); SELECT lo_create(0); \(Self.hold)"]
                    ),
                    Attack(scripts: ["SELECT lo_create(0) FROM generate_series(1, 200)"]),
                    Attack(database: "postgres", scripts: ["SELECT lo_create(0)"]),
                    Attack(
                        database: "template1",
                        scripts: ["SELECT lo_create(0)", "BEGIN; SELECT lo_create(0); \(Self.hold)"]),
                    Attack(
                        scripts: [
                            "BEGIN; ALTER ROLE \(login) SET work_mem = '2MB'; SELECT lo_create(0)",
                            "PREPARE TRANSACTION 'one of \(login)'",
                        ]),
                    Attack(
                        database: "postgres",
                        scripts: ["BEGIN; SELECT lo_create(0)", "PREPARE TRANSACTION 'two of \(login)'"]),
                ]
            }

            /// Attacks until the task is cancelled; says so once it has begun, elsewhere with something left there.
            func run(_ credentials: TenantCredentials, begun: AsyncStream<Void>.Continuation) async {
                var configuration = PostgresConfiguration(credentials.connectionString)
                if let database { configuration.database = database }
                var hasBegun = false
                while !Task.isCancelled {
                    try? await PostgresConnection.withConnection(configuration) { connection in
                        for script in self.scripts {
                            // What is held open here, or waits for the other attacks, does not return.
                            if !hasBegun, self.database == nil {
                                begun.yield()
                                hasBegun = true
                            }
                            try await connection.script(script)
                            if !hasBegun { begun.yield() }
                            hasBegun = true
                        }
                    }
                    await Task.yield()
                }
            }
        }

        @Test("C3: a tenant that fights back by every means at once is gone within the patience")
        func aTenantThatFightsBackIsGoneWithinThePatience() async throws {
            try await withPrivateDatabase { _ in
                let name = TenantFixture.name()
                try await TenantFixture.withAdmin(patience: .seconds(60)) { admin in
                    let credentials = try await admin.createTenant(
                        TenantFixture.config(name, sets: TenantFixture.sets()))
                    let attacks = Attack.all(credentials.username)
                    let report = try await withThrowingTaskGroup(of: Void.self) { group in
                        let (begun, continuation) = AsyncStream.makeStream(of: Void.self)
                        for attack in attacks {
                            group.addTask { await attack.run(credentials, begun: continuation) }
                        }
                        var waiting = attacks.count
                        for await _ in begun {
                            waiting -= 1
                            if waiting == 0 { break }
                        }
                        defer { group.cancelAll() }
                        return try await admin.removeTenant(named: name)
                    }
                    #expect(report.endedSessions > 0)
                    #expect(report.proof.allSatisfy { $0.remaining == 0 })
                    #expect(Set(report.cleanedDatabases).isSuperset(of: ["postgres", "template1"]))
                    #expect(try await admin.tenants().isEmpty)
                }
                #expect(try await TenantFixture.traces(of: name).isEmpty)
                #expect(try await self.leftovers() == 0)
            }
        }

        /// Large objects in the databases that were attacked, and prepared transactions anywhere.
        private func leftovers() async throws -> Int {
            var count = 0
            for database in ["postgres", "template1", try #require(TestDatabase.current).name] {
                var configuration = try #require(TestDatabase.current).superuser
                configuration.database = database
                count += try await PostgresConnection.withConnection(configuration) {
                    try await $0.query(
                        """
                        SELECT (SELECT count(*) FROM pg_largeobject_metadata) + (SELECT count(*) FROM pg_prepared_xacts)
                        """
                    ).single(as: Int.self)
                }
            }
            return count
        }
    }
}
