import ArgumentParser
import CloacinaTenancy

/// `cloacina-admin tenant drop`.
struct TenantDrop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drop",
        abstract: "Remove a tenant and everything it owns, for ever.",
        discussion: """
            Shuts its logins, ends its sessions, drops its schema, what its roles own and the roles, and then proves \
            from the catalogs that nothing is left. What the tenant left in other databases of the server goes as well. A \
            removal that was cut off goes on by the same command, which says so when all of it was done already.

              cloacina-admin tenant drop acme --dry-run
              cloacina-admin tenant drop acme --confirm acme
            """)

    @Argument(help: "The tenant's name.") var name: String

    @Option(
        name: .long,
        help: ArgumentHelp(
            "How long, over all steps, locks and sessions of others may hold it up.", valueName: "seconds"))
    var patience = 30

    @Flag(name: .long, help: "Drop what others made of its things as well, such as views over its tables.")
    var cascade = false

    @OptionGroup(title: "Safety") var confirmation: ConfirmationOptions
    @OptionGroup(title: "Safety") var rehearsal: RehearsalOptions
    @OptionGroup(title: "Safety") var assent: AssentOptions
    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func validate() throws {
        if let confirm = self.confirmation.confirm, confirm != self.name {
            throw ValidationError("--confirm says \(confirm), the tenant is \(self.name)")
        }
        guard (1...86_400).contains(self.patience) else {
            throw ValidationError("--patience is a number of seconds from 1 to 86400, not \(self.patience)")
        }
    }

    func run() async throws {
        let console = Console.system
        let renderer = Renderer(console, self.output.output)
        if !self.rehearsal.dryRun && !console.standardInputIsTerminal {
            try self.confirmation.check(self.name, console: console)
        }
        try await Administration.with(self.connection, tenant: self.name, console: console) { admin in
            let patience = Duration.seconds(self.patience)  // can't trap: validate() lets a day pass at most
            if self.rehearsal.dryRun {
                try renderer.show(
                    statements: try await admin.plannedSQL(
                        removing: self.name, cascade: self.cascade, patience: patience))
                return
            }
            guard let tenant = try await self.tenant(admin, renderer, console) else { return }
            console.note("to be removed: schema \(tenant.schema) with all its data, and the tenant's roles and logins")
            // What others would lose, and what lies elsewhere, is said before anybody agrees.
            let plan = try await admin.plannedSQL(removing: self.name, cascade: self.cascade, patience: patience)
            for line in plan where line.hasPrefix("-- ") {
                console.note(TextTable.printable(String(line.dropFirst(3))))
            }
            try self.confirmation.check(self.name, console: console)
            let report = try await admin.removeTenant(named: self.name, cascade: self.cascade, patience: patience)
            try renderer.show(RemovalAnswer(report))
        }
    }

    /// The tenant; nil, once that was said, when it was removed already and the answer to that was lost.
    private func tenant(_ admin: DatabaseAdmin, _ renderer: Renderer, _ console: Console) async throws -> Tenant? {
        do {
            return try await admin.tenant(named: self.name)
        } catch let error as AdminError where error.code == .tenantNotFound {
            guard let removal = try await admin.finishedRemoval(ofTenant: self.name) else { throw error }
            let answer = RemovedAnswer(tenant: self.name, removal)
            console.note(
                "the tenant was removed already, at \(answer.finishedAt) by \(answer.actor); nothing was changed")
            try renderer.show(answer)
            return nil
        }
    }
}
