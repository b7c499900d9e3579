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

            With --all-tenants, one that is busy or fails is listed and the others go on: exit code 4; running it again takes \
            those that are left. With --tenant, exit code 5 when another process works on it for 30 seconds.

              cloacina-admin migrate rebless --tenant acme app/0002 --migrations app/migrations=app
              cloacina-admin migrate rebless --all-tenants app/0002 --migrations app/migrations=app
            """)

    @Argument(
        help: ArgumentHelp("The migration.", valueName: "source/version"), transform: MigrationReference.init(parsing:))
    var migration: MigrationReference
    @Option(name: .long, help: ArgumentHelp("Only this tenant.", valueName: "name")) var tenant: String?
    @Flag(name: .long, help: "Every tenant that has the file applied with another text.") var allTenants = false

    @OptionGroup(title: "Migrations") var migrations: MigrationOptions
    @OptionGroup(title: "Safety") var files: FileLoginOptions
    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func validate() throws {
        guard (self.tenant != nil) != self.allTenants else {
            throw ValidationError("name one tenant with --tenant NAME, or say --all-tenants")
        }
    }

    func run() async throws {
        let console = Console.system
        let sets = try self.migrations.sets()
        let (migration, renderer) = (self.migration, Renderer(console, self.output.output))
        let (version, source) = (migration.version, migration.source)
        if let tenant {
            let isChanged = try await Administration.with(
                self.connection, tenant: tenant, files: self.files.login, console: console
            ) {
                try await $0.rebless(version, of: source, tenant: tenant, sets: sets)
            }
            if !isChanged { console.note("the file is what was applied; nothing had to change") }
            try renderer.show([
                HistoryChangeAnswer(tenant: tenant, migration: migration.text, change: isChanged ? "reblessed" : nil)
            ])
            return
        }
        let results = try await Administration.with(self.connection, files: self.files.login, console: console) {
            admin in
            try await admin.reblessAll(version, of: source, sets: sets) { result in
                let words = result.failure.map { ": " + $0.text } ?? ""
                console.note(TextTable.printable("\(result.tenant): \(result.outcome.rawValue)\(words)"))
            }
        }
        let answers = results.map { HistoryChangeAnswer($0, migration) }
        try renderer.show(answers)
        try HistoryChangeAnswer.status(of: answers).check()
    }
}
