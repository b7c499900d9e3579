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
            and a login may ALTER ROLE its own. Sessions that are open keep those they began with; one of the tenant's own that \
            holds its login, by an open ALTER ROLE, is ended. None of them limits the service login.

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
            guard !self.limits.isEmpty else {
                try await Self.show(LimitsAnswer(tenant), of: tenant, admin, renderer, console)
                return
            }
            let report = try await admin.setLimits(limits, forTenantNamed: self.name)
            for session in report.endedSessions {
                console.note(TextTable.printable("ended, because it held up the change: \(session)"))
            }
            var answer = LimitsAnswer(report.tenant)
            answer.endedSessions = report.endedSessions
            try await Self.show(answer, of: report.tenant, admin, renderer, console)
        }
    }

    private static func show(
        _ answer: LimitsAnswer, of tenant: Tenant, _ admin: DatabaseAdmin, _ renderer: Renderer, _ console: Console
    ) async throws {
        try await answer.explain(tenant, admin, console)
        try renderer.show(answer)
    }
}
