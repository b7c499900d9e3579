import Cloacina
import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Testing

// The README's sample, to the letter; `theReadmeShowsThisSample` compares.
// sample begins
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
// sample ends

@Suite struct ReadmeTests {
    @Test func theReadmeShowsThisSample() throws {
        let here = URL(filePath: #filePath)
        let source = String(decoding: try Data(contentsOf: here), as: UTF8.self)
        let root = here.deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let readme = String(decoding: try Data(contentsOf: root.appending(path: "README.md")), as: UTF8.self)
        let lines = source.split(separator: "\n", omittingEmptySubsequences: false)
        let begin = try #require(lines.firstIndex(of: "// sample begins"))
        let end = try #require(lines.firstIndex(of: "// sample ends"))
        let sample = lines[(begin + 1)..<end].joined(separator: "\n")
        #expect(readme.contains("```swift\n\(sample)\n```"))
    }
}

extension ServerTests {
    @Suite struct ReadmeSampleTests {
        @Test func theReadmesSampleRuns() async throws {
            try await TenantFixture.withAdmin(bootstrap: false) { admin in
                var options = BootstrapOptions()
                options.serviceRole = TestDatabase.uniqueName("service")
                options.servicePassword = TestDatabase.uniqueName("password")
                _ = try await admin.bootstrap(options)
                let text = "-- The sample's table.\n-- migrate:up\nCREATE TABLE numbers (value bigint NOT NULL);\n"
                let migration = try Migration(fileName: "0001_numbers.tenant.sql", contents: Array(text.utf8))
                var config = TenantConfig(name: TenantFixture.name())
                config.migrationSets = [try MigrationSet(source: "sample", lane: .tenant, migrations: [migration])]
                _ = try await admin.createTenant(config)
                var configuration = PostgresPoolConfiguration(try #require(TestDatabase.current).administrator)
                configuration.connection.user = options.serviceRole
                configuration.connection.password = options.servicePassword
                try await withPool(configuration) { pool in
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
    }
}
