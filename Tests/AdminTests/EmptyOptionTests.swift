import ArgumentParser
import Testing

@testable import cloacina_admin

/// What is set but empty never means that it is not there (C36).
@Suite struct EmptyOptionTests {
    /// Every verb that reaches a server.
    static let verbs = [
        ["bootstrap"], ["tenant", "create", "acme", "--password-stdin"], ["tenant", "list"],
        ["tenant", "show", "acme"],
        ["tenant", "limits", "acme"], ["tenant", "drop", "acme", "--confirm", "acme"],
        ["tenant", "drop", "acme", "--dry-run"],
        ["migrate", "apply"], ["migrate", "status"], ["execution", "list", "--tenant", "acme"],
        ["execution", "show", ExecutionParsingTests.id, "--tenant", "acme"],
        ["execution", "graph", ExecutionParsingTests.id, "--tenant", "acme", "--definition", "w.json"],
    ]

    @Test("C36: --database-url \"\" ends every verb with 2", arguments: verbs)
    func anEmptyURLEndsEveryVerbWithTwo(verb: [String]) async {
        for url in [["--database-url", ""], ["--database-url="], ["--database-url", " \t"]] {
            // A blank one is seen where the connection begins, which two verbs reach only after reading their input.
            if url.last?.isEmpty == false, url.count == 2, verb.contains("--password-stdin") || verb.contains("graph") {
                continue
            }
            let collector = Collector()
            let outcome = await CommandRunner(console: collector.console(terminal: false)).run(verb + url)
            #expect(outcome == CommandRunner.Outcome(status: 2))
            #expect(collector.notes.contains("--database-url is set but empty"), "\(collector.notes)")
            #expect(collector.data.isEmpty)
        }
    }

    @Test(
        "C36: an empty variable never falls through to the next place",
        arguments: [
            (["CLOACINA_DATABASE_URL": ""], "CLOACINA_DATABASE_URL"),
            (["CLOACINA_DATABASE_URL": "  ", "PGHOST": "elsewhere"], "CLOACINA_DATABASE_URL"),
            (["PGHOST": ""], "PGHOST"), (["PGHOST": "h", "PGDATABASE": ""], "PGDATABASE"),
            (["PGSERVICE": ""], "PGSERVICE"),
            (["PGUSER": ""], "PGUSER"), (["PGPORT": " "], "PGPORT"), (["PGHOSTADDR": ""], "PGHOSTADDR"),
            (["PGSERVICEFILE": ""], "PGSERVICEFILE"),
        ])
    func anEmptyVariableIsRefused(environment: [String: String], name: String) throws {
        let options = try ConnectionOptions.parse([])
        let refused = failure { _ = try options.configuration(environment: environment) }
        #expect(refused?.status == .usage)
        #expect(refused?.message.hasPrefix("\(name) is set but empty") == true)
    }

    @Test func whatAURLOverridesMayBeEmpty() throws {
        let environment = ["CLOACINA_DATABASE_URL": "postgresql://h/d", "PGDATABASE": ""]
        #expect(failure { _ = try ConnectionOptions.parse([]).configuration(environment: environment) } == nil)
        let options = try ConnectionOptions.parse(["--database-url", "postgresql://h/d"])
        #expect(failure { _ = try options.configuration(environment: ["CLOACINA_DATABASE_URL": ""]) } == nil)
    }

    @Test(arguments: [
        (["dev", "start", "--directory", ""], "--directory"), (["dev", "stop", "--directory="], "--directory"),
        (["tenant", "create", "a", "--credentials-file", "", "--yes"], "--credentials-file"),
        (["migrate", "apply", "--tenant", ""], "--tenant"), (["execution", "list", "--workflow="], "--workflow"),
        (["tenant", "drop", "a", "--confirm", ""], "--confirm"),
    ])
    func anOptionWithoutAValueIsFound(arguments: [String], option: String) {
        #expect(EmptyOption.first(in: arguments) == option)
    }

    @Test(arguments: [
        ["tenant", "create", ""], ["tenant", "show", "--", "--x", ""], ["dev", "start", "--setting", "a="],
        ["dev", "start", "--setting=a="], ["tenant", "list"], [],
    ])
    func whatIsNoOptionWithoutAValueIsNot(arguments: [String]) {
        #expect(EmptyOption.first(in: arguments) == nil)
    }
}
