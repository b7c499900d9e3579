import ArgumentParser
import CloacinaTenancy

/// `cloacina-admin tenant adopt`.
struct TenantAdopt: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "adopt",
        abstract: "Take over what goes by a tenant's names after a restore or an upgrade.",
        discussion: """
            A restore makes schemas and roles anew, and the registry knows them by number. This registers the new ones, \
            once the schema belongs to the tenant's owner role and the roles are what a tenant's are. Restore the roles \
            first (pg_dumpall --roles-only), then the database.

              cloacina-admin tenant adopt acme
            """)

    @Argument(help: "The tenant's name.") var name: String
    @OptionGroup(title: "Safety") var assent: AssentOptions
    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func run() async throws {
        let tenant = try await Administration.with(self.connection, tenant: self.name, console: .system) {
            try await $0.adoptTenant(named: self.name)
        }
        try Renderer(.system, self.output.output).show(TenantAnswer(tenant))
    }
}
