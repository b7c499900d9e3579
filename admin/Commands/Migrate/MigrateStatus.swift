import ArgumentParser
import CloacinaTenancy

/// `cloacina-admin migrate status`.
struct MigrateStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show what is pending or differs: exit code 0 when nothing does, else 3.",
        discussion: """
            Each tenant's own history is compared with the files: what is pending, late, edited, missing, newer, failed, \
            moved to another source or restored from an older backup is named. Tenants that are half removed are listed, \
            but don't count.

              cloacina-admin migrate status
              cloacina-admin migrate status --tenant acme --migrations app/migrations=app --output json
            """)

    @OptionGroup(title: "Migrations") var scope: MigrationScopeOptions
    @OptionGroup(title: "Migrations") var migrations: MigrationOptions
    @OptionGroup(title: "Migrations") var leniency: LeniencyOptions
    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func run() async throws {
        let sets = try self.migrations.sets()
        let tenant = self.scope.tenant
        let status = try await Administration.with(self.connection, tenant: tenant, console: .system) {
            try await $0.migrationStatus(tenant: tenant, sets: sets, configuration: self.leniency.configuration)
        }
        let lines = MigrationStatusAnswer.lines(of: status)
        for line in MigrationStatusAnswer.remarks(on: status) {
            Console.system.note(TextTable.printable(line))
        }
        try Renderer(.system, self.output.output).show(lines)
        try MigrationStatusAnswer.status(of: lines).check()
    }
}
