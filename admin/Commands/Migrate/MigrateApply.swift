import ArgumentParser
import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy

/// `cloacina-admin migrate apply`.
struct MigrateApply: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply",
        abstract: "Apply what is pending, to the shared catalog first and then tenant by tenant.",
        discussion: """
            Each tenant's own history decides. A tenant that fails, or whose history and files differ (late, edited, \
            missing, …), is reported with the command that leads out and the others go on: exit code 4, or for a single \
            tenant 1, or 5 when a lock stayed taken. Running it again goes on where it stopped. Files run over a login that is \
            made for each tenant and dropped after it.

              cloacina-admin migrate apply
              cloacina-admin migrate apply --dry-run
              cloacina-admin migrate apply --tenant acme --migrations app/migrations=app
            """)

    @OptionGroup(title: "Migrations") var scope: MigrationScopeOptions
    @OptionGroup(title: "Migrations") var migrations: MigrationOptions
    @OptionGroup(title: "Migrations") var leniency: LeniencyOptions
    @OptionGroup(title: "Safety") var rehearsal: RehearsalOptions
    @OptionGroup(title: "Safety") var files: FileLoginOptions
    @OptionGroup(title: "Safety") var assent: AssentOptions
    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func run() async throws {
        let console = Console.system
        let renderer = Renderer(console, self.output.output)
        let sets = try self.migrations.sets()
        let tenant = self.scope.tenant
        let configuration = self.leniency.configuration
        try await Administration.with(self.connection, tenant: tenant, files: self.files.login, console: console) {
            admin in
            if self.rehearsal.dryRun {
                let status = try await admin.migrationStatus(tenant: tenant, sets: sets, configuration: configuration)
                try renderer.show(statements: try Self.plan(MigrationStatusAnswer.lines(of: status), sets))
                for problem in status.controlProblems {
                    console.note(TextTable.printable("(shared): \(problem.text)"))
                }
                guard status.controlProblems.isEmpty else { throw ExitCode(CommandStatus.failed.rawValue) }
                let refused = status.tenants.filter { $0.state != .removing && !$0.blockers.isEmpty }
                for line in refused.flatMap({ tenant in tenant.blockers.map { "\(tenant.tenant): \($0.text)" } }) {
                    console.note(TextTable.printable(line))
                }
                guard refused.isEmpty else {
                    throw ExitCode((tenant == nil ? CommandStatus.someTenantsFailed : .failed).rawValue)
                }
                return
            }
            let report = try await admin.migrate(tenant: tenant, sets: sets, configuration: configuration) { result in
                for line in MigrationResultAnswer.remarks(on: result) { console.note(TextTable.printable(line)) }
            }
            console.note("up to date before: \(report.upToDate)")
            let lines = MigrationResultAnswer.lines(of: report)
            try renderer.show(lines)
            try MigrationResultAnswer.status(of: lines, isFleet: tenant == nil).check()
        }
    }

    /// The statements of what is pending and would be applied, schema by schema: none at all while the shared catalog's
    /// differences forbid it.
    static func plan(_ lines: [MigrationStatusAnswer], _ sets: [MigrationSet]) throws -> [String] {
        let control = try MigrationSet.embedded(.control)
        let all = [try MigrationSet.embedded(.tenant)] + sets
        guard lines.allSatisfy({ $0.tenant != nil || $0.isToBeMigrated }) else { return [] }
        return lines.filter { $0.isToBeMigrated && !$0.pending.isEmpty }.flatMap { line in
            let pending = Set(line.pending)
            let migrations = (line.tenant == nil ? [control] : all).flatMap { set in
                set.migrations.filter { pending.contains("\(set.source)/\($0.name)") }
            }
            let path = "SET search_path TO \(PostgresIdentifier.quote(line.schema)), pg_temp"
            return [path] + migrations.flatMap { $0.up.map(\.text) }
        }
    }
}
