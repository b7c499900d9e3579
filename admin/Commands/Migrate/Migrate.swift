import ArgumentParser

/// `cloacina-admin migrate`.
struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Bring the shared catalog and every tenant's schema to the newest version.",
        discussion: """
              cloacina-admin migrate status
              cloacina-admin migrate apply --migrations app/migrations=app
              cloacina-admin migrate rebless --tenant acme app/0002 --migrations app/migrations=app
              cloacina-admin migrate resolve --tenant acme app/0002 --as applied
            """,
        subcommands: [MigrateApply.self, MigrateStatus.self, MigrateRebless.self, MigrateResolve.self])
}
