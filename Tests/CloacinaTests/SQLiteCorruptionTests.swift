import EngineTestSupport
import FoundationEssentials
import TestSupport
import Testing

@testable import Cloacina

/// Rows of a file that this library didn't write are told as such, whatever is asked of them.
@Suite(.timeLimit(.minutes(5))) struct SQLiteCorruptionTests {
    /// What somebody may have done to a pipeline's row, which lists show parts of, or to a line of its history.
    private static let pipelines = [
        "state = 'teleported'", "state = ''", "input = ''", "input = 'no JSON'", "input = '{\"a\":'", "input = '[]'",
        "input = 'null'", "input = '{\"a\":1e999}'", "id = x'00'",
        "owner = x'00'", "state = char(0)",
    ]
    private static let events = [
        "delta = ''", "delta = 'no JSON'",
        "delta = '[]'", "delta = '{\"set\":[]}'", "delta = '{\"removed\":[1]}'", "delta = '{\"merged\":{\"a\":1}}'",
        "delta = '{\"unknown\":{}}'", "worker = x'00'",
    ]

    @Test(arguments: pipelines.map { ("cloacina_pipelines", $0) } + events.map { ("cloacina_events", $0) })
    func aRowThatCantBeReadIsATypedError(table: String, change: String) async throws {
        try await withTemporaryDirectory { directory in
            let url = directory.appending(path: "p.db")
            let workflow = try Workflow("w") { WorkflowTask("t") { context in try context.set("t", to: 1) } }
            let runner = try await DefaultRunner(sqliteAt: url, workflows: [workflow])
            let id = try await runner.execute("w").id
            let store = try await SQLiteWorkflowStore(opening: url)
            let isOwnID = change == "id = x'00'"
            let place = table == "cloacina_events" ? "WHERE kind = 'task completed'" : ""
            try await store.database.execute(
                "PRAGMA ignore_check_constraints = ON; UPDATE \(table) SET \(change) \(place)")
            var asked: [@Sendable () async throws -> Void] = [
                { _ = try await runner.history(of: id) }, { _ = try await runner.snapshot(of: id) },
                { _ = try await runner.result(of: id) }, { try await runner.resume(id) },
            ]
            // Where it stands decides what a cancel does.
            if ["state", "id", "owner"].contains(where: { change.hasPrefix($0) }) {
                asked.append { try await runner.cancel(id) }
            } else {
                try await runner.cancel(id)
            }
            // Where it stands can be told whatever else is the matter.
            if isOwnID {
                asked.append { _ = try await runner.status(of: id) }
            } else {
                #expect(try await runner.status(of: id) == (change.hasPrefix("state") ? .unknown : .completed))
            }
            for (number, ask) in asked.enumerated() {
                let error = await #expect(throws: PipelineError.self, "call \(number)") { try await ask() }
                // A pipeline with another id is another one.
                #expect(error?.code == (isOwnID ? .pipelineNotFound : .storageFailed))
                if !isOwnID { #expect((error?.underlying as? SQLiteError)?.code == .corrupt, "call \(number)") }
                #expect((error?.underlying as? SQLiteError)?.isTransient != true)
            }
            // One bad row is one bad line.
            if change.hasPrefix("state") { #expect(try await runner.list().map(\.status) == [.unknown]) }
            if isOwnID {
                let listing = await #expect(throws: PipelineError.self) { try await runner.list() }
                #expect((listing?.underlying as? SQLiteError)?.code == .corrupt)
            }
            // The file and the runner are as good as ever for others.
            #expect(try await runner.execute("w").status == .completed)
        }
    }

    /// Nobody asked for anything that this library knows.
    @Test func anUnknownRequestIsNone() async throws {
        try await withTemporaryDirectory { directory in
            let store = try await SQLiteWorkflowStore(opening: directory.appending(path: "p.db"))
            _ = try await store.create([StoreConformance.new(1)])
            try await store.database.execute("UPDATE cloacina_pipelines SET request = 'explode'")
            let stored = try #require(try await store.load(StoreConformance.id(1)))
            #expect(stored.request == nil && stored.status == .running)
        }
    }
}
