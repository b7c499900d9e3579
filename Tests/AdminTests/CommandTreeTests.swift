import ArgumentParser
import FoundationEssentials
import Testing

@testable import cloacina_admin

/// A call of every verb of the command that needs no server to end.
enum CommandTree {
    struct Call: Sendable {
        let rest: [String]
        let status: Int32
    }

    /// The words of every verb, by the parser's own tree.
    static let verbs = CloacinaAdmin.verbs.map { $0.words }

    /// The call of each verb, by its words, and its status: 75 where nobody is at the other end.
    static let calls: [String: Call] = [
        "bootstrap": Call(rest: [], status: 75),
        "tenant create": Call(rest: ["acme", "--credentials-file", "/nonexistent/c.json"], status: 75),
        "tenant list": Call(rest: [], status: 75), "tenant show": Call(rest: ["acme"], status: 75),
        "tenant limits": Call(rest: ["acme", "--connections", "7"], status: 75),
        "tenant reissue": Call(rest: ["acme", "--credentials-file", "/nonexistent/c.json"], status: 75),
        "tenant access": Call(rest: ["acme", "--engine"], status: 75),
        "tenant adopt": Call(rest: ["acme"], status: 75),
        "tenant drop": Call(rest: ["acme", "--confirm", "acme"], status: 75),
        "migrate apply": Call(rest: [], status: 75), "migrate status": Call(rest: [], status: 75),
        "migrate rebless": Call(rest: ["app/1", "--all-tenants"], status: 75),
        "migrate resolve": Call(rest: ["app/1", "--tenant", "acme", "--as", "applied"], status: 75),
        "execution list": Call(rest: ["--tenant", "acme"], status: 75),
        "execution stranded": Call(rest: ["--tenant", "acme"], status: 75),
        "execution show": Call(rest: [ExecutionParsingTests.id, "--tenant", "acme"], status: 75),
        "execution graph": Call(
            rest: [ExecutionParsingTests.id, "--tenant", "acme", "--definition", "/nonexistent/w.json"], status: 1),
        "workflow graph": Call(rest: ["--definition", "/nonexistent/w.json"], status: 1),
        "dev start": Call(rest: ["--setting", "port=1"], status: 2),
        "dev stop": Call(rest: ["--directory", "/nonexistent/server"], status: 0),
        "dev status": Call(rest: ["--directory", "/nonexistent/server"], status: 3),
    ]

    static func call(_ verb: [String]) throws -> Call {
        try #require(self.calls[verb.joined(separator: " ")], "a verb that no test calls: \(verb)")
    }

    /// True when the verb's help has the option.
    static func has(_ option: String, _ verb: [String]) throws -> Bool {
        let command = try #require(CloacinaAdmin.verbs.first { $0.words == verb }).command
        return CloacinaAdmin.helpMessage(for: command).contains(option)
    }

    /// The words that lead to nobody, for verbs that connect.
    static func nowhere(_ verb: [String]) throws -> [String] {
        try self.has("--database-url", verb) ? ["--database-url", "host=/nonexistent dbname=app user=adm"] : []
    }
}

/// Every verb writes one document with `--output json`, whatever becomes of it; a new verb can't be forgotten.
@Suite struct CommandTreeTests {
    private struct Failed: Decodable {
        struct Body: Decodable {
            let message: String
            let exit: Int32
        }
        let error: Body
    }

    /// Any JSON value; what follows it is an error of the decoder's.
    private struct Anything: Decodable {
        init(from decoder: any Decoder) {}
    }

    private func run(_ arguments: [String]) async -> (CommandRunner.Outcome, Collector) {
        let collector = Collector()
        return (await CommandRunner(console: collector.console(terminal: false)).run(arguments), collector)
    }

    @Test func everyVerbIsCalledHere() {
        #expect(Set(CommandTree.calls.keys) == Set(CommandTree.verbs.map { $0.joined(separator: " ") }))
    }

    @Test("Every verb has --output", arguments: CommandTree.verbs)
    func everyVerbHasTheOption(verb: [String]) throws {
        #expect(try CommandTree.has("--output", verb))
    }

    @Test(
        "Every verb writes one document, and its status is the one that it says", arguments: CommandTree.verbs,
        ["json", "ndjson"])
    func everyVerbWritesOneDocument(verb: [String], format: String) async throws {
        let (call, nowhere) = (try CommandTree.call(verb), try CommandTree.nowhere(verb))
        let (outcome, collector) = await self.run(
            verb + call.rest + nowhere + ["--output", format])
        #expect(outcome.status == call.status, "\(collector.notes)")
        _ = try JSONDecoder().decode(Anything.self, from: Data(collector.data.utf8))
        #expect(format == "json" || collector.data.split(separator: "\n").count == 1)
        guard ![0, 3].contains(call.status) else { return }
        let failed = try JSONDecoder().decode(Failed.self, from: Data(collector.data.utf8)).error
        #expect(failed.exit == outcome.status)
        #expect(call.status == 2 || collector.notes.contains(failed.message))
    }

    @Test("Every verb that is called wrongly writes one document and ends with 2", arguments: CommandTree.verbs)
    func everyVerbThatIsCalledWronglyWritesOneDocument(verb: [String]) async throws {
        let call = try CommandTree.call(verb)
        let (outcome, collector) = await self.run(verb + call.rest + ["--output", "json", "--no-such-option"])
        #expect(outcome.status == 2)
        let failed = try JSONDecoder().decode(Failed.self, from: Data(collector.data.utf8)).error
        #expect(failed.exit == 2)
    }

    @Test("C36: an empty URL ends every verb that connects with 2", arguments: CommandTree.verbs)
    func anEmptyURLEndsEveryVerbThatConnects(verb: [String]) async throws {
        guard try CommandTree.has("--database-url", verb) else { return }
        let call = try CommandTree.call(verb)
        let (outcome, collector) = await self.run(verb + call.rest + ["--database-url="])
        #expect(outcome.status == 2)
        #expect(collector.notes.contains("--database-url is set but empty"))
        #expect(collector.data.isEmpty)
    }
}

@Suite struct HistoryChangeAnswerTests {
    private static func answer(_ outcome: String) -> HistoryChangeAnswer {
        HistoryChangeAnswer(
            tenant: "acme", migration: "app/2", change: outcome == "done" ? "reblessed" : nil, outcome: outcome,
            error: outcome == "done" ? nil : "lockBusy: another process")
    }

    @Test(arguments: [
        ([], CommandStatus.done), (["done", "done"], .done), (["done", "busy"], .someTenantsFailed),
        (["failed"], .someTenantsFailed), (["busy", "unreached"], .someTenantsFailed),
    ])
    func whoIsLeftEndsWithFour(outcomes: [String], status: CommandStatus) {
        #expect(HistoryChangeAnswer.status(of: outcomes.map(Self.answer)) == status)
    }

    @Test func whoWasDoneAndWhoWasBusyStandInOneTable() throws {
        let collector = Collector()
        try Renderer(collector.console(terminal: false), .table).show(["done", "busy"].map(Self.answer))
        #expect(
            collector.data == """
                tenant  migration  change     outcome  error
                acme    app/2      reblessed  done     -
                acme    app/2      -          busy     lockBusy: another process

                """)
        #expect(
            try Renderer.json(Self.answer("busy"), indented: false)
                == #"{"error":"lockBusy: another process","migration":"app/2","outcome":"busy","tenant":"acme"}"#)
    }
}
