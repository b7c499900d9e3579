import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// The verbs that change a history by hand, `rebless` and `resolve`: who is busy or fails is listed, and hides nobody.
    @Suite(.timeLimit(.minutes(40))) struct HistoryChangeTests {
        private static let old = [1: "CREATE TABLE a (id int);"]
        private static let new = "CREATE TABLE a (id bigint);"

        /// Lends an administrator who waits for nobody, and tenants that have the file with its old text.
        private func withTenants(
            _ suffixes: [String], _ body: (DatabaseAdmin, [String], MigrationSet) async throws -> Void
        ) async throws {
            let stem = TenantFixture.name()
            let names = suffixes.map { stem + $0 }
            var migration = MigrationRunner.Configuration()
            migration.lockWait = .zero
            let admin = DatabaseAdmin(
                try #require(TestDatabase.current).administrator, faults: .none, migration: migration)
            do {
                try await admin.bootstrap()
                let set = try MigrationFixture.set(Self.old)
                for name in names { _ = try await admin.createTenant(TenantFixture.config(name, sets: [set])) }
                try await body(admin, names, try MigrationFixture.set([1: Self.new]))
                for name in names { try await admin.removeTenant(named: name) }
            } catch {
                await admin.close()
                throw error
            }
            await admin.close()
        }

        /// Holds a lease in a session of another process of the administrator's.
        private func holding(
            _ object: String, _ body: (_ giveBack: @escaping @Sendable () async -> Void) async throws -> Void
        ) async throws {
            var configuration = try #require(TestDatabase.current).administrator
            configuration.applicationName = "other deployment"
            try await PostgresConnection.withConnection(configuration) { connection in
                let keeper = LeaseKeeper(connection: connection, schema: "cloacina")
                guard case .taken(let held) = try await keeper.attempt(Lease(object: object)) else {
                    Issue.record("somebody else holds the lease on \(object)")
                    return
                }
                try await body { _ = await keeper.release([held]) }
                // The server may end the session only a moment after it was closed.
                await keeper.release([held])
            }
        }

        /// Ties code to a tenant's history: it is not read any more.
        private func spoil(_ name: String) async throws {
            try await TenantFixture.withSuperuser {
                try await $0.script("ALTER TABLE \(name).cloacina_migrations ENABLE ROW LEVEL SECURITY")
            }
        }

        @Test("C02: of all tenants, who is done, busy or failed is listed, and the same call takes those that are left")
        func whoIsBusyIsListedAndTheOthersAreDone() async throws {
            try await self.withTenants(["_a", "_b", "_c", "_d"]) { admin, names, edited in
                try await self.spoil(names[2])
                try await self.holding("tenant \(names[1])") { _ in
                    let results = try await admin.reblessAll(1, of: "app", sets: [edited])
                    #expect(results.map(\.tenant) == names)
                    #expect(results.map(\.outcome) == [.reblessed, .busy, .failed, .reblessed])
                    #expect(results[1].failure?.text.contains("other deployment") == true)
                    #expect(results[2].failure?.text.contains("cloacina_migrations may run somebody's code") == true)
                    #expect(results[0].failure == nil)
                    let one = await #expect(throws: AdminError.self) {
                        try await admin.rebless(1, of: "app", tenant: names[1], sets: [edited])
                    }
                    #expect(one?.code == .busy)
                    #expect(one?.message.contains("other deployment") == true)
                }
                let rest = try await admin.reblessAll(1, of: "app", sets: [edited])
                #expect(rest.map(\.tenant) == [names[1], names[2]])
                #expect(rest.map(\.outcome) == [.reblessed, .failed])
                #expect(try await admin.migrationStatus(tenant: names[1], sets: [edited]).isCurrent)
            }
        }

        @Test("C02: the lease that all share is waited for once, not once per tenant")
        func theSharedLeaseIsWaitedForOnce() async throws {
            try await self.withTenants(["_a", "_b"]) { admin, names, edited in
                try await self.holding(Lease.control.object) { giveBack in
                    // Whoever asked again after the first refusal would be let in.
                    let results = try await admin.reblessAll(1, of: "app", sets: [edited]) { _ in await giveBack() }
                    #expect(results.map(\.outcome) == [.busy, .busy])
                }
                #expect(try await admin.reblessAll(1, of: "app", sets: [edited]).map(\.tenant) == names)
            }
        }

        @Test("C02: the command lists those that are done beside those that are not, in one document, and ends with 4")
        func theCommandListsThoseThatAreLeft() async throws {
            struct Line: Decodable, Equatable {
                let tenant: String
                let migration: String
                var change: String?
                let outcome: String
            }
            try await self.withTenants(["_a", "_b"]) { admin, names, _ in
                try await self.spoil(names[1])
                try await AdminCommand.with { command in
                    let text = "-- A table.\n-- migrate:up\n" + Self.new
                    try Data(text.utf8).write(to: URL(filePath: command.path("0001_m1.tenant.sql")))
                    let arguments = ["migrate", "rebless", "app/1", "--migrations", command.directory + "=app"]
                    let all = try await command.run(arguments + ["--all-tenants", "--output", "json"])
                    #expect(all.status == 4, "\(all.notes)")
                    #expect(
                        try all.decoded([Line].self) == [
                            Line(tenant: names[0], migration: "app/0001", change: "reblessed", outcome: "done"),
                            Line(tenant: names[1], migration: "app/0001", outcome: "failed"),
                        ])
                    #expect(all.notes.contains("\(names[0]): reblessed\n"))
                    #expect(all.notes.contains("\(names[1]): failed: "))
                    let one = try await command.run(arguments + ["--tenant", names[0], "--output", "json"])
                    #expect(one.status == 0, "\(one.notes)")
                    #expect(try one.decoded([Line].self).map(\.outcome) == ["done"])
                }
                #expect(try await admin.tenant(named: names[0]).versions == ["app": 1])
            }
        }

        @Test("C08: a tenant that somebody works on is not resolved meanwhile, and who works on it is named")
        func aBusyTenantIsNotResolved() async throws {
            try await self.withTenants([""]) { admin, names, _ in
                try await TenantFixture.withSuperuser {
                    try await $0.script(
                        "UPDATE \(names[0]).cloacina_migrations SET state = 'failed_unknown' WHERE source = 'app'")
                }
                try await self.holding("tenant \(names[0])") { _ in
                    let error = await #expect(throws: AdminError.self) {
                        try await admin.resolve(1, of: "app", tenant: names[0], as: .applied)
                    }
                    #expect(error?.code == .busy)
                    #expect(error?.message.contains("other deployment") == true)
                }
                try await admin.resolve(1, of: "app", tenant: names[0], as: .applied)
                let set = try MigrationFixture.set(Self.old)
                #expect(try await admin.migrationStatus(tenant: names[0], sets: [set]).isCurrent)
            }
        }
    }
}
