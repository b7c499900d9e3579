import ArgumentParser

/// `cloacina-admin migrate`.
struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Bring the shared catalog and every tenant's schema to the newest version.",
        discussion: """
              cloacina-admin migrate status
              cloacina-admin migrate apply --migrations app/migrations=app
            """,
        subcommands: [MigrateApply.self, MigrateStatus.self])
}
