import ArgumentParser
import CloacinaTenancy

/// `cloacina-admin tenant access`.
struct TenantAccess: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "access",
        abstract: "Let a tenant's own logins run its runners, or no longer.",
        usage:
            "cloacina-admin tenant access <name> (--engine | --no-engine) [--database-url <url>] [--output <output>]",
        discussion: """
              cloacina-admin tenant access acme --engine
              cloacina-admin tenant access acme --no-engine

            With engine access, runners may connect as the tenant's own login: it writes the engine's tables, and could forge or \
            spoil its own pipelines. Without it, its logins see their pipelines through the views cloacina_pipeline_list, \
            cloacina_pipeline_events and cloacina_pipeline_tasks, and call cloacina_enqueue and cloacina_signal. The service's \
            login runs every tenant's runners in either case. It counts at once, for open sessions too.
            """)

    @Argument(help: "The tenant's name.") var name: String
    @Flag(inversion: .prefixedNo, help: "Whether its logins may run its runners.") var engine: Bool
    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func run() async throws {
        let tenant = try await Administration.with(self.connection, tenant: self.name, console: .system) {
            try await $0.setEngineAccess(self.engine, ofTenant: self.name)
        }
        try Renderer(.system, self.output.output).show(TenantAnswer(tenant))
    }
}
