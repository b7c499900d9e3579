import ArgumentParser

/// `cloacina-admin tenant`.
struct TenantCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tenant",
        abstract: "Create, list, show and drop tenants.",
        discussion: """
              cloacina-admin tenant create acme --credentials-file acme.json
              cloacina-admin tenant list
              cloacina-admin tenant drop acme --confirm acme
            """,
        subcommands: [TenantCreate.self, TenantList.self, TenantShow.self, TenantDrop.self])
}
