import Foundation
import Testing

@testable import CloacinaWorkflow

#if canImport(FoundationXML)
    import FoundationXML
#endif

private let graphviz = "/usr/bin/dot"

/// Graphviz itself reads what is written for it, where it is installed.
@Suite(
    .enabled(if: FileManager.default.isExecutableFile(atPath: graphviz), "needs Graphviz"),
    .timeLimit(.minutes(5)))
struct GraphvizTests {
    private static let hostile = [
        "plain", "\"", "\\", "a\\", "\\\"", "\\N \\G \\L \\n", "a\nb", "-->", "<b>bold</b>", "<script>", "]]>", "<!--",
        "&lt;", "&amp;amp;", "&#10;", "\"]; n0 -> n1; x [label=\"", "}", "graph [", "%%{init}%%", "//", "/* a", "#a",
        "n0", "node", "subgraph", "a b", "$x", "{a|b}", "\u{0}\u{1}\u{1B}[31m", "\u{7F}\u{85}\u{2028}",
        "\u{202E}evil\u{2066}", "e\u{301}", "Gr\u{F6}\u{DF}e \u{1F4E6} \u{5DE5}\u{4F5C}\u{6D41}",
        String(repeating: "x", count: 255), String(repeating: "\"", count: 255), String(repeating: "\\", count: 255),
    ]

    @Test func readsEveryNameAsItIs() async throws {
        let edges = zip(Self.hostile, Self.hostile.dropFirst()).map { WorkflowGraph.Edge(from: $0, to: $1) }
        let graph = WorkflowGraph(name: "w", nodes: Self.hostile.map { .init(id: $0) }, edges: edges)
        let drawing = try await Self.draw(graph.dot())
        #expect(Set(drawing.nodes.map { $0.first }) == Set(Self.hostile.map { GraphText.printable($0) }))
        #expect(drawing.nodes.count == Self.hostile.count)
        #expect(drawing.edges == Self.hostile.count - 1)
        #expect(drawing.errors == "")
    }

    @Test(arguments: hostile) func readsAWorkflowsNameAndARunsLines(name: String) async throws {
        let run = WorkflowGraph.TaskRun(state: name, attempts: 2, duration: .seconds(1))
        let graph = WorkflowGraph(
            name: name, nodes: [.init(id: "a"), .init(id: "b")], edges: [.init(from: "a", to: "b")]
        )
        .annotated(with: ["a": run])
        let drawing = try await Self.draw(graph.dot())
        let shown = GraphText.printable(name)
        #expect(drawing.nodes.contains(["a", "\u{2022} \(shown)", "2 attempts, 1.0 s"]), "\(drawing.nodes)")
        #expect(drawing.texts.contains(shown))
        #expect(drawing.edges == 1)
        #expect(drawing.errors == "")
    }

    @Test func readsAWideWorkflow() async throws {
        let tasks = (0..<120).map { number in
            WorkflowTask("t\(number)", dependencies: number < 10 ? [] : ["t\(number % 10)", "t\(number - 10)"]) {
                _, _ in
            }
        }
        let workflow = try Workflow("wide", tasks: tasks)
        let drawing = try await Self.draw(WorkflowGraph(workflow).dot())
        #expect(drawing.nodes.count == 120 && drawing.errors == "")
        #expect(drawing.edges == workflow.graph.dependencies.reduce(0) { $0 + $1.count })
    }

    private struct Drawing {
        /// The lines of each task's label.
        var nodes: [[String]] = []
        var edges = 0
        var texts: [String] = []
        var errors = ""
    }

    /// Has Graphviz draw, and reads the drawing.
    private static func draw(_ dot: String) async throws -> Drawing {
        let place = FileManager.default.temporaryDirectory.appending(path: "graphviz \(UUID().uuidString)")
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: place) }
        let (input, output, errors) = (
            place.appending(path: "in.dot"), place.appending(path: "out.svg"), place.appending(path: "errors")
        )
        try Data(dot.utf8).write(to: input)
        try Data().write(to: errors)
        let process = Process()
        process.executableURL = URL(filePath: graphviz)
        process.arguments = ["-Tsvg", "-o", output.path, input.path]
        process.standardInput = FileHandle.nullDevice
        process.standardError = try FileHandle(forWritingTo: errors)
        let status = try await withCheckedThrowingContinuation { continuation in
            process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
            do { try process.run() } catch { continuation.resume(throwing: error) }
        }
        var drawing = Drawing()
        drawing.errors = String(decoding: try Data(contentsOf: errors), as: UTF8.self)
        try #require(status == 0, "\(drawing.errors)")
        let document = try XMLDocument(data: try Data(contentsOf: output))
        let lines = { (path: String) in
            try document.nodes(forXPath: path).map { group in
                try group.nodes(forXPath: "*[local-name() = 'text']").map { Self.plain($0.stringValue ?? "") }
            }
        }
        drawing.nodes = try lines("//*[@class = 'node']")
        drawing.edges = try lines("//*[@class = 'edge']").count
        drawing.texts = try lines("//*[local-name() = 'g']").flatMap(\.self)
        // The legend's are nodes as well.
        drawing.nodes.removeAll { $0.first?.hasSuffix(": 1") == true && $0.count == 1 }
        return drawing
    }

    /// Graphviz writes spaces as such that don't break.
    private static func plain(_ text: String) -> String { text.replacingOccurrences(of: "\u{A0}", with: " ") }
}
