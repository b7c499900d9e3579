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

    /// Writes the drawing as data, and a note when viewers refuse it.
    func write(_ format: DrawingFormat, to console: Console) {
        console.data(self.text(format))
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
