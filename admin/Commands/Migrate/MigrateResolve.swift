import ArgumentParser
import CloacinaSchema
import CloacinaTenancy

/// `cloacina-admin migrate resolve`.
struct MigrateResolve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resolve",
        abstract: "Settle a no-transaction migration that broke off half way, after a look at the schema.",
        discussion: """
            `applied` takes it for done: you have seen to it that everything it makes is there. `rerun` takes it for not \
            begun: the next `migrate apply` runs it again, from its beginning. The audit keeps it. Exit code 5 when another \
            process works on the tenant for 30 seconds.

              cloacina-admin migrate resolve --tenant acme app/0002 --as applied
              cloacina-admin migrate resolve --tenant acme app/0002 --as rerun
            """)

    /// The operator's finding.
    enum Finding: String, ExpressibleByArgument, CaseIterable {
        case applied, rerun
    }

    @Argument(
        help: ArgumentHelp("The migration.", valueName: "source/version"), transform: MigrationReference.init(parsing:))
    var migration: MigrationReference
    @Option(name: .long, help: ArgumentHelp("The tenant.", valueName: "name")) var tenant: String
    @Option(name: .customLong("as"), help: "What it is taken for.") var finding: Finding

    @OptionGroup(title: "Safety") var files: FileLoginOptions
    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func run() async throws {
        try await Administration.with(
            self.connection, tenant: self.tenant, files: self.files.login, console: .system
        ) {
            try await $0.resolve(
                self.migration.version, of: self.migration.source, tenant: self.tenant,
                as: self.finding == .applied ? .applied : .pending)
        }
        try Renderer(.system, self.output.output).show(
            HistoryChangeAnswer(
                tenant: self.tenant, migration: self.migration.text, change: "resolved as \(self.finding.rawValue)"))
    }
}
