import EngineTestSupport
import FoundationEssentials
import TestSupport
import Testing

@testable import Cloacina

/// What happened to all of a tenant's pipelines, as its runner tells it.
@Suite(.timeLimit(.minutes(5))) struct EventQueryTests {
    private struct Broken: Error {}

    /// Its first task fails once, and its second one always.
    private static func workflow() throws -> Workflow {
        try Workflow("w") {
            WorkflowTask("a", retry: .fixed(2, delay: .zero)) { context, scope in
                if scope.attempt == 1 { throw Broken() }
                try context.set("a", to: scope.attempt)
            }
            WorkflowTask("b", after: "a", retry: .none) { _ in throw Broken() }
        }
    }

    private func withFile<R>(_ body: (SQLiteWorkflowStore) async throws -> R) async throws -> R {
        let directory = FileManager.default.temporaryDirectory.appending(path: "cloacina \(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        return try await body(try await SQLiteWorkflowStore(opening: directory.appending(path: "p.db")))
    }

    // MARK: What a caller sees

    @Test(arguments: [false, true]) func aRunnerTellsWhatHappenedToAllItsPipelines(inFile: Bool) async throws {
        try await self.withFile { file in
            let store: any WorkflowStore = inFile ? file : InMemoryWorkflowStore()
            let runner = try DefaultRunner(store: store, workflows: [try Self.workflow()])
            #expect(try await runner.events().isEmpty)
            var expected: [PipelineEvent] = []
            var ids: [UUID] = []
            for _ in 0..<3 {
                let result = try await runner.execute("w")
                #expect(result.status == .failed)
                ids.append(result.id)
                expected.insert(contentsOf: try await runner.history(of: result.id).reversed(), at: 0)
            }
            let events = try await runner.events()
            #expect(events.map(\.event) == expected)
            #expect(events.first?.pipeline == ids.last && events.first?.event.kind == .pipelineFailed)
            let failures = try await runner.events(EventQuery(kinds: [.taskFailed, .taskRetrying], limit: 3))
            #expect(failures.map(\.event.task) == ["b", "a", "b"])
            #expect(failures.map(\.pipeline) == [ids[2], ids[2], ids[1]])
            let retries = try await runner.events(EventQuery(kinds: [.taskRetrying], task: "a", pipeline: ids[0]))
            #expect(retries.map(\.event.attempt) == [1])
            #expect(try await runner.events(EventQuery(pipeline: UUID())).isEmpty)
        }
    }

    /// Each time after the place was handed to a client and came back.
    @Test func aCallerTurnsPages() async throws {
        let runner = try DefaultRunner(store: InMemoryWorkflowStore(), workflows: [try Self.workflow()])
        for _ in 0..<5 { _ = try await runner.execute("w") }
        var (query, seen) = (EventQuery(limit: 4), [RecordedEvent]())
        repeat {
            let page = try await runner.events(query)
            seen += page
            query.after = try page.last.map {
                try JSONDecoder().decode(EventCursor.self, from: JSONEncoder().encode($0.cursor))
            }
        } while query.after != nil && seen.count < 1_000
        #expect(seen == (try await runner.events()) && Set(seen).count == seen.count)
    }

    // MARK: Files

    /// One line that nobody here can read is one line, and hides no other.
    @Test func anEventOfANewerVersionIsToldAsItIs() async throws {
        try await self.withFile { store in
            let runner = try DefaultRunner(store: store, workflows: [try Self.workflow()])
            _ = try await runner.execute("w")
            try await store.database.execute(
                "UPDATE cloacina_events SET kind = 'task teleported' WHERE kind = 'task retrying'")
            let kinds = try await runner.events().map(\.event.kind.rawValue)
            #expect(kinds.contains("task teleported") && kinds.contains("pipeline failed"))
            try await store.database.execute(
                "UPDATE cloacina_events SET worker = NULL, delta = '[]' WHERE kind = 'pipeline failed'")
            let events = try await runner.events()
            #expect(events.count == kinds.count)
            #expect(events.first?.event.kind == .unreadable && events.first?.event.detail?.isEmpty == false)
            let known = EventQuery(kinds: Set(PipelineEvent.Kind.allCases))
            #expect(try await runner.events(known).map(\.event.kind).contains(.taskFailed))
        }
    }

    /// The primary key is in the order of the answer.
    @Test func noPlanScansATable() async throws {
        try await self.withFile { store in
            let steps = try await store.database.plan(of: SQLiteQueries.events)
            let bounds = "(pipeline_id>? AND (pipeline_id,revision,position)<(?,?,?))"
            #expect(steps.first == "SEARCH cloacina_events USING PRIMARY KEY \(bounds)")
            for step in steps {
                #expect(!step.hasPrefix("SCAN cloacina_") && !step.contains("TEMP B-TREE"), "\(steps)")
            }
        }
    }
}
