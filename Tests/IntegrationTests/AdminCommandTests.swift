import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// The built command on a real server: what is empty, unknown or not encoded is refused before it leads anywhere.
    @Suite(.timeLimit(.minutes(40))) struct AdminCommandTests {
        private struct Document: Decodable {
            struct Body: Decodable {
                let code: String
                let tenant: String?
                let exit: Int32
            }
            let error: Body
        }

        private struct Shown: Decodable {
            struct Limits: Decodable {
                let connections: Int?
                let statementTimeoutMilliseconds: Int?
                let notInForce: [String]
            }
            let name: String
            let limits: Limits
        }

        /// Lends a tenant of the test's own database.
        private func withTenant(_ body: (AdminCommand, String) async throws -> Void) async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { _ = try await $0.createTenant(TenantConfig(name: name)) }
            try await AdminCommand.with { try await body($0, name) }
        }

        @Test("C36: an empty URL does not lead to the database that libpq's environment names")
        func anEmptyURLLeadsNowhere() async throws {
            try await self.withTenant { command, name in
                let url = try command.url()
                let elsewhere: [String: String?] = [
                    "PGHOST": url.host, "PGPORT": url.port.map { String($0) }, "PGUSER": url.user,
                    "PGPASSWORD": url.password, "PGDATABASE": String(url.path.dropFirst()),
                ]
                let drop = ["tenant", "drop", name, "--confirm", name]
                let byOption = try await command.run(
                    drop + ["--database-url", ""],
                    variables: elsewhere.merging([ConnectionOptions.environmentVariable: nil]) { $1 })
                #expect(byOption.status == 2)
                #expect(byOption.notes.contains("--database-url is set but empty"))
                let byVariable = try await command.run(
                    drop, variables: elsewhere.merging([ConnectionOptions.environmentVariable: ""]) { $1 })
                #expect(byVariable.status == 2)
                #expect(byVariable.notes.contains("CLOACINA_DATABASE_URL is set but empty"))
                #expect(byOption.output.isEmpty && byVariable.output.isEmpty)
                #expect(try await TenantFixture.traces(of: name).count >= 5)
            }
        }

        @Test(
            "C37, X6: a parameter that libpq does not know is named, with 2",
            arguments: [
                ("schema=public", "schema"), ("pgbouncer=true&connection_limit=1", "pgbouncer"),
                ("sslmode=no-verify", "sslmode"), ("search_path=public", "search_path"),
            ])
        func aStrangersParameterIsNamed(query: String, name: String) async throws {
            try await AdminCommand.with { command in
                let url = try #require(try command.url().string) + "?" + query
                let answer = try await command.run(
                    ["tenant", "list", "--output", "json"], variables: [ConnectionOptions.environmentVariable: url])
                #expect(answer.status == 2)
                #expect(answer.notes.contains(name), "\(answer.notes)")
                #expect(try answer.decoded(Document.self).error.exit == 2)
            }
        }

        @Test(
            "X6: a server without TLS, and a missing password, are not to be tried again",
            arguments: ["tls", "password"])
        func whatNeverWorksIsNotToBeTriedAgain(what: String) async throws {
            try await AdminCommand.with { command in
                var url = try command.url()
                if what == "password" { url.password = nil }
                let text = try #require(url.string) + (what == "tls" ? "?sslmode=require" : "")
                let answer = try await command.run(
                    ["tenant", "list"],
                    variables: [
                        ConnectionOptions.environmentVariable: text, "HOME": command.directory,
                        "PGPASSFILE": command.directory + "/none",
                    ])
                #expect(answer.status == 1, "\(answer.notes)")
            }
        }

        @Test(
            "L2: a password that is not encoded is refused and not repeated",
            arguments: ["s3cr3t/5", "p@s3cr3t", "12/s3cr3t"])
        func aPasswordThatIsNotEncodedIsNotRepeated(password: String) async throws {
            try await AdminCommand.with { command in
                let answer = try await command.run(
                    ["tenant", "list", "--output", "json"],
                    variables: [ConnectionOptions.environmentVariable: "postgresql://adm:\(password)@127.0.0.1:1/app"])
                #expect(answer.status == 2)
                #expect(answer.notes.contains("percent-encode"))
                for piece in ["s3c", "3cr", "cr3", "r3t"] {
                    #expect(!answer.notes.contains(piece) && !answer.output.contains(piece))
                }
            }
        }

        @Test func anErrorIsOneDocument() async throws {
            try await self.withTenant { command, name in
                let missing = try await command.run(["tenant", "show", "nobody", "--output", "json"])
                #expect(missing.status == 1)
                let error = try missing.decoded(Document.self).error
                #expect(error.code == "tenantNotFound" && error.tenant == "nobody" && error.exit == 1)
                let existing = try await command.run([
                    "tenant", "create", name, "--credentials-file", command.directory + "/c.json", "--output", "ndjson",
                ])
                #expect(existing.status == 1)
                #expect(try existing.decoded(Document.self).error.code == "tenantExists")
                #expect(existing.output.split(separator: "\n").count == 1)
            }
        }

        @Test func limitsAreShownAndChanged() async throws {
            try await self.withTenant { command, name in
                let changed = try await command.run([
                    "tenant", "limits", name, "--connections", "7", "--statement-timeout", "30s", "--output", "json",
                ])
                #expect(changed.status == 0, "\(changed.notes)")
                let shown = try await command.run(["tenant", "show", name, "--output", "json"])
                let limits = try shown.decoded(Shown.self).limits
                #expect(limits.connections == 7)
                #expect(limits.statementTimeoutMilliseconds == 30_000)
                #expect(limits.notInForce == ["temp_file_limit"])
                #expect(changed.notes.contains("GRANT SET ON PARAMETER temp_file_limit"))
                let table = try await command.run(["tenant", "limits", name])
                #expect(table.status == 0)
                #expect(table.output.contains("statement timeout    30s"))
            }
        }
    }
}
