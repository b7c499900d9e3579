import ArgumentParser
import CloacinaTenancy

/// `cloacina-admin migrate rebless`.
struct MigrateRebless: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rebless",
        abstract: "Accept an applied file as it is now, after it was edited.",
        discussion: """
            Only the history changes: nothing of the file runs. Whoever was created after the edit has the new text's \
            tables, whoever was there before has the old one's; see to it that they are the same. The audit keeps it.

              cloacina-admin migrate rebless --tenant acme app/0002 --migrations app/migrations=app
              cloacina-admin migrate rebless --all-tenants app/0002 --migrations app/migrations=app
            """)

    @Argument(help: ArgumentHelp("The migration.", valueName: "source/version")) var migration: MigrationReference
    @Option(name: .long, help: ArgumentHelp("Only this tenant.", valueName: "name")) var tenant: String?
    @Flag(name: .long, help: "Every tenant that has the file applied with another text.") var allTenants = false

    @Option(
        name: .customLong("migrations"), parsing: .singleValue,
        help: ArgumentHelp("The directory with the file.", valueName: "directory[=source]"), completion: .directory)
    var migrations: [MigrationDirectory] = []

    @OptionGroup(title: "Safety") var files: FileLoginOptions
    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func validate() throws {
        guard (self.tenant != nil) != self.allTenants else {
            throw ValidationError("name one tenant with --tenant NAME, or say --all-tenants")
        }
        try MigrationDirectory.checkSources(self.migrations)
    }

    func run() async throws {
        let sets = try self.migrations.sets()
        let tenants = try await Administration.with(
            self.connection, tenant: self.tenant, files: self.files.login, console: .system
        ) {
            try await $0.rebless(self.migration.version, of: self.migration.source, tenant: self.tenant, sets: sets)
        }
        try Renderer(.system, self.output.output).show(
            tenants.map { HistoryChangeAnswer(tenant: $0, migration: self.migration.text, change: "reblessed") })
    }
}
