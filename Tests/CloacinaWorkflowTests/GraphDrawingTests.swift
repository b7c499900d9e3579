import Foundation
import TestSupport
import Testing

@testable import CloacinaWorkflow

#if canImport(FoundationXML)
    import FoundationXML
#endif

@Suite struct GraphDrawingTests {
    private static func graph(_ ids: [String], name: String = "g", chain: Bool = true) -> WorkflowGraph {
        WorkflowGraph(
            name: name, nodes: ids.map { .init(id: $0) },
            edges: chain ? zip(ids, ids.dropFirst()).map { .init(from: $0, to: $1) } : [])
    }

    private static let definition = WorkflowGraph(
        name: "etl", description: "Extract & load", nodes: [.init(id: "extract"), .init(id: "load_1")],
        edges: [.init(from: "extract", to: "load_1")])

    private static let run = definition.annotated(with: [
        "extract": .init(state: "completed", attempts: 2, duration: .milliseconds(1540)),
        "load_1": .init(state: "waiting"),
    ])

    // MARK: What it looks like

    @Test func drawsADefinitionInDOT() {
        #expect(
            Self.definition.dot() == """
                digraph workflow {
                  graph [rankdir=LR, charset="UTF-8", fontname="monospace", labelloc=t, label="etl"];
                  node [shape=box, style="rounded,filled", fillcolor="#ffffff", color="#57606a", fontname="monospace"];
                  edge [color="#57606a"];
                  n0 [label="extract"];
                  n1 [label="load_1"];
                  n0 -> n1;
                }

                """)
    }

    @Test func drawsARunInDOT() {
        #expect(
            Self.run.dot() == #"""
                digraph workflow {
                  graph [rankdir=LR, charset="UTF-8", fontname="monospace", labelloc=t, label="etl"];
                  node [shape=box, style="rounded,filled", fillcolor="#ffffff", color="#57606a", fontname="monospace"];
                  edge [color="#57606a"];
                  n0 [label="extract\n✓ completed\n2 attempts, 1.5 s", fillcolor="#dafbe1", color="#1a7f37"];
                  n1 [label="load_1\n○ waiting", fillcolor="#f6f8fa", color="#6e7781", style="rounded,filled,dashed"];
                  n0 -> n1;
                  subgraph cluster_legend {
                    label="Legend";
                    legend_waiting [label="○ waiting: 1", fillcolor="#f6f8fa", color="#6e7781", style="rounded,filled,dashed"];
                    legend_completed [label="✓ completed: 1", fillcolor="#dafbe1", color="#1a7f37"];
                  }
                }

                """#)
    }

    @Test func drawsADefinitionInMermaid() {
        #expect(
            Self.definition.mermaid() == """
                ---
                title: "etl"
                ---
                flowchart LR
                  n0["extract"]
                  n1["load_1"]
                  n0 --> n1

                """)
    }

    @Test func drawsARunInMermaid() {
        #expect(
            Self.run.mermaid() == """
                ---
                title: "etl"
                ---
                flowchart LR
                  n0["extract<br/>✓ completed<br/>2 attempts, 1.5 s"]
                  n1["load_1<br/>○ waiting"]
                  n0 --> n1
                  subgraph legend ["Legend"]
                    legend_waiting["○ waiting#58; 1"]
                    legend_completed["✓ completed#58; 1"]
                  end
                  classDef waiting fill:#f6f8fa,stroke:#6e7781,stroke-dasharray:4 3
                  class n1,legend_waiting waiting
                  classDef completed fill:#dafbe1,stroke:#1a7f37
                  class n0,legend_completed completed

                """)
    }

    @Test func drawsADefinitionInSVG() {
        #expect(
            Self.definition.svg() == """
                <svg xmlns="http://www.w3.org/2000/svg" width="237" height="100" viewBox="0 0 237 100" role="graphics-document" \
                font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12">
                <title>etl</title>
                <desc>Extract &amp; load (2 tasks, 1 dependency)</desc>
                <rect width="237" height="100" fill="#ffffff"/>
                <text x="20" y="32" font-size="14" font-weight="bold" fill="#1f2328">etl</text>
                <g fill="none" stroke="#57606a">
                <path d="M94 64C122 64 122 64 146 64"/>
                </g>
                <g fill="#57606a">
                <path d="M150 64l-8 -4v8z"/>
                </g>
                <g fill="#1f2328" text-anchor="middle">
                <g role="graphics-symbol"><title>extract</title>\
                <rect x="20" y="48" width="74" height="32" rx="6" fill="#ffffff" stroke="#57606a"/>\
                <text x="57" y="68" font-weight="bold">extract</text></g>
                <g role="graphics-symbol"><title>load_1; after extract</title>\
                <rect x="150" y="48" width="67" height="32" rx="6" fill="#ffffff" stroke="#57606a"/>\
                <text x="183" y="68" font-weight="bold">load_1</text></g>
                </g>
                </svg>

                """)
    }

    @Test func saysOfEveryStateWhatItIs() throws {
        let states = [
            "waiting", "ready", "ready or running", "running", "retrying", "completed", "failed", "skipped",
            "paused <by hand>",
        ]
        let graph = Self.graph(states).annotated(
            with: Dictionary(uniqueKeysWithValues: states.map { ($0, .init(state: $0, attempts: 1)) }))
        let drawing = try Drawing(graph.svg())
        for appearance in RunAppearance.allCases {
            let legend = "\(appearance.sign) \(appearance.title): 1"
            #expect(drawing.texts.contains(legend))
            #expect(graph.dot().contains("\"\(legend)\""))
            #expect(graph.mermaid().contains("\"\(GraphText.mermaid(legend))\""))
        }
        for state in states { #expect(drawing.texts.contains { $0.hasSuffix(" \(state)") }) }
        #expect(drawing.titles.contains("failed: ✗ failed, 1 attempt; after completed"))
        // Without colours too, no two are alike.
        #expect(Set(RunAppearance.allCases.map(\.sign)).count == RunAppearance.allCases.count)
    }

    @Test(arguments: [
        (Duration.zero, "0 ms"), (.microseconds(999), "0 ms"), (.milliseconds(12), "12 ms"),
        (.milliseconds(1999), "1.9 s"),
        (.seconds(59.99), "59.9 s"), (.seconds(125), "2 min 5 s"), (.seconds(12_000), "3 h 20 min"),
        (.seconds(-5), "0 ms"), (.seconds(Int64.max), "2562047788 h 0 min"),
    ])
    func writesTimesForPeople(duration: Duration, text: String) {
        #expect(duration.brief == text)
    }

    // MARK: Hostile names

    private static let hostile = [
        "\"", "\\", "a\\", "\\\"", "\\\\\"", "a\nb", "a\r\nb", "\\N\\G\\n", "-->", "<script>alert(1)</script>", "]]>",
        "<![CDATA[", "<!--", "--", "&lt;", "&#10;", "#quot;", "#35;", "style:#a;",
        "\"];n0-->n1;click n0 \"javascript:x\"",
        "%%{init: {}}%%", "---", "`**bold**`", "1. one", "__init__", "end", "${x}", "' onload='x", "?>",
        "\u{0}\u{1}\u{1B}[31m",
        "\u{7F}\u{85}\u{2028}", "\u{202E}evil\u{2066}", "\u{FFFE}\u{FFFF}", "e\u{301}", "Größe 📦 工作流", "",
        String(repeating: "x", count: 255), String(repeating: "工", count: 85),
        "a" + String(repeating: "\u{301}", count: 127),
        String(repeating: "\"", count: 255),
    ]

    private static func hostileGraph(_ name: String) -> WorkflowGraph {
        let runs: [String: WorkflowGraph.TaskRun] = [name: .init(state: name, attempts: .max, duration: .seconds(1))]
        return Self.graph([name, "\(name)x"], name: name).annotated(with: runs)
    }

    private static let harmless = hostileGraph("n")

    @Test(arguments: Self.hostile)
    func namesStayInsideTheirQuotes(name: String) throws {
        let graph = Self.hostileGraph(name)
        let shown = GraphText.printable(name)
        for (text, harmless) in [(graph.dot(), Self.harmless.dot()), (graph.mermaid(), Self.harmless.mermaid())] {
            #expect(try Quoted(text).outside == Quoted(harmless).outside)
            #expect(!text.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" })
        }
        let dot = try Quoted(graph.dot()).inside
        #expect(dot.contains { Quoted.plainDOT($0) == [shown] })
        #expect(dot.contains { Quoted.plainDOT($0) == [shown, "• \(shown)", "\(Int.max) attempts, 1.0 s"] })
        let mermaid = try Quoted(graph.mermaid()).inside
        #expect(mermaid.contains { Quoted.plainMermaid($0) == [shown, "• \(shown)", "\(Int.max) attempts, 1.0 s"] })
        #expect(mermaid.dropFirst().allSatisfy { !$0.contains("\\") })
    }

    @Test(arguments: Self.hostile)
    func drawingsAreXMLWhateverTheNames(name: String) throws {
        let drawing = try Drawing(Self.hostileGraph(name).svg())
        let harmless = try Drawing(Self.harmless.svg())
        #expect(drawing.elements == harmless.elements)
        #expect(drawing.attributes == harmless.attributes)
        let shown = GraphText.printable(name)
        #expect(drawing.titles.first == shown)
        #expect(drawing.titles.contains("\(shown)x; after \(shown)"))
    }

    @Test(arguments: Self.hostile)
    func labelsAreShortAndTitlesAreNot(name: String) throws {
        let label = GraphText.elided(GraphText.printable(name), columns: 40)
        #expect(GraphText.columns(label) <= 40)
        #expect(label.unicodeScalars.count <= 81)
        #expect(try Drawing(Self.hostileGraph(name).svg()).texts.contains(label))
    }

    @Test func leavesOutTheEndOfALongName() {
        #expect(GraphText.elided(String(repeating: "x", count: 40), columns: 40) == String(repeating: "x", count: 40))
        #expect(
            GraphText.elided(String(repeating: "x", count: 41), columns: 40) == String(repeating: "x", count: 39) + "…")
        #expect(
            GraphText.elided(String(repeating: "工", count: 21), columns: 40) == String(repeating: "工", count: 19) + "…")
    }

    // MARK: Layout

    @Test func usesNoScriptsNorAnythingToFetch() throws {
        let drawing = try Drawing(Self.run.svg())
        #expect(Set(drawing.elements) == ["svg", "title", "desc", "rect", "text", "g", "path"])
        #expect(drawing.attributes.isDisjoint(with: ["href", "xlink:href", "style", "onload", "src", "class", "id"]))
    }

    @Test func uncrossesWhatNeedNotCross() {
        // Declared the wrong way round: a goes with z, b with y, c with x.
        let graph = WorkflowGraph(
            name: "g", nodes: ["a", "b", "c", "x", "y", "z"].map { .init(id: $0) },
            edges: [.init(from: "a", to: "z"), .init(from: "b", to: "y"), .init(from: "c", to: "x")])
        #expect(LayeredOrder(graph.shape.tasks).layers == [[0, 1, 2], [5, 4, 3]])
    }

    @Test func longEdgesBendAroundBoxes() throws {
        let graph = WorkflowGraph(
            name: "g", nodes: ["a", "b", "c"].map { .init(id: $0) },
            edges: [.init(from: "a", to: "b"), .init(from: "b", to: "c"), .init(from: "a", to: "c")])
        let order = LayeredOrder(graph.shape.tasks)
        #expect(order.layers == [[0], [1, 3], [2]])
        #expect(order.routes.map(\.bends) == [[], [], [3]])
        let layout = GraphLayout(graph.shape.tasks, sizes: .init(repeating: .init(width: 80, height: 32), count: 3))
        #expect(layout.middle[3] - layout.middle[1] >= 16 + GraphLayout.bendGap)
    }

    @Test(arguments: 0..<30 as Range<UInt64>)
    func boxesNeverOverlap(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let count = Int.random(in: 1...40, using: &generator)
        let edges = (0..<(count * 2)).map { _ in
            WorkflowGraph.Edge(
                from: "t\(Int.random(in: 0..<count, using: &generator))",
                to: "t\(Int.random(in: 0..<count, using: &generator))")
        }
        let graph = WorkflowGraph(name: "g", nodes: (0..<count).map { .init(id: "t\($0)") }, edges: edges)
        let sizes = (0..<count).map { _ in
            GraphLayout.Size(width: Int.random(in: 30...300, using: &generator), height: 32)
        }
        let layout = GraphLayout(graph.shape.tasks, sizes: sizes)
        for layer in layout.order.layers {
            let boxes = layer.filter { $0 < count }.map { layout.middle[$0] }
            for (upper, lower) in zip(boxes, boxes.dropFirst()) { #expect(lower - upper >= 32 + 14) }
            #expect(boxes.allSatisfy { $0 >= 16 && $0 + 16 <= layout.height })
        }
        #expect(zip(layout.layerX, layout.layerX.dropFirst()).allSatisfy { $0 < $1 })
    }

    @Test func theSameGraphGivesTheSameBytes() {
        let ids = (0..<60).map { "t\($0)" }
        let edges = (0..<60).flatMap { task in
            (1...3).map { WorkflowGraph.Edge(from: "t\((task * $0 + $0) % 60)", to: "t\(task)") }
        }
        let runs = Dictionary(uniqueKeysWithValues: ids.map { ($0, WorkflowGraph.TaskRun(state: "s\($0.count)")) })
        func drawings() -> [String] {
            let graph = WorkflowGraph(name: "g", nodes: ids.map { .init(id: $0) }, edges: edges).annotated(with: runs)
            return [graph.dot(), graph.mermaid(), graph.svg()]
        }
        #expect(drawings() == drawings())
    }

    /// A fan that is joined again, with so many edges.
    private static func fan(edges: Int, id: String = "t") -> WorkflowGraph {
        let ids = (0..<(edges / 2)).map { "\(id)\($0)" }
        let links = ids.flatMap { [WorkflowGraph.Edge(from: "start", to: $0), .init(from: $0, to: "join")] }
        let odd = edges % 2 == 1 ? [WorkflowGraph.Edge(from: "start", to: "join")] : []
        return WorkflowGraph(
            name: "fan", nodes: (["start"] + ids + ["join"]).map { .init(id: $0) },
            edges: links + odd + links + [.init(from: "nowhere", to: "join")])
    }

    @Test(arguments: [
        (GraphDrawingTests.fan(edges: 500), nil as String?), (fan(edges: 501), "501 edges (at most 500)"),
        (fan(edges: 600), "600 edges (at most 500)"), (WorkflowGraph(name: "empty", nodes: [], edges: []), nil),
    ])
    func tellsWhenMermaidRefusesTheEdges(graph: WorkflowGraph, excess: String?) {
        #expect(graph.mermaidExcess == excess)
    }

    /// Mermaid counts as JavaScript does: in units of UTF-16.
    @Test func tellsWhenMermaidRefusesTheText() {
        func graph(_ count: Int) -> WorkflowGraph {
            WorkflowGraph(name: "long", nodes: [.init(id: String(repeating: "😀", count: count))], edges: [])
        }
        let frame = graph(0).mermaid().utf16.count
        let most = (50_000 - frame) / 2
        #expect(graph(most).mermaidExcess == nil)
        let longer = graph(most + 1)
        #expect(longer.mermaidExcess == "\(longer.mermaid().utf16.count) characters (at most 50000)")
        let both = Self.fan(edges: 502, id: String(repeating: "x", count: 200))
        #expect(both.mermaidExcess?.hasPrefix("502 edges (at most 500) and ") == true)
    }

    /// Ten thousand tasks of every shape, with edges that pass over many layers: none may take more than linear time.
    @Test(.timeLimit(.minutes(2)), arguments: ["chain", "fan", "ladder", "leaps", "circle", "bipartite"])
    func drawsTenThousandTasks(shape: String) throws {
        let count = shape == "bipartite" ? 200 : 10_000
        let links: [(Int, Int)] =
            switch shape {
            case "chain": (1..<count).map { ($0 - 1, $0) }
            case "fan": (1..<count).map { (0, $0) }
            case "ladder": (2..<count).flatMap { [($0 - 2, $0), ($0 - 1, $0)] }
            case "leaps": (1..<count).flatMap { [($0 - 1, $0), (0, $0)] }
            case "circle": (0..<count).map { ($0, ($0 + 1) % count) }
            default: (0..<100).flatMap { left in (100..<200).map { (left, $0) } }
            }
        let graph = WorkflowGraph(
            name: shape, nodes: (0..<count).map { .init(id: "t\($0)", run: .init(state: "completed", attempts: 1)) },
            edges: links.map { .init(from: "t\($0.0)", to: "t\($0.1)") })
        let drawing = try Drawing(graph.svg())
        #expect(drawing.titles.count == count + 1)
        #expect(graph.dot().utf8.count > count)
        #expect(graph.mermaid().utf8.count > count)
    }
}

/// What stands inside and outside of double quotes, where a backslash takes away the meaning of what follows it.
private struct Quoted {
    struct Open: Error {}

    var outside = ""
    var inside: [String] = []

    init(_ text: String) throws {
        var current: String.UnicodeScalarView?
        var isEscaped = false
        for scalar in text.unicodeScalars {
            if current == nil {
                if scalar == "\"" { current = .init() }
                self.outside.unicodeScalars.append(scalar)
            } else if scalar == "\"", !isEscaped {
                self.inside.append(String(current ?? .init()))
                self.outside.unicodeScalars.append(scalar)
                current = nil
            } else if scalar == "\n" {
                throw Open()
            } else {
                current?.append(scalar)
            }
            isEscaped = current != nil && scalar == "\\" && !isEscaped
        }
        guard current == nil else { throw Open() }
    }

    /// The lines of a label as Graphviz shows it.
    static func plainDOT(_ label: String) -> [String] {
        var lines = [""]
        var isEscaped = false
        for scalar in label.unicodeScalars {
            if !isEscaped, scalar == "\\" {
                isEscaped = true
                continue
            }
            if isEscaped, scalar == "n" {
                lines.append("")
            } else {
                if isEscaped, scalar != "\\", scalar != "\"" { lines[lines.count - 1] += "<escape>" }
                lines[lines.count - 1].unicodeScalars.append(scalar)
            }
            isEscaped = false
        }
        return lines.map { $0.replacing("&amp;", with: "&") }
    }

    /// The lines of a label as Mermaid shows it.
    static func plainMermaid(_ label: String) -> [String] {
        label.split(separator: "<br/>", omittingEmptySubsequences: false).map { line in
            String(line).replacing(#/#([0-9]+);/#.matchingSemantics(.unicodeScalar)) { match -> String in
                UInt32(match.1).flatMap(Unicode.Scalar.init).map { String($0) } ?? "<escape>"
            }
        }
    }
}

/// An SVG as a parser of XML sees it.
private final class Drawing: NSObject, XMLParserDelegate {
    struct Malformed: Error {}

    private(set) var elements: [String] = []
    private(set) var attributes: Set<String> = []
    private(set) var titles: [String] = []
    private(set) var texts: [String] = []
    private var current = ""

    init(_ svg: String) throws {
        super.init()
        let parser = XMLParser(data: Data(svg.utf8))
        parser.delegate = self
        guard parser.parse() else { throw parser.parserError ?? Malformed() }
    }

    func parser(
        _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
        attributes: [String: String] = [:]
    ) {
        self.elements.append(name)
        self.attributes.formUnion(attributes.keys)
        self.current = ""
    }

    func parser(_ parser: XMLParser, foundCharacters text: String) { self.current += text }

    func parser(_ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?) {
        if name == "title" { self.titles.append(self.current) }
        if name == "text" { self.texts.append(self.current) }
        self.current = ""
    }
}
