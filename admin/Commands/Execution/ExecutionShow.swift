import ArgumentParser
import Cloacina

/// `cloacina-admin execution show`.
struct ExecutionShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Show one run: its state, its tasks and their attempts, and on request its history.",
        discussion: """
              cloacina-admin execution show 019a… --tenant acme --history
              cloacina-admin execution show 019a… --tenant acme --output json | jq '.tasks[] | select(.error)'

            Everything comes from the stored history; the workflow's definition is not known here. An attempt is stored when \
            it has ended, so while the pipeline runs:

              - a task that has not begun, or is in its first attempt, is not listed: which of the two is unknown;
              - a task that is listed as retrying or ready may have begun its next attempt;
              - only after a crash is the beginning of an attempt stored as well, and a task shown as running.

            The list of tasks of a run that has ended is complete. Of a task with more than 20 attempts the first 10 and the \
            last 10 are listed; --history has all. An attempt that a crash ended is missing; its number is not given again. \
            `execution graph` knows more, from a definition.
            """)

    @Argument(help: "The pipeline's id, from `execution list`.", transform: PipelineID.init(parsing:))
    var id: PipelineID
    @OptionGroup(title: "Tenant") var tenant: TenantOptions
    @Flag(name: .long, help: "Everything that happened, in the order of the runners' clocks.") var history = false
    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func run() async throws {
        let console = Console.system
        let report = try await TenantPipelines.report(
            of: self.id.value, self.connection, tenant: self.tenant.tenant, console: console)
        let answer = ExecutionAnswer(report, withHistory: self.history)
        try Renderer(console, self.output.output).show(answer, tables: answer.tables)
    }
}
