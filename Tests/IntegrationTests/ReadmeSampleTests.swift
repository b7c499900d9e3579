import Cloacina
import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Testing

// The README's samples, to the letter; `ReadmeTests` among the tests of CloacinaTesting compares.

// README begins
func runPipeline(admin: DatabaseAdmin, pool: PostgresPool, tenant: String) async throws -> PipelineResult {
    let etl = try Workflow("etl") {
        WorkflowTask("extract") { context in try context.set("rows", to: [1, 2, 3]) }
        WorkflowTask("load", after: "extract") { context, scope in
            let rows = try context.get("rows", as: [Int].self)
            try await scope.withConnection { _ = try await $0.query("INSERT INTO numbers SELECT unnest(\(rows))") }
        }
    }
    let label = try await admin.tenant(named: tenant).label(.role)
    return try await DefaultRunner(pool: pool, label: label, workflows: [etl]).execute("etl")
}
// README ends

// README begins
@Workflow(name: "orders", description: "Charge, then ship or apologise")
struct Orders {
    @Task(retry: .exponential(4).retrying(when: .transientOnly), timeout: .seconds(30))
    func charge(_ context: inout Context) async throws {
        try context.set("charged", to: context.get("cents", as: Int.self))
    }

    @Task(dependencies: ["charge"])
    func ship(_ context: inout Context) async throws { try context.set("shipped", to: true) }

    @Task(dependencies: ["charge"], triggerRules: .taskFailed("charge"))
    func apologise(_ context: inout Context) async throws { try context.set("apologised", to: true) }
}
// DefaultRunner(pool: pool, label: label, workflows: [Orders().workflow])
// README ends

// README begins
func billing() throws -> Workflow {
    try Workflow("billing") {
        WorkflowTask("invoices", retry: .fixed(3, delay: .seconds(60))) { context, scope in
            let customers = try context.get("customers", as: [Int].self)
            let results = try await scope.executeEach("invoice", over: customers, id: \.self, limit: 8) { customer in
                try Context(["customer": JSONValue(encoding: customer)])
            }
            for result in results { try result.completed() }
        }
    }
}
// README ends

// README begins
func serve(
    _ tenants: [String], admin: DatabaseAdmin, pool: PostgresPool, listener: PostgresConfiguration, workflow: Workflow
) async throws {
    var runners: [DefaultRunner] = []
    for name in tenants {
        let label = try await admin.tenant(named: name).label(.role)
        runners.append(try DefaultRunner(pool: pool, label: label, workflows: [workflow]))
    }
    try await RunnerGroup(runners, listeningOn: listener).run()
}
// README ends

@Suite struct ReadmeRunTests {
    @Test(arguments: [("500", "shipped"), ("\"much\"", "apologised")])
    func theReadmesMacrosRun(cents: String, outcome: String) async throws {
        let place = FileManager.default.temporaryDirectory.appending(path: "readme-\(UUID())")
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: place) }
        let runner = try await DefaultRunner(
            sqliteAt: place.appending(path: "acme.sqlite"), workflows: [Orders().workflow])
        let result = try await runner.execute("orders", context: Context(parsing: "{\"cents\":\(cents)}"))
        #expect(result.finalContext[outcome] == true)
        #expect((result.status == .completed) == (outcome == "shipped"))
    }
}

extension ReadmeRunTests {
    @Test func theReadmesChildrenRun() async throws {
        let place = FileManager.default.temporaryDirectory.appending(path: "readme-\(UUID())")
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: place) }
        let invoice = try Workflow("invoice") {
            WorkflowTask("write") { context in try context.set("paid", to: context.get("customer", as: Int.self)) }
        }
        let runner = try await DefaultRunner(
            sqliteAt: place.appending(path: "acme.sqlite"), workflows: [billing(), invoice])
        try await runner.execute("billing", context: Context(["customers": [7, 8, 9]])).completed()
        #expect(try await runner.list(PipelineQuery(workflow: "invoice", statuses: [.completed])).count == 3)
    }
}

extension ServerTests {
    @Suite struct ReadmeSampleTests {
        /// Lends an administrator and the login of a service.
        private func withService(_ body: (DatabaseAdmin, PostgresConfiguration) async throws -> Void) async throws {
            try await TenantFixture.withAdmin(bootstrap: false) { admin in
                var options = BootstrapOptions()
                options.serviceRole = TestDatabase.uniqueName("service")
                options.servicePassword = TestDatabase.uniqueName("password")
                _ = try await admin.bootstrap(options)
                var service = try #require(TestDatabase.current).administrator
                service.user = options.serviceRole
                service.password = options.servicePassword
                try await body(admin, service)
            }
        }

        @Test func theReadmesSampleRuns() async throws {
            try await self.withService { admin, service in
                let text = "-- The sample's table.\n-- migrate:up\nCREATE TABLE numbers (value bigint NOT NULL);\n"
                let migration = try Migration(fileName: "0001_numbers.tenant.sql", contents: Array(text.utf8))
                var config = TenantConfig(name: TenantFixture.name())
                config.migrationSets = [try MigrationSet(source: "sample", lane: .tenant, migrations: [migration])]
                _ = try await admin.createTenant(config)
                try await PostgresPool.withPool(PostgresPoolConfiguration(service)) { pool in
                    let result = try await runPipeline(admin: admin, pool: pool, tenant: config.name)
                    #expect(result.status == .completed)
                    let label = try await admin.tenant(named: config.name).label(.role)
                    let numbers: [Int] = try await pool.withConnection(label) { lease in
                        try await lease.query("SELECT value FROM numbers ORDER BY 1").column("value")
                    }
                    #expect(numbers == [1, 2, 3])
                }
            }
        }

        @Test func theReadmesGroupServesBothTenants() async throws {
            try await self.withService { admin, service in
                let tenants = [TenantFixture.name(), TenantFixture.name()]
                for name in tenants { _ = try await admin.createTenant(TenantConfig(name: name)) }
                let workflow = try Orders().workflow
                try await PostgresPool.withPool(PostgresPoolConfiguration(service)) { pool in
                    let serving = Task {
                        try await serve(tenants, admin: admin, pool: pool, listener: service, workflow: workflow)
                    }
                    defer { serving.cancel() }
                    for (name, cents) in zip(tenants, [500, 700]) {
                        // Serves nothing itself: what it puts into the queue is the group's to run.
                        let label = try await admin.tenant(named: name).label(.role)
                        let client = try DefaultRunner(pool: pool, label: label, workflows: [workflow])
                        let id = try await client.enqueue("orders", context: Context(["cents": .integer(Int64(cents))]))
                            .id
                        let result = try await client.result(of: id)
                        #expect(result.status == .completed)
                        #expect(try result.finalContext.get("charged", as: Int.self) == cents)
                        #expect(try await client.list().map(\.id) == [id])
                    }
                    serving.cancel()
                    try await serving.value
                }
            }
        }
    }
}
