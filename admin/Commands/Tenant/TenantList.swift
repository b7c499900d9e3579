import ArgumentParser
import CloacinaTenancy

/// `cloacina-admin tenant list`.
struct TenantList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List all tenants, those half created or half removed included.",
        discussion: """
              cloacina-admin tenant list
              cloacina-admin tenant list --output ndjson | jq -r 'select(.state != "active") | .name'
            """)

    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func run() async throws {
        let tenants = try await Administration.with(self.connection, console: .system) { try await $0.tenants() }
        try Renderer(.system, self.output.output).show(tenants.map { TenantAnswer($0) })
    }
}
