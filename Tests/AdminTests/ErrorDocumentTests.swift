import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import TestSupport
import Testing

@testable import cloacina_admin

/// One JSON document a command, errors included (point 14 of issue 11).
@Suite struct ErrorDocumentTests {
    private struct Document: Decodable {
        struct Body: Decodable {
            let code: String
            let message: String
            let tenant: String?
            let step: String?
            let sqlstate: String?
            let exit: Int32?
        }
        let error: Body
    }

    /// Every verb that has `--output`, with nobody at the other end of the connection.
    static let verbs: [[String]] = [
        ["bootstrap"], ["tenant", "create", "acme", "--dry-run"], ["tenant", "list"], ["tenant", "show", "acme"],
        ["tenant", "limits", "acme"], ["tenant", "drop", "acme", "--confirm", "acme"], ["migrate", "apply"],
        ["migrate", "status"], ["execution", "list", "--tenant", "acme"],
        ["execution", "show", ExecutionParsingTests.id, "--tenant", "acme"],
    ]

    private func run(_ arguments: [String]) async -> (CommandRunner.Outcome, Collector) {
        let collector = Collector()
        return (await CommandRunner(console: collector.console(terminal: false)).run(arguments), collector)
    }

    @Test("Every verb that fails writes one JSON document", arguments: verbs, ["json", "ndjson"])
    func everyVerbThatFailsWritesOneDocument(verb: [String], format: String) async throws {
        let arguments = verb + ["--output", format, "--database-url", "host=/nonexistent dbname=app user=adm"]
        let (outcome, collector) = await self.run(arguments)
        let document = try JSONDecoder().decode(Document.self, from: Data(collector.data.utf8))
        #expect(outcome.status == 75)
        #expect(document.error.exit == 75)
        #expect(!document.error.message.isEmpty)
        #expect(collector.notes.contains("error: \(document.error.message)"))
        #expect(format == "json" || collector.data.split(separator: "\n").count == 1)
    }

    @Test(
        "Wrong arguments do as well",
        arguments: [
            ["tenant", "create", "Acme", "--output", "json"], ["tenant", "show", "--output=json"],
            ["--output", "json", "nonsense"],
            ["dev", "start", "--output", "json", "--setting", "port=1"], ["tenant", "list", "--output", "json", "--x"],
            ["tenant", "list", "--output", "json", "--database-url", ""],
            ["tenant", "list", "--output", "json", "--database-url", "postgresql://h/d?schema=x"],
            ["dev", "status", "--output", "json", "--directory="],
            ["tenant", "create", "acme", "--output", "json", "--database-url", "postgresql://h/d"],
        ])
    func wrongArgumentsWriteOneDocument(arguments: [String]) async throws {
        let (outcome, collector) = await self.run(arguments)
        let document = try JSONDecoder().decode(Document.self, from: Data(collector.data.utf8))
        #expect(outcome == CommandRunner.Outcome(status: 2))
        #expect(document.error.exit == 2)
        #expect(!collector.notes.isEmpty)
    }

    @Test(arguments: [
        ["tenant", "show"], ["tenant", "show", "--", "--output", "json"], ["tenant", "show", "--output", "table"],
        ["tenant", "show", "--output", "json", "--output", "xml"],
    ])
    func otherFormatsHaveNone(arguments: [String]) async {
        let (outcome, collector) = await self.run(arguments)
        #expect(outcome.status == 2)
        #expect(collector.data.isEmpty)
    }

    @Test func theDocumentHasEveryKey() throws {
        let refused = PostgresError(.rejectedByServer, sqlState: "42501", serverMessage: "permission denied")
        let failure = Failure(
            AdminError(.insufficientPrivilege, "refused", tenant: "acme", step: "roles", underlying: refused))
        #expect(
            try Renderer.json(ErrorDocument(failure), indented: false) == """
                {"error":{"code":"insufficientPrivilege","complaints":[],"detail":"permission denied","exit":6,"hint":null,\
                "message":"insufficientPrivilege at step roles (SQLSTATE 42501): refused","sqlstate":"42501",\
                "step":"roles","tenant":"acme"}}
                """)
        #expect(
            try Renderer.json(ErrorDocument(Failure(CancellationError())), indented: false) == """
                {"error":{"code":"cancelled","complaints":[],"detail":null,"exit":null,"hint":null,"message":"interrupted",\
                "sqlstate":null,"step":null,"tenant":null}}
                """)
    }

    @Test("C12: a program reads each complaint of the migration files with its file and line")
    func complaintsHaveFileAndLine() async throws {
        try await withTemporaryDirectory { directory in
            for file in ["0001_a.tenant.sql", "0002_b.tenant.sql"] {
                try Data("SELECT 1\n".utf8).write(to: directory.appending(path: file))
            }
            let (outcome, collector) = await self.run([
                "migrate", "status", "--migrations", "\(directory.path)=app", "--output", "json",
            ])
            #expect(outcome.status == 1)
            #expect(collector.data.contains(#""file" : "0001_a.tenant.sql""#))
            #expect(collector.data.contains(#""file" : "0002_b.tenant.sql""#))
            #expect(collector.data.contains(#""line" : 1"#))
        }
    }

    @Test(
        "A value that is no migration and no id is refused with what is expected",
        arguments: [
            (["migrate", "rebless", "--all-tenants", "0001"], "SOURCE/VERSION"),
            (["migrate", "resolve", "--tenant", "acme", "app/x", "--as", "rerun"], "SOURCE/VERSION"),
            (["execution", "show", "019a", "--tenant", "acme"], "all 36 letters"),
            (["execution", "list", "--after", "019a", "--tenant", "acme"], "all 36 letters"),
        ])
    func whatIsExpectedIsSaid(arguments: [String], expected: String) async {
        let (outcome, collector) = await self.run(arguments)
        #expect(outcome.status == 2)
        #expect(collector.notes.contains(expected))
    }

    @Test(arguments: [
        (Failure(MigrationError(.checksumChanged)), "checksumChanged", String?.none),
        (Failure(PostgresError(.connectionFailed, sqlState: "28P01")), "connectionFailed", "28P01"),
        (
            Failure(AdminError(.migrationFailed, "", underlying: MigrationError(.serverRefused, sqlState: "42P07"))),
            "migrationFailed", "42P07"
        ),
        (Failure(CommandError(.privileges, "x")), "privileges", nil),
    ])
    func aProgramDecidesOnCodeAndState(failure: Failure, code: String, sqlState: String?) {
        #expect(failure.code == code)
        #expect(failure.sqlState == sqlState)
    }

    @Test(
        "L1: JSON holds nothing that a terminal obeys",
        arguments: [
            ("\u{7f}", "\\u007f"), ("\u{9b}31m", "\\u009b31m"), ("\u{80}", "\\u0080"), ("\u{202e}", "\\u202e"),
            ("\u{2066}", "\\u2066"), ("\u{2028}", "\\u2028"), ("\u{2029}", "\\u2029"), ("\u{200b}", "\\u200b"),
            ("\u{feff}", "\\ufeff"), ("\u{e0001}", "\\udb40\\udc01"), ("a\u{1b}b", "a\\u001bb"),
            ("naïve 名 😀", "naïve 名 😀"),
            ("a\nb", "a\\nb"),
        ])
    func jsonHoldsNothingThatATerminalObeys(text: String, written: String) throws {
        #expect(try Renderer.json(text, indented: false) == "\"\(written)\"")
        let document = try Renderer.json(["key\(text)": text], indented: true)
        #expect(document.unicodeScalars.allSatisfy { $0 == "\n" || !$0.isUnprintable })
        let read = try JSONDecoder().decode([String: String].self, from: Data(document.utf8))
        #expect(read == ["key\(text)": text])
    }
}
