extension WorkflowGraph {
    /// The graph as a drawing: layers from left to right, each task after what it depends on.
    ///
    /// The SVG stands for itself: no scripts, no style sheets, no links, nothing to fetch. Each task has a title for screen
    /// readers and tooltips with its full name, its state and what it comes after. Tasks that show a run have its state,
    /// attempts and time below their name, and a legend explains the states. Edges of a circle that lead back are dashed.
    /// The same graph gives the same bytes, and the time grows with the number of tasks and edges.
    public func svg() -> String { SVGDrawing(self).text }
}

/// Writes the drawing of one graph.
private struct SVGDrawing {
    private static let margin = 20
    private static let headerHeight = 28
    private static let lineHeight = 16
    private static let columnWidth = 7.25
    private static let maximumColumns = 40
    private static let ink = "#1f2328"
    private static let line = "#57606a"

    private let graph: WorkflowGraph
    private let nodes: [WorkflowGraph.Node]
    private let lines: [[String]]
    private let sizes: [GraphLayout.Size]
    private let layout: GraphLayout
    private let top: Int

    init(_ graph: WorkflowGraph) {
        self.graph = graph
        self.nodes = graph.drawnNodes
        self.lines = self.nodes.map { node in
            ([GraphText.printable(node.id)] + (node.run?.lines ?? [])).map { Self.elided($0) }
        }
        self.sizes = self.lines.map { lines in
            let columns = lines.reduce(0) { max($0, GraphText.columns($1)) }
            return GraphLayout.Size(width: Self.width(columns: columns), height: lines.count * Self.lineHeight + 16)
        }
        self.layout = GraphLayout(graph.shape.tasks, sizes: self.sizes)
        // Edges that lead back go over the tops of the boxes.
        let bow = self.layout.order.routes.contains { $0.leadsBack } ? 60 : 0
        self.top = Self.margin + Self.headerHeight + bow
    }

    var text: String {
        let name = Self.elided(GraphText.printable(self.graph.name))
        let legend = self.graph.legend
        let legendWidth = legend.reduce(0) { $0 + Self.width(columns: GraphText.columns($1.label)) + 10 }
        let inner = max(self.layout.width, legendWidth, Self.width(columns: GraphText.columns(name) * 7 / 6))
        let width = inner + 2 * Self.margin
        let height = self.top + self.layout.height + (legend.isEmpty ? 0 : 52) + Self.margin
        var text = """
            <svg xmlns="http://www.w3.org/2000/svg" width="\(width)" height="\(height)" \
            viewBox="0 0 \(width) \(height)" role="graphics-document" \
            font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12">
            <title>\(GraphText.xml(GraphText.printable(self.graph.name)))</title>
            <desc>\(GraphText.xml(self.summary))</desc>
            <rect width="\(width)" height="\(height)" fill="#ffffff"/>
            <text x="\(Self.margin)" y="\(Self.margin + 12)" font-size="14" font-weight="bold" \
            fill="\(Self.ink)">\(GraphText.xml(name))</text>

            """
        self.writeEdges(to: &text)
        text += "<g fill=\"\(Self.ink)\" text-anchor=\"middle\">\n"
        for task in self.nodes.indices { self.writeTask(task, to: &text) }
        if !legend.isEmpty { self.writeLegend(legend, at: height - Self.margin - 28, to: &text) }
        return text + "</g>\n</svg>\n"
    }

    private var summary: String {
        let tasks = self.nodes.count == 1 ? "1 task" : "\(self.nodes.count) tasks"
        let edges = self.layout.order.routes.count
        let facts = "\(tasks), \(edges == 1 ? "1 dependency" : "\(edges) dependencies")"
        guard let description = self.graph.description else { return facts }
        return "\(GraphText.printable(description)) (\(facts))"
    }

    private func writeEdges(to text: inout String) {
        guard !self.layout.order.routes.isEmpty else { return }
        text += "<g fill=\"none\" stroke=\"\(Self.line)\">\n"
        for route in self.layout.order.routes {
            let dashes = route.leadsBack ? " stroke-dasharray=\"5 3\"" : ""
            text += "<path d=\"\(route.leadsBack ? self.bow(route) : self.curve(route))\"\(dashes)/>\n"
        }
        text += "</g>\n<g fill=\"\(Self.line)\">\n"
        for (task, dependencies) in self.graph.shape.tasks.dependencies.enumerated()
        where dependencies.contains(where: { $0 != task }) {
            let (x, y) = self.entry(of: task)
            text += "<path d=\"M\(x) \(y)l-8 -4v8z\"/>\n"
        }
        text += "</g>\n"
    }

    /// A curve that leaves to the right and arrives from the left, level in every bend.
    private func curve(_ route: LayeredOrder.Route) -> String {
        var (x, y) = self.exit(of: route.from)
        var path = "M\(x) \(y)"
        for bend in route.bends {
            let layer = self.layout.order.layerOf[bend]
            let left = self.layerLeft(layer)
            let bendY = self.top + self.layout.middle[bend]
            path += "C\((x + left) / 2) \(y) \((x + left) / 2) \(bendY) \(left) \(bendY)"
            x = left + self.layout.layerWidth[layer]
            y = bendY
            path += "H\(x)"
        }
        let (endX, endY) = self.entry(of: route.to)
        // Ending inside the arrow's head keeps the line from showing through its tip.
        return path + "C\((x + endX) / 2) \(y) \((x + endX) / 2) \(endY) \(endX - 4) \(endY)"
    }

    /// A curve over the tops of the boxes, from right to left; for a task that waits for itself, a loop at its right side.
    private func bow(_ route: LayeredOrder.Route) -> String {
        let (x, y) = self.exit(of: route.from)
        guard route.from != route.to else { return "M\(x) \(y - 8)c32 -12 32 28 0 16" }
        let (endX, endY) = self.entry(of: route.to)
        let rise = self.sizes[route.from].height / 2 + 48
        return "M\(x) \(y)C\(x + 44) \(y - rise) \(endX - 44) \(endY - rise) \(endX - 4) \(endY)"
    }

    private func writeTask(_ task: Int, to text: inout String) {
        let size = self.sizes[task]
        let x = self.left(of: task)
        let y = self.top + self.layout.middle[task] - size.height / 2
        text += "<g role=\"graphics-symbol\"><title>\(GraphText.xml(self.title(of: task)))</title>"
        text += Self.box(self.nodes[task].run?.appearance, x: x, y: y, width: size.width, height: size.height)
        for (index, line) in self.lines[task].enumerated() {
            let lineY = y + 20 + index * Self.lineHeight
            let weight = index == 0 ? " font-weight=\"bold\"" : ""
            text += "<text x=\"\(x + size.width / 2)\" y=\"\(lineY)\"\(weight)>\(GraphText.xml(line))</text>"
        }
        text += "</g>\n"
    }

    private func writeLegend(_ legend: [(appearance: RunAppearance, label: String)], at y: Int, to text: inout String) {
        var x = Self.margin
        for (appearance, label) in legend {
            let width = Self.width(columns: GraphText.columns(label))
            text += Self.box(appearance, x: x, y: y, width: width, height: 28)
            text += "<text x=\"\(x + width / 2)\" y=\"\(y + 18)\">\(GraphText.xml(label))</text>\n"
            x += width + 10
        }
    }

    private func title(of task: Int) -> String {
        let node = self.nodes[task]
        var title = GraphText.printable(node.id)
        if let run = node.run { title += ": \(run.lines.joined(separator: ", "))" }
        let dependencies = self.graph.shape.tasks.dependencies[task]
        guard !dependencies.isEmpty else { return title }
        let shown = dependencies.prefix(10).map { GraphText.printable(self.nodes[$0].id) }.joined(separator: ", ")
        let more = dependencies.count > 10 ? " and \(dependencies.count - 10) more" : ""
        return "\(title); after \(shown)\(more)"
    }

    private static func box(_ appearance: RunAppearance?, x: Int, y: Int, width: Int, height: Int) -> String {
        let dashes = appearance?.isDashed == true ? " stroke-dasharray=\"4 3\"" : ""
        let thickness = appearance?.isThick == true ? " stroke-width=\"2\"" : ""
        return """
            <rect x="\(x)" y="\(y)" width="\(width)" height="\(height)" rx="6" fill="\(appearance?.fill ?? "#ffffff")" \
            stroke="\(appearance?.stroke ?? Self.line)"\(thickness)\(dashes)/>
            """
    }

    private func left(of task: Int) -> Int {
        let layer = self.layout.order.layerOf[task]
        return self.layerLeft(layer) + (self.layout.layerWidth[layer] - self.sizes[task].width) / 2
    }

    private func layerLeft(_ layer: Int) -> Int { Self.margin + self.layout.layerX[layer] }

    private func exit(of task: Int) -> (x: Int, y: Int) {
        (self.left(of: task) + self.sizes[task].width, self.top + self.layout.middle[task])
    }

    private func entry(of task: Int) -> (x: Int, y: Int) {
        (self.left(of: task), self.top + self.layout.middle[task])
    }

    private static func elided(_ text: String) -> String { GraphText.elided(text, columns: self.maximumColumns) }

    private static func width(columns: Int) -> Int {
        Int(Double(columns) * self.columnWidth) + 24  // can't trap: the columns of a text, a few pixels each
    }
}
