import ArgumentParser
import CloacinaTenancy

/// `cloacina-admin tenant drop`.
struct TenantDrop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drop",
        abstract: "Remove a tenant and everything it owns, for ever.",
        discussion: """
            Shuts its logins, ends its sessions, drops its schema, what its roles own and the roles, and then proves \
            from the catalogs that nothing is left. A removal that was cut off goes on by the same command.

              cloacina-admin tenant drop acme --dry-run
              cloacina-admin tenant drop acme --confirm acme
            """)

    @Argument(help: "The tenant's name.") var name: String
    @OptionGroup(title: "Safety") var confirmation: ConfirmationOptions
    @OptionGroup(title: "Safety") var rehearsal: RehearsalOptions
    @OptionGroup(title: "Safety") var assent: AssentOptions
    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func validate() throws {
        if let confirm = self.confirmation.confirm, confirm != self.name {
            throw ValidationError("--confirm says \(confirm), the tenant is \(self.name)")
        }
    }

    func run() async throws {
        let console = Console.system
        let renderer = Renderer(console, self.output.output)
        if !self.rehearsal.dryRun && !console.standardInputIsTerminal {
            try self.confirmation.check(self.name, console: console)
        }
        try await Administration.with(self.connection, tenant: self.name, console: console) { admin in
            if self.rehearsal.dryRun {
                try renderer.show(statements: try await admin.plannedSQL(removing: self.name))
                return
            }
            let tenant = try await admin.tenant(named: self.name)
            console.note("to be removed: schema \(tenant.schema) with all its data, and the tenant's roles and logins")
            try self.confirmation.check(self.name, console: console)
            try renderer.show(RemovalAnswer(try await admin.removeTenant(named: self.name)))
        }
    }
}
