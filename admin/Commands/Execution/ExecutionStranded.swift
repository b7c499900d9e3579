import ArgumentParser
import Cloacina

/// `cloacina-admin execution stranded`.
struct ExecutionStranded: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stranded",
        abstract: "List what waits in a tenant's queue and no runner takes: exit code 0 when nothing does, else 3.",
        discussion: """
              cloacina-admin execution stranded --tenant acme
              cloacina-admin execution stranded --tenant acme --older-than 3600 --output json

            One line for each workflow, and for each version where pipelines have begun; `any` stands for those that every \
            version may begin. Runners do not store what they can take, so two causes look alike here: no live runner has that \
            workflow or version, or those that have it are too busy. The runners themselves know: `stranded()`, the metric \
            `cloacina_pipelines_stranded` and their warnings tell what a runner can't take.

            The ways out are a runner that has the version (`registerEarlier(_:)`), `continueWithCurrentVersion(_:)`, `restart(_:)` and \
            `cancel(_:)`. Of each line at most 10000 pipelines are counted. Times go by the database's clock.
            """)

    @OptionGroup(title: "Tenant") var tenant: TenantOptions

    @Option(name: .long, help: ArgumentHelp("Only pipelines of this workflow.", valueName: "name"))
    var workflow: String?

    @Option(
        name: .long,
        help: ArgumentHelp("Only what has waited for longer than this, from 0 to 31536000.", valueName: "seconds"))
    var olderThan = 60

    @Option(name: .long, help: ArgumentHelp("How many lines at most, from 1 to 10000.", valueName: "number"))
    var limit = 50

    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func validate() throws {
        if !(1...10_000).contains(self.limit) { throw ValidationError("--limit is from 1 to 10000") }
        if !(0...31_536_000).contains(self.olderThan) { throw ValidationError("--older-than is from 0 to 31536000") }
    }

    func run() async throws {
        let console = Console.system
        // One more than wanted, to know whether there are more.
        let found = try await TenantPipelines.with(
            self.connection, tenant: self.tenant.tenant, console: console
        ) { try await $0.waiting(longerThan: self.olderThan, workflow: self.workflow, limit: self.limit + 1) }
        let lines = found.prefix(self.limit).map { StrandedLine($0) }
        try Renderer(console, self.output.output).show(lines)
        if found.count > self.limit { console.note("there are more: raise --limit") }
        try StrandedLine.status(of: lines).check()
    }
}
