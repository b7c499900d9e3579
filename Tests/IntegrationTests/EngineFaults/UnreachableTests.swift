import CloacinaPostgres
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// A runner whose database isn't there, or isn't what it was said to be: told at once, with the cause.
    @Suite(.timeLimit(.minutes(40))) struct UnreachableTests {
        /// Tries for ever where trying helps; what is tested here is that it isn't tried.
        private static func cause(
            _ configuration: PostgresConfiguration, _ label: PostgresLabel
        ) async throws -> PostgresError? {
            var patient = RunnerConfiguration()
            patient.databasePatience = .seconds(86_400)
            let workflow = try Workflow("w") { WorkflowTask("t") { _ in Issue.record("it ran") } }
            return try await PostgresPool.withPool(PostgresPoolConfiguration(configuration)) { pool in
                let runner = try DefaultRunner(pool: pool, label: label, workflows: [workflow], configuration: patient)
                let error = await #expect(throws: PipelineError.self) { try await runner.execute("w") }
                #expect(error?.code == .storageFailed)
                let queued = await #expect(throws: PipelineError.self) { try await runner.enqueue("w") }
                #expect(queued?.code == .storageFailed)
                let listing = await #expect(throws: PipelineError.self) { try await runner.list() }
                #expect(listing?.code == .storageFailed)
                let codes = [error, queued, listing].map { ($0?.underlying as? PostgresError)?.code }
                #expect(Set(codes).count == 1, "\(codes)")
                #expect(error?.isTransient == false)
                await runner.shutDown(drain: .zero)
                return error?.underlying as? PostgresError
            }
        }

        @Test(arguments: ["no_such_schema", "'; DROP SCHEMA public; --", "ü\u{1F4E6}", "public\" CASCADE"])
        func aSchemaThatIsntThereIsTold(schema: String) async throws {
            let database = try #require(TestDatabase.current).superuser
            let error = try await Self.cause(database, PostgresLabel(schema: schema))
            #expect(error?.code == .missingSchema)
        }

        /// No schema has such a name, so the server isn't asked. Cut to what the server keeps of it, one would be another's.
        @Test(arguments: ["", String(repeating: "x", count: 64), String(repeating: "ü", count: 32), "a\0b"])
        func aSchemaThatCantBeOneIsTold(schema: String) async throws {
            let database = try #require(TestDatabase.current).superuser
            if schema.utf8.count > 63 {
                try await TenantFixture.withSuperuser {
                    try await $0.script("CREATE SCHEMA \(PostgresIdentifier.quote(schema))")
                }
            }
            let error = try await Self.cause(database, PostgresLabel(schema: schema))
            #expect(error?.code == .invalidValue)
        }

        @Test func aSchemaWithoutTheTablesIsTold() async throws {
            let database = try #require(TestDatabase.current).superuser
            try await TenantFixture.withSuperuser { _ = try await $0.query("CREATE SCHEMA empty") }
            let error = try await Self.cause(database, PostgresLabel(schema: "empty"))
            #expect(error?.code == .rejectedByServer && error?.sqlState == "42P01")
        }

        @Test func aRoleThatIsntThereIsTold() async throws {
            let database = try #require(TestDatabase.current).superuser
            let error = try await Self.cause(database, PostgresLabel(schema: "public", role: "no_such_role"))
            #expect(error?.code == .labelRefused)
        }

        @Test(arguments: [
            "postgresql://[::1", "host", "no_such_option=1", "host='unclosed",
            "postgresql://a@%zz/x", "postgresql:///x?no_such_option=1",
        ])
        func aConnectionStringThatCantBeReadIsTold(text: String) async throws {
            let error = try await Self.cause(PostgresConfiguration(text), PostgresLabel(schema: "public"))
            #expect(error?.code == .invalidConnectionString)
        }
    }
}
