extension WorkflowGraph {
    /// The graph in the language of Graphviz, left to right: `dot -Tsvg` draws it.
    ///
    /// Tasks that show a run have its state, attempts and time below their name, and a legend explains the states. Names are
    /// escaped whatever they hold; what can't be shown, such as a line feed, appears as a picture of it. The same graph gives
    /// the same bytes.
    public func dot() -> String {
        let name = GraphText.dot(GraphText.printable(self.name))
        var text = """
            digraph workflow {
              graph [rankdir=LR, charset="UTF-8", fontname="monospace", labelloc=t, label="\(name)"];
              node [shape=box, style="rounded,filled", fillcolor="#ffffff", color="#57606a", fontname="monospace"];
              edge [color="#57606a"];

            """
        for (index, node) in self.drawnNodes.enumerated() {
            let lines = [GraphText.printable(node.id)] + (node.run?.lines ?? [])
            let label = lines.map { GraphText.dot($0) }.joined(separator: "\\n")
            text += "  n\(index) [label=\"\(label)\"\(node.run?.appearance.dotAttributes ?? "")];\n"
        }
        for (task, dependencies) in self.shape.tasks.dependencies.enumerated() {
            for dependency in dependencies { text += "  n\(dependency) -> n\(task);\n" }
        }
        let legend = self.legend
        if !legend.isEmpty {
            text += "  subgraph cluster_legend {\n    label=\"Legend\";\n"
            for (appearance, label) in legend {
                text += "    legend_\(appearance.name) [label=\"\(label)\"\(appearance.dotAttributes)];\n"
            }
            text += "  }\n"
        }
        return text + "}\n"
    }
}

extension RunAppearance {
    fileprivate var dotAttributes: String {
        let style = self.isDashed ? ", style=\"rounded,filled,dashed\"" : ""
        let width = self.isThick ? ", penwidth=2" : ""
        return ", fillcolor=\"\(self.fill)\", color=\"\(self.stroke)\"\(style)\(width)"
    }
}
