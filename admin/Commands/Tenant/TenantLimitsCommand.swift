import ArgumentParser
import CloacinaPostgres
import CloacinaTenancy

/// `cloacina-admin tenant limits`.
struct TenantLimitsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "limits",
        abstract: "Show or change what a tenant's logins may use of the server.",
        discussion: """
            What is not given stays as it is; with nothing given the limits are shown. `none` leaves a limit to the server's \
            own settings. Connections and temporary files are enforced. The timeouts are defaults: a session may SET others, \
            and a login may ALTER ROLE its own. Sessions that are open keep those they began with. None of them limits the \
            service login.

              cloacina-admin tenant limits acme
              cloacina-admin tenant limits acme --connections 10 --statement-timeout 30s
              cloacina-admin tenant limits acme --temp-file-limit none --dry-run
            """)

    @Argument(help: "The tenant's name.") var name: String
    @OptionGroup(title: "Limits") var limits: LimitOptions
    @OptionGroup(title: "Safety") var rehearsal: RehearsalOptions
    @OptionGroup(title: "Safety") var assent: AssentOptions
    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func run() async throws {
        let console = Console.system
        let renderer = Renderer(console, self.output.output)
        try await Administration.with(self.connection, tenant: self.name, console: console) { admin in
            let tenant = try await admin.tenant(named: self.name)
            let limits = self.limits.applied(to: tenant.limits)
            if self.rehearsal.dryRun {
                try renderer.show(statements: try await admin.plannedSQL(limitingTenantNamed: self.name, to: limits))
                return
            }
            let limited =
                self.limits.isEmpty ? tenant : try await admin.setLimits(limits, forTenantNamed: self.name)
            let answer = LimitsAnswer(limited)
            try await answer.explain(limited, admin, console)
            try renderer.show(answer)
        }
    }
}
