extension WorkflowGraph {
    /// How many edges Mermaid draws, unless its `maxEdges` is set otherwise.
    public static let maximumMermaidEdges = 500
    /// How long a text Mermaid draws, in UTF-16 units, unless its `maxTextSize` is set otherwise.
    public static let maximumMermaidCharacters = 50_000

    /// What of ``mermaid()`` is too much for Mermaid's default limits, such as `600 edges (at most 500)`; nil when viewers draw
    /// it. ``dot()`` and ``svg()`` have no such limits.
    public var mermaidExcess: String? {
        let edges = self.shape.tasks.dependencies.reduce(0) { $0 + $1.count }
        let characters = self.mermaid().utf16.count
        var excesses: [String] = []
        if edges > Self.maximumMermaidEdges { excesses.append("\(edges) edges (at most \(Self.maximumMermaidEdges))") }
        if characters > Self.maximumMermaidCharacters {
            excesses.append("\(characters) characters (at most \(Self.maximumMermaidCharacters))")
        }
        return excesses.isEmpty ? nil : excesses.joined(separator: " and ")
    }

    /// The graph as a Mermaid flowchart, left to right, as Markdown on many sites shows it.
    ///
    /// Tasks that show a run have its state, attempts and time below their name, and a legend explains the states. Names are
    /// escaped whatever they hold; what can't be shown, such as a line feed, appears as a picture of it. The same graph gives
    /// the same bytes. ``mermaidExcess`` says whether viewers refuse to draw it.
    public func mermaid() -> String {
        var text = "---\ntitle: \"\(GraphText.yaml(GraphText.printable(self.name)))\"\n---\nflowchart LR\n"
        var members: [RunAppearance: [String]] = [:]
        for (index, node) in self.drawnNodes.enumerated() {
            let lines = [GraphText.printable(node.id)] + (node.run?.lines ?? [])
            text += "  n\(index)[\"\(lines.map { GraphText.mermaid($0) }.joined(separator: "<br/>"))\"]\n"
            if let run = node.run { members[run.appearance, default: []].append("n\(index)") }
        }
        for (task, dependencies) in self.shape.tasks.dependencies.enumerated() {
            for dependency in dependencies { text += "  n\(dependency) --> n\(task)\n" }
        }
        let legend = self.legend
        guard !legend.isEmpty else { return text }
        text += "  subgraph legend [\"Legend\"]\n"
        for (appearance, label) in legend {
            text += "    legend_\(appearance.name)[\"\(GraphText.mermaid(label))\"]\n"
        }
        text += "  end\n"
        for (appearance, _) in legend {
            let dashes = appearance.isDashed ? ",stroke-dasharray:4 3" : ""
            let width = appearance.isThick ? ",stroke-width:2px" : ""
            let colors = "fill:\(appearance.fill),stroke:\(appearance.stroke)"
            text += "  classDef \(appearance.name) \(colors)\(width)\(dashes)\n"
            let names = members[appearance, default: []] + ["legend_\(appearance.name)"]
            text += "  class \(names.joined(separator: ",")) \(appearance.name)\n"
        }
        return text
    }
}
