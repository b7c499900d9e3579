import CloacinaWorkflow

/// A graph in each of the formats.
struct GraphDrawing {
    let graph: WorkflowGraph

    init(_ graph: WorkflowGraph) { self.graph = graph }

    func text(_ format: DrawingFormat) -> String {
        switch format {
        case .dot: self.graph.dot()
        case .mermaid: self.graph.mermaid()
        case .svg: self.graph.svg()
        case .text: self.table.text
        }
    }

    /// Writes the drawing as data, by itself or in a JSON object beside the graph, and a note when viewers refuse it.
    func write(_ format: DrawingFormat, as output: OutputFormat = .table, to console: Console) throws {
        switch output {
        case .table: console.data(self.text(format))
        case .json, .ndjson:
            try Renderer(console, output).show(
                DrawingAnswer(graph: self.graph, format: format.rawValue, drawing: self.text(format)), tables: [])
        }
        guard format == .mermaid, let excess = self.graph.mermaidExcess else { return }
        console.note("warning: viewers of Mermaid refuse \(excess) unless told otherwise; use --format svg or dot")
    }

    /// The tasks in the order of their levels; those of one level could run at the same time.
    var table: TextTable {
        let runs = Dictionary(
            self.graph.nodes.compactMap { node in node.run.map { (node.id, $0) } },
            uniquingKeysWith: { first, _ in first })
        var dependencies: [String: [String]] = [:]
        for edge in self.graph.edges { dependencies[edge.to, default: []].append(edge.from) }
        let rows = self.graph.levels.enumerated().flatMap { level, ids in
            ids.map { id in
                let row = [String(level + 1), id, dependencies[id].map { $0.joined(separator: ", ") } ?? "-"]
                return runs.isEmpty ? row : row + Self.cells(runs[id])
            }
        }
        let headings = ["level", "task", "after"]
        return TextTable(runs.isEmpty ? headings : headings + ["state", "attempts", "took"], rows: rows)
    }

    private static func cells(_ run: WorkflowGraph.TaskRun?) -> [String] {
        guard let run else { return ["-", "-", "-"] }
        return [run.state, String(run.attempts), run.duration?.brief ?? "-"]
    }
}

/// The answer of `--output json` and `ndjson` on a graph.
struct DrawingAnswer: Encodable {
    /// The definition, with the runs of its tasks where there are some; `--definition` reads it again.
    let graph: WorkflowGraph
    /// The language of ``drawing``: `dot`, `mermaid`, `svg` or `text`.
    let format: String
    let drawing: String
}
