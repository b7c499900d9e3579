import ArgumentParser
import Cloacina
import CloacinaWorkflow

/// `cloacina-admin execution graph`.
struct ExecutionGraph: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "graph",
        abstract: "Draw one run over its workflow's definition, with states, attempts and times.",
        discussion: """
              cloacina-admin execution graph 019a… --tenant acme --definition billing.json --format svg > run.svg

            \(DrawingOptions.howToWrite)

            The time is that of a task's last attempt that has ended. While the pipeline runs, a task without a stored event \
            is waiting when something it depends on has not ended, and otherwise `ready or running`, which are not told \
            apart. A definition of another version is drawn as well as it fits: tasks that it lacks are named on standard \
            error, and tasks that an ended run lacks are `not in this run`.
            """)

    @Argument(help: "The pipeline's id, from `execution list`.", transform: PipelineID.init(parsing:))
    var id: PipelineID
    @OptionGroup(title: "Tenant") var tenant: TenantOptions
    @OptionGroup(title: "Drawing") var drawing: DrawingOptions
    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func run() async throws {
        let console = Console.system
        let graph = try self.drawing.graph()
        let report = try await TenantPipelines.report(
            of: self.id.value, self.connection, tenant: self.tenant.tenant, console: console)
        let drawn = try Self.annotate(graph, with: report, console: console)
        try GraphDrawing(drawn).write(self.drawing.format, as: self.output.output, to: console)
    }

    /// The definition with what the run made of it.
    ///
    /// - Throws: `CommandError` when it defines another workflow.
    static func annotate(
        _ graph: WorkflowGraph, with report: PipelineReport, console: Console
    ) throws -> WorkflowGraph {
        guard graph.name == report.pipeline.workflow else {
            throw CommandError(
                .failed, "the definition is of \"\(graph.name)\", the run of \"\(report.pipeline.workflow)\"")
        }
        let missing = report.tasks(missingFrom: graph)
        if !missing.isEmpty {
            let names = missing.map { TextTable.printable($0) }.joined(separator: ", ")
            console.note("warning: the definition is of another version; the run also has: \(names)")
        }
        return graph.annotated(with: report.runs(in: graph))
    }
}
