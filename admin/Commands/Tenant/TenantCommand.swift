import ArgumentParser

/// `cloacina-admin tenant`.
struct TenantCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tenant",
        abstract:
            "Create, list, show, limit, adopt and drop tenants, give them new secrets, say who runs their runners.",
        discussion: """
              cloacina-admin tenant create acme --credentials-file acme.json
              cloacina-admin tenant list
              cloacina-admin tenant reissue acme --credentials-file acme-2.json --end-sessions
              cloacina-admin tenant access acme --engine
              cloacina-admin tenant drop acme --confirm acme
            """,
        subcommands: [
            TenantCreate.self, TenantList.self, TenantShow.self, TenantLimitsCommand.self, TenantReissueCommand.self,
            TenantAccess.self, TenantAdopt.self, TenantDrop.self,
        ])
}
