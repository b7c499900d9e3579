import ArgumentParser
import Cloacina

/// `cloacina-admin execution list`.
struct ExecutionList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List a tenant's pipelines, the newest first.",
        discussion: """
              cloacina-admin execution list --tenant acme --limit 20
              cloacina-admin execution list --tenant acme --state failed --state cancelled --output ndjson | jq -r .id

            When there are more, the option that continues is written to standard error.
            """)

    @OptionGroup(title: "Tenant") var tenant: TenantOptions

    @Option(name: .long, help: ArgumentHelp("Only runs of this workflow.", valueName: "name"))
    var workflow: String?

    @Option(
        name: .customLong("state"), parsing: .singleValue,
        help: ArgumentHelp("Only runs in this state; may be repeated.", valueName: "state"))
    var states: [PipelineState] = []

    @Option(name: .long, help: ArgumentHelp("How many at most, from 1 to 10000.", valueName: "number"))
    var limit = 50

    @Option(
        name: .long, help: ArgumentHelp("Continue after this one, the last of the page before.", valueName: "id"),
        transform: PipelineID.init(parsing:))
    var after: PipelineID?

    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func validate() throws {
        if !(1...10_000).contains(self.limit) { throw ValidationError("--limit is from 1 to 10000") }
    }

    /// One more than wanted, to know whether there are more.
    var query: PipelineQuery {
        PipelineQuery(
            workflow: self.workflow, statuses: Set(self.states.map(\.value)), after: self.after?.value,
            limit: self.limit + 1)
    }

    func run() async throws {
        let console = Console.system
        let found = try await TenantPipelines.with(
            self.connection, tenant: self.tenant.tenant, console: console
        ) { try await $0.list(self.query) }
        let page = ExecutionPage(found, limit: self.limit)
        try Renderer(console, self.output.output).show(page.lines)
        if let next = page.next { console.note("there are more: --after \(next)") }
    }
}
