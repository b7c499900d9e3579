import ArgumentParser
import CloacinaTenancy

/// `cloacina-admin migrate status`.
struct MigrateStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show what is pending: exit code 0 when nothing is, else 3.",
        discussion: """
            One query, however many tenants there are. Tenants that are half created or half removed are listed, but \
            only active ones count.

              cloacina-admin migrate status
              cloacina-admin migrate status --tenant acme --migrations app/migrations=app --output json
            """)

    @OptionGroup(title: "Migrations") var migrations: MigrationOptions
    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func run() async throws {
        let sets = try self.migrations.sets()
        let tenant = self.migrations.tenant
        let status = try await Administration.with(self.connection, tenant: tenant, console: .system) {
            try await $0.migrationStatus(tenant: tenant, sets: sets)
        }
        let lines = MigrationStatusAnswer.lines(of: status)
        try Renderer(.system, self.output.output).show(lines)
        try MigrationStatusAnswer.status(of: lines).check()
    }
}
