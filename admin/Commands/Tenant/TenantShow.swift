import ArgumentParser
import CloacinaTenancy

/// `cloacina-admin tenant show`.
struct TenantShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Show one tenant: schema, state, version, roles, limits.",
        discussion: """
              cloacina-admin tenant show acme --output json
            """)

    @Argument(help: "The tenant's name.") var name: String
    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func run() async throws {
        let tenant = try await Administration.with(self.connection, tenant: self.name, console: .system) {
            try await $0.tenant(named: self.name)
        }
        try Renderer(.system, self.output.output).show(TenantAnswer(tenant))
    }
}
