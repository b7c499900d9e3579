import ArgumentParser

/// `cloacina-admin workflow`.
struct WorkflowCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "workflow",
        abstract: "Check and draw workflows' definitions.",
        discussion: """
              cloacina-admin workflow graph --definition billing.json --format mermaid
            """,
        subcommands: [WorkflowDrawing.self])
}

/// `cloacina-admin workflow graph`.
struct WorkflowDrawing: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "graph",
        abstract: "Check a workflow's definition and draw it.",
        discussion: """
              cloacina-admin workflow graph --definition billing.json
              my-application --print-workflow | cloacina-admin workflow graph --definition - --format svg > billing.svg

            \(DrawingOptions.howToWrite)

            No database is needed. Where the definition holds runs of its tasks, they are drawn as well.
            """)

    @OptionGroup(title: "Drawing") var drawing: DrawingOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func run() throws {
        try GraphDrawing(try self.drawing.graph())
            .write(self.drawing.format, as: self.output.output, to: Console.system)
    }
}
