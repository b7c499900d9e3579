import ArgumentParser
import Cloacina
import CloacinaPostgres
import CloacinaWorkflow
import FoundationEssentials
import Testing

@testable import cloacina_admin

@Suite struct ExecutionParsingTests {
    static let id = "0199a1b2-0000-7000-8000-000000000001"

    @Test(arguments: [
        ["execution", "list", "--tenant", "acme"],
        [
            "execution", "list", "--tenant", "acme", "--workflow", "w", "--state", "failed", "--state", "cancelled",
            "--limit", "1", "--after", Self.id, "--output", "ndjson",
        ],
        ["execution", "stranded", "--tenant", "acme"],
        [
            "execution", "stranded", "--tenant", "acme", "--workflow", "w", "--older-than", "0", "--limit", "10000",
            "--output", "ndjson",
        ],
        ["execution", "show", Self.id, "--tenant", "acme", "--history", "--output", "json"],
        ["execution", "graph", Self.id, "--tenant", "acme", "--definition", "w.json", "--format", "svg"],
        ["workflow", "graph", "--definition", "-", "--format", "mermaid"],
    ])
    func commandLinesAreUnderstood(_ arguments: [String]) {
        #expect(throws: Never.self) { _ = try CloacinaAdmin.parseAsRoot(arguments) }
    }

    @Test(arguments: [
        ["execution", "list"], ["execution", "list", "--tenant", "acme", "--limit", "0"],
        ["execution", "list", "--tenant", "acme", "--limit", "10001"],
        ["execution", "list", "--tenant", "acme", "--state", "broken"],
        ["execution", "list", "--tenant", "acme", "--after", "7"], ["execution", "show", Self.id],
        ["execution", "stranded"], ["execution", "stranded", "--tenant", "acme", "--limit", "0"],
        ["execution", "stranded", "--tenant", "acme", "--older-than=-1"],
        ["execution", "stranded", "--tenant", "acme", "--older-than", "31536001"],
        ["execution", "show", "7", "--tenant", "acme"], ["execution", "show", "--tenant", "acme"],
        ["execution", "graph", Self.id, "--tenant", "acme"],
        ["execution", "graph", Self.id, "--tenant", "acme", "--definition", "w.json", "--format", "png"],
        ["workflow", "graph"], ["workflow", "graph", "--definition", "w.json", "--tenant", "acme"],
    ])
    func nonsenseEndsWithTwo(_ arguments: [String]) async {
        let collector = Collector()
        let outcome = await CommandRunner(console: collector.console(terminal: false)).run(arguments)
        #expect(outcome == CommandRunner.Outcome(status: 2))
        #expect(collector.data.isEmpty)
        #expect(collector.notes.contains("Usage:"))
    }

    @Test func aListAsksForOneMoreThanItShows() throws {
        let command = try ExecutionList.parse([
            "--tenant", "acme", "--workflow", "w", "--state", "failed", "--limit", "2", "--after", Self.id,
        ])
        #expect(
            command.query
                == PipelineQuery(
                    workflow: "w", statuses: [.failed], after: UUID(uuidString: Self.id), limit: 3))
    }
}

@Suite struct ExecutionAnswerTests {
    static let hostile = "\u{1b}[31mred\nline\u{202e}"

    static func summary(_ number: Int, workflow: String = "w") throws -> PipelineSummary {
        let id = try #require(UUID(uuidString: "0199a1b2-0000-7000-8000-00000000000\(number)"))
        return PipelineSummary(
            id: id, workflow: workflow, version: String(repeating: "0123456789abcdef", count: 4), status: .completed,
            createdAt: Date(timeIntervalSince1970: 0), startedAt: Date(timeIntervalSince1970: 1.25),
            endedAt: Date(timeIntervalSince1970: 3), recoveries: 1)
    }

    /// A run with a retry, a failure and a task that was skipped, under names that would like to draw on the terminal.
    static func report() throws -> PipelineReport {
        let worker = try #require(UUID(uuidString: "0199a1b2-0000-7000-8000-0000000000ff"))
        let id = try #require(UUID(uuidString: "0199A1B2-0000-7000-8000-000000000001"))
        func at(_ seconds: Double) -> Date { Date(timeIntervalSince1970: seconds) }
        var pipeline = StoredPipeline(
            NewPipeline(id: id, workflow: "w" + Self.hostile, version: "v", input: Context(), owner: worker, at: at(0)))
        pipeline.status = .failed
        pipeline.owner = nil
        pipeline.endedAt = at(5)
        pipeline.events += [
            PipelineEvent(
                .taskRetrying, task: "a" + Self.hostile, attempt: 1, worker: worker, startedAt: at(1), at: at(2),
                detail: "first", dueAt: at(3)),
            PipelineEvent(
                .taskFailed, task: "a" + Self.hostile, attempt: 2, worker: worker, startedAt: at(3), at: at(3.5),
                detail: Self.hostile),
            PipelineEvent(.taskSkipped, task: "b", at: at(3.5), detail: "\"a\" failed"),
            PipelineEvent(.pipelineFailed, worker: worker, at: at(5)),
        ]
        return PipelineReport(pipeline)
    }

    static func printed(_ format: OutputFormat, _ body: (Renderer) throws -> Void) rethrows -> String {
        let collector = Collector()
        try body(Renderer(collector.console(terminal: false), format))
        return collector.data
    }

    @Test func aFullPageSaysWhatContinuesIt() throws {
        let found = [try Self.summary(3), try Self.summary(2), try Self.summary(1)]
        let page = ExecutionPage(found, limit: 2)
        #expect(page.lines.count == 2)
        #expect(page.next == "0199a1b2-0000-7000-8000-000000000002")
        #expect(ExecutionPage(found, limit: 3).next == nil)
        #expect(ExecutionPage([], limit: 3).next == nil)
    }

    @Test func aLineAsATableAndAsJSON() throws {
        let line = ExecutionLine(try Self.summary(1, workflow: "w\u{1b}"))
        #expect(
            try Self.printed(.table) { try $0.show([line]) } == """
                id                                    workflow  version       state      created                   \
                started                   took   recoveries
                0199a1b2-0000-7000-8000-000000000001  w\\u{1b}   0123456789ab  completed  1970-01-01T00:00:00.000Z  \
                1970-01-01T00:00:01.250Z  1.7 s  1

                """)
        #expect(
            try Self.printed(.ndjson) { try $0.show([line]) } == """
                {"createdAt":"1970-01-01T00:00:00.000Z","durationMicroseconds":1750000,"endedAt":"1970-01-01T00:00:03.000Z",\
                "id":"0199a1b2-0000-7000-8000-000000000001","recoveries":1,"startedAt":"1970-01-01T00:00:01.250Z",\
                "state":"completed","version":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",\
                "workflow":"w\\u001b"}

                """)
    }

    /// C30: as a table, and the exit code that says that something waits.
    @Test func whatWaitsIsALineForEachWorkflowAndVersion() throws {
        let id = try #require(UUID(uuidString: "0199a1b2-0000-7000-8000-000000000001"))
        func group(_ version: String?, format: Int = 1, hasMore: Bool = false) -> WaitingGroup {
            WaitingGroup(
                workflow: "w\u{1b}", version: version, format: format, count: 10_000, hasMore: hasMore,
                since: Date(timeIntervalSince1970: 0), longest: id)
        }
        let lines = [
            StrandedLine(group(nil, hasMore: true)), StrandedLine(group("0123456789abcdef", format: 2)),
        ]
        let text = try Self.printed(.table) { try $0.show(lines) }
        #expect(!text.contains("\u{1b}"))
        let words = text.split(separator: "\n").map { line in
            line.split(separator: "  ").map { String($0.drop { $0 == " " }) }.filter { !$0.isEmpty }
        }
        let rest = ["1970-01-01T00:00:00.000Z", id.text]
        #expect(words.last == [#"w\u{1b}"#, "0123456789ab (newer)", "10000"] + rest)
        #expect(words.dropFirst().first == [#"w\u{1b}"#, "any", "10000+"] + rest)
        #expect(StrandedLine.status(of: lines) == .pending)
        #expect(StrandedLine.status(of: []) == .done)
    }

    @Test func aRunIsSeveralTablesWithoutARawControlCharacter() throws {
        let answer = ExecutionAnswer(try Self.report(), withHistory: true)
        let text = try Self.printed(.table) { try $0.show(answer, tables: answer.tables) }
        #expect(text.unicodeScalars.allSatisfy { $0 == "\n" || ($0.value >= 0x20 && $0 != "\u{202e}") })
        let shown = #"\u{1b}[31mred\u{a}line\u{202e}"#
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            line.split(separator: "  ").map { String($0.drop { $0 == " " }) }
        }
        #expect(lines.contains(["workflow", "w" + shown]))
        #expect(lines.contains(["state", "failed"]))
        #expect(lines.contains(["took", "5.0 s"]))
        #expect(lines.contains(["b", "skipped", "0", "-", "-", "-", "\"a\" failed"]))
        let failed = ["1970-01-01T00:00:03.000Z", "1970-01-01T00:00:03.500Z", "500 ms", shown]
        #expect(lines.contains(["a" + shown, "failed", "2"] + failed))
        #expect(lines.contains(["a" + shown, "2", "failed"] + failed))
        #expect(lines.count { $0.last?.hasSuffix("first") == true } == 2)
        #expect(lines.contains { $0.starts(with: ["1970-01-01T00:00:05.000Z", "pipeline failed"]) })
        #expect(lines.count { $0.isEmpty } == 4, "three empty lines between four tables, one at the end")
    }

    @Test func aRunIsOneObjectWithItsHistoryOnRequestOnly() throws {
        struct Run: Decodable {
            struct Line: Decodable {
                struct Attempt: Decodable {
                    let outcome: String
                    let error: String?
                }
                let id: String
                let state: String
                let attemptsBegun: Int
                let error: String?
                let attempts: [Attempt]
            }
            struct Event: Decodable { let kind: String }
            let workflow: String
            let state: String
            let tasks: [Line]
            let history: [Event]?
        }
        func decoded(_ withHistory: Bool) throws -> Run {
            let answer = ExecutionAnswer(try Self.report(), withHistory: withHistory)
            let text = try Self.printed(.json) { try $0.show(answer, tables: answer.tables) }
            return try JSONDecoder().decode(Run.self, from: Data(text.utf8))
        }
        let run = try decoded(false)
        #expect(run.history == nil)
        #expect(run.workflow == "w" + Self.hostile)
        #expect(run.tasks.map(\.id) == ["a" + Self.hostile, "b"])
        #expect(run.tasks.map(\.state) == ["failed", "skipped"])
        #expect(run.tasks[0].attemptsBegun == 2)
        #expect(run.tasks[0].attempts.map(\.error) == ["first", Self.hostile])
        #expect(run.tasks[0].attempts.map(\.outcome) == ["failed", "failed"])
        #expect(
            try decoded(true).history?.map(\.kind) == [
                "pipeline started", "task retrying", "task failed", "task skipped", "pipeline failed",
            ])
    }
}

@Suite struct DefinitionTests {
    static let graph = WorkflowGraph(
        name: "w", nodes: [.init(id: "load"), .init(id: "extract"), .init(id: "left")],
        edges: [.init(from: "extract", to: "load"), .init(from: "left", to: "load")])

    @Test func aDefinitionIsWhatAnApplicationWrites() throws {
        let workflow = try Workflow("w") {
            WorkflowTask("a") { _ in }
            WorkflowTask("b", after: "a") { _ in }
        }
        let bytes = Array(try JSONEncoder().encode(WorkflowGraph(workflow)))
        #expect(try DrawingOptions.graph(of: bytes, named: "w.json") == WorkflowGraph(workflow))
    }

    @Test(arguments: [
        ("", "no JSON or an impossible value"), ("{", "no JSON or an impossible value"),
        ("[]", "a value of another type"), ("{\"nodes\":[],\"edges\":[]}", "nothing at name"),
        ("{\"name\":\"w\",\"nodes\":[{\"id\":1}],\"edges\":[]}", "a value of another type at nodes.[0].id"),
    ])
    func whatIsNoDefinitionEndsWithOneAndThePlace(_ text: String, _ words: String) throws {
        let failure = try #require(
            failure { _ = try DrawingOptions.graph(of: Array(text.utf8), named: "w.json") })
        #expect(failure.status == .failed)
        #expect(failure.message == "w.json is not a workflow's definition: \(words)")
    }

    @Test func aBrokenDefinitionEndsWithOneAndItsTypedError() throws {
        let circle = WorkflowGraph(
            name: "w", nodes: [.init(id: "a"), .init(id: "b")],
            edges: [.init(from: "a", to: "b"), .init(from: "b", to: "a")])
        let failure = try #require(failure { try circle.validate() })
        #expect(failure.status == .failed)
        #expect(failure.message.hasPrefix("cyclicDependency: "))
    }

    @Test func textListsTheTasksLevelByLevel() {
        #expect(
            GraphDrawing(Self.graph).text(.text) == """
                level  task     after
                1      extract  -
                1      left     -
                2      load     extract, left

                """)
        let runs = ["extract": WorkflowGraph.TaskRun(state: "completed\u{1b}", attempts: 2, duration: .seconds(1.5))]
        #expect(
            GraphDrawing(Self.graph.annotated(with: runs)).text(.text) == """
                level  task     after          state            attempts  took
                1      extract  -              completed\\u{1b}  2         1.5 s
                1      left     -              -                -         -
                2      load     extract, left  -                -         -

                """)
    }

    @Test(arguments: [(DrawingFormat.dot, "digraph"), (.mermaid, "---\ntitle"), (.svg, "<svg ")])
    func theOtherFormatsAreTheLibrarys(_ format: DrawingFormat, _ prefix: String) {
        #expect(GraphDrawing(Self.graph).text(format).hasPrefix(prefix))
    }

    /// Viewers of Mermaid draw 500 edges at most; the drawing itself is data all the same.
    @Test(arguments: [
        (501, DrawingFormat.mermaid, true), (500, .mermaid, false), (501, .dot, false), (501, .svg, false),
    ])
    func aDrawingThatViewersRefuseIsNotedBesideTheData(edges: Int, format: DrawingFormat, isNoted: Bool) throws {
        let ids = (0..<edges).map { "t\($0)" }
        let graph = WorkflowGraph(
            name: "fan", nodes: (["start"] + ids).map { .init(id: $0) }, edges: ids.map { .init(from: "start", to: $0) }
        )
        let collector = Collector()
        try GraphDrawing(graph).write(format, to: collector.console(terminal: false))
        #expect(collector.data.contains("t\(edges - 1)") && !collector.data.contains("warning"))
        #expect(collector.notes.isEmpty != isNoted)
        guard isNoted else { return }
        for words in ["501 edges", "500", "--format svg or dot"] { #expect(collector.notes.contains(words)) }
    }

    @Test(arguments: [DrawingFormat.dot, .mermaid, .svg, .text], [OutputFormat.json, .ndjson])
    func aDrawingIsOneObjectBesideItsGraph(format: DrawingFormat, output: OutputFormat) throws {
        struct Answer: Decodable {
            let graph: WorkflowGraph
            let format: String
            let drawing: String
        }
        let runs = ["extract": WorkflowGraph.TaskRun(state: "completed", attempts: 2, duration: .seconds(1.5))]
        let drawing = GraphDrawing(Self.graph.annotated(with: runs))
        let collector = Collector()
        try drawing.write(format, as: output, to: collector.console(terminal: false))
        let answer = try JSONDecoder().decode(Answer.self, from: Data(collector.data.utf8))
        #expect(answer.graph == drawing.graph)
        #expect(answer.format == format.rawValue)
        #expect(answer.drawing == drawing.text(format))
        #expect(output == .json || collector.data.split(separator: "\n").count == 1)
    }

    @Test func aRunIsDrawnOverItsOwnWorkflowOnly() throws {
        let report = try ExecutionAnswerTests.report()
        let collector = Collector()
        let console = collector.console(terminal: false)
        let failure = try #require(
            failure { _ = try ExecutionGraph.annotate(Self.graph, with: report, console: console) })
        #expect(failure.status == .failed)
        let other = WorkflowGraph(name: report.pipeline.workflow, nodes: [.init(id: "b"), .init(id: "c")], edges: [])
        let drawn = try ExecutionGraph.annotate(other, with: report, console: console)
        #expect(drawn.nodes.map(\.run?.state) == ["skipped", "not in this run"])
        #expect(collector.notes.hasSuffix(#"the run also has: a\u{1b}[31mred\u{a}line\u{202e}"# + "\n"))
    }

    @Test func aPipelinesErrorsHaveTheirStatus() {
        #expect(Failure(PipelineError(.pipelineNotFound, "none")).status == .failed)
        #expect(Failure(PipelineError(.storageFailed, "x", underlying: CancellationError())).isInterruption == false)
        #expect(Failure(PipelineError(.cancelled, "x")).isInterruption)
    }
}
