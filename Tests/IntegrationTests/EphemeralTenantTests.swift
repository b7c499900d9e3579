import Cloacina
import CloacinaPostgres
import CloacinaTenancy
import CloacinaTesting
import FoundationEssentials
import Synchronization
import Testing

extension ServerTests {
    @Suite struct EphemeralTenantTests {
        private struct Deliberate: Error {}

        /// The administrator's URL, with the test's own database in it.
        private func url() throws -> String {
            let database = try #require(TestDatabase.current)
            var components = try #require(URLComponents(string: database.server.administratorURL))
            components.path = "/" + database.name
            return try #require(components.string)
        }

        @Test func aTenantRunsAWorkflowAndLeavesNoTrace() async throws {
            let name = try await EphemeralTenant.withTenant(
                on: try self.url(), prefix: "shop", migrationSets: try TenantFixture.sets()
            ) { tenant in
                let workflow = try Workflow("w") {
                    WorkflowTask("t") { context, scope in
                        let user = try await scope.withConnection { lease in
                            try await lease.query(
                                "INSERT INTO items (name) VALUES ('one') RETURNING current_user::text"
                            ).single(as: String.self)
                        }
                        try context.set("user", to: user)
                    }
                }
                let result = try await tenant.runner(workflow).execute("w")
                try result.expect(.completed).expectContext("user", equals: tenant.credentials.username)
                #expect(try await TenantFixture.traces(of: tenant.tenant.name).count == 6)
                return tenant.tenant.name
            }
            #expect(name.hasPrefix("shop_"))
            #expect(try await TenantFixture.traces(of: name) == [])
        }

        @Test func aTenantIsRemovedWhenTheBodyThrows() async throws {
            let name = Mutex("")
            await #expect(throws: Deliberate.self) {
                try await EphemeralTenant.withTenant(on: try self.url()) { tenant in
                    name.withLock { $0 = tenant.tenant.name }
                    throw Deliberate()
                }
            }
            #expect(try await TenantFixture.traces(of: name.withLock { $0 }) == [])
        }

        @Test func aTenantIsRemovedWhenTheTaskIsCancelled() async throws {
            let name = Mutex("")
            let url = try self.url()
            let task = Task {
                try await EphemeralTenant.withTenant(on: url) { tenant in
                    name.withLock { $0 = tenant.tenant.name }
                    unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
                    try await tenant.pool.withConnection(tenant.label) { _ = try await $0.query("SELECT pg_sleep(60)") }
                }
            }
            await #expect(throws: (any Error).self) { try await task.value }
            #expect(name.withLock { !$0.isEmpty })
            #expect(try await TenantFixture.traces(of: name.withLock { $0 }) == [])
        }

        @Test func manyAtATimeDoNotGetInEachOthersWay() async throws {
            let url = try self.url()
            let names = try await withThrowingTaskGroup(of: String.self) { group in
                for _ in 0..<4 {
                    group.addTask { try await EphemeralTenant.withTenant(on: url) { $0.tenant.name } }
                }
                return try await group.reduce(into: Set()) { $0.insert($1) }
            }
            #expect(names.count == 4)
            for name in names { #expect(try await TenantFixture.traces(of: name) == []) }
        }
    }
}
