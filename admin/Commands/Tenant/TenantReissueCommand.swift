import ArgumentParser
import CloacinaTenancy

/// `cloacina-admin tenant reissue`.
struct TenantReissueCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reissue",
        abstract: "Give a tenant's login a new secret; the old one is dead.",
        discussion: """
            For a secret that was lost or stolen, and for a tenant that changed its own password or settings and locked \
            itself out: settings are put back as well. The file is whole on the disk before the new password is in \
            force. A command that was cut off is finished by the same command.

            Sessions that the old password opened go on unless --end-sessions is given.

              cloacina-admin tenant reissue acme --credentials-file acme-2.json
              cloacina-admin tenant reissue acme --credentials-file acme-2.json --end-sessions
            """)

    @Argument(help: "The tenant's name.") var name: String

    @Flag(name: .long, help: "End the login's sessions, which the old password opened.")
    var endSessions = false

    @OptionGroup(title: "Secret") var credentials: CredentialsOptions
    @OptionGroup(title: "Secret") var password: PasswordOptions
    @OptionGroup(title: "Safety") var rehearsal: RehearsalOptions
    @OptionGroup(title: "Safety") var assent: AssentOptions
    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func run() async throws {
        let console = Console.system
        // What a script got wrong is said before anything is connected to, let alone changed.
        if !self.rehearsal.dryRun { _ = try self.destination(console) }
        var options = ReissueOptions()
        options.password = try self.password.read()
        options.endsSessions = self.endSessions
        let renderer = Renderer(console, self.output.output)
        try await Administration.with(self.connection, tenant: self.name, console: console) { admin in
            if self.rehearsal.dryRun {
                try renderer.show(statements: try await admin.plannedSQL(reissuing: self.name, options: options))
                return
            }
            let report: ReissueReport
            switch try self.destination(console) {
            case .file(let path):
                report = try await self.reissue(options, admin, into: path, console)
                self.say(report, console)
                try renderer.show(TenantAnswer(try await admin.tenant(named: self.name), credentialsFile: path))
            case .terminal:
                report = try await admin.reissueCredentials(forTenant: self.name, options: options)
                self.say(report, console)
                try renderer.show(CredentialsDocument(report.credentials))
                console.note("the password is shown this once and stored nowhere")
            case .nowhere:
                report = try await admin.reissueCredentials(forTenant: self.name, options: options)
                self.say(report, console)
                try renderer.show(TenantAnswer(try await admin.tenant(named: self.name)))
            }
        }
    }

    private func destination(_ console: Console) throws -> CredentialsOptions.Destination {
        try self.credentials.destination(isSupplied: self.password.isSupplied, console: console)
    }

    private func say(_ report: ReissueReport, _ console: Console) {
        console.note("the old secret is dead; sessions ended: \(report.endedSessions)")
        if report.remainingSessions > 0 {
            console.note(
                "warning: sessions of the login that did not end: \(report.remainingSessions); look at pg_stat_activity"
            )
        }
    }

    /// Puts the new secret into a file, or goes on where a process was killed that had written the file.
    private func reissue(
        _ options: ReissueOptions, _ admin: DatabaseAdmin, into path: String, _ console: Console
    ) async throws -> ReissueReport {
        guard let kept = try CredentialsFile.kept(CredentialsDocument.self, at: path) else {
            let file = try CredentialsFile(creating: path)
            do {
                return try await admin.reissueCredentials(forTenant: self.name, options: options) {
                    try file.write(CredentialsDocument($0))
                }
            } catch {
                file.discard()
                throw error
            }
        }
        // A secret of before, which may be the stolen one, is not what was being handed over.
        guard kept.tenant == self.name, options.password.map({ $0 == kept.password }) ?? true,
            try await admin.unfinishedReissue(ofTenant: self.name)?
                .wasOf(kept.password, isGiven: options.password != nil) == true
        else {
            let works = kept.tenant == self.name ? await kept.logsIn() : false
            throw CommandError(
                .failed,
                "\(path) exists already; it is not overwritten"
                    + (works ? ". The secret in it works: a command that was cut off at its very end was done" : ""),
                hint: "name another file for another secret")
        }
        var options = options
        options.isPasswordMade = options.password == nil
        options.password = kept.password
        let report = try await admin.reissueCredentials(forTenant: self.name, options: options) {
            try kept.check(CredentialsDocument($0), at: path)
        }
        console.note("finished what was cut off, with the secret that \(path) holds")
        return report
    }
}
