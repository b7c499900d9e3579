import ArgumentParser
import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials

/// `cloacina-admin bootstrap`.
struct Bootstrap: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Prepare a database for tenants: shared catalog, service login, what PUBLIC may no longer do.",
        discussion: """
            Run it once per database; running it again changes only what is missing. The administrator needs CREATEROLE \
            and CREATE on the database; where it lacks a right, the statement that grants it is named. The database \
            holds UTF-8; another is refused.

            The service login is what a pool of your application logs in as to serve all tenants. It has no password \
            until it is given one here. The file is whole on the disk before the password is in force, and a command \
            that was cut off is finished by the same command.

            Roles belong to the whole server: databases whose tenants must not reach each other need a service login and \
            a group each, and bootstrap warns of those that are shared. A service login that exists and that no \
            bootstrap made is refused: others may know its password.

              cloacina-admin bootstrap
              cloacina-admin bootstrap --service-credentials-file service.json
            """)

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Make a password for the service login and write its credentials as JSON to this file, mode 0600.",
            discussion: "A credentials file that exists is kept, and the login keeps its password.", valueName: "file"),
        completion: .file())
    var serviceCredentialsFile: String?

    @Option(name: .long, help: ArgumentHelp("The service login (default: cloacina_service).", valueName: "name"))
    var serviceRole: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "A role that stands for all tenants, without members or rights (default: cloacina_tenants).",
            valueName: "name"))
    var tenantsRole: String?

    @Flag(
        name: .long,
        help: ArgumentHelp(
            "Take a service login into use that exists already and that no bootstrap made, or that other databases use.",
            discussion: "A new password for it shuts out whoever uses it there."))
    var adoptServiceRole = false

    @Flag(name: .long, help: "Leave PUBLIC its rights on the database and the schema public; weakens isolation.")
    var keepPublic = false

    @Flag(
        name: .long,
        help: ArgumentHelp(
            """
            Take advisory locks and large objects from PUBLIC, refuse logins to wait for locks on what isn't theirs, and let \
            temporary files be limited; only a superuser can.
            """,
            discussion: "Without it the statements are written to standard error, for a superuser to run."))
    var harden = false

    @OptionGroup(title: "Service login's password") var password: PasswordOptions
    @OptionGroup(title: "Safety") var assent: AssentOptions
    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func run() async throws {
        let console = Console.system
        let renderer = Renderer(console, self.output.output)
        var options = BootstrapOptions()
        options.serviceRole = self.serviceRole
        options.tenantsRole = self.tenantsRole
        options.restrictsPublic = !self.keepPublic
        options.adoptsServiceRole = self.adoptServiceRole
        options.hardens = self.harden
        options.servicePassword = try self.password.read()
        let kept = try self.keptCredentials()
        try await Administration.with(self.connection, console: console) { admin in
            let role = try await admin.recordedServiceRole() ?? options.serviceRole ?? "cloacina_service"
            try kept?.check(role, self.serviceCredentialsFile ?? "")
            // Killed before the password was in force: nobody uses it, and whoever asked for it had agreed.
            let unfinished = try await admin.unfinishedBootstrap()
            if let kept, unfinished?.wasOf(kept.password, isGiven: false) == true {
                options.servicePassword = kept.password
                options.isServicePasswordMade = true
                console.note("going on with a bootstrap that was cut off, with the secret of the credentials file")
            } else if unfinished == nil,
                options.servicePassword != nil || (self.serviceCredentialsFile != nil && kept == nil)
            {
                try await self.agreeToReplacing(role, console)
            }
            var answer: BootstrapAnswer
            if let path = self.serviceCredentialsFile, kept == nil {
                answer = BootstrapAnswer(
                    try await Self.bootstrap(admin, options, into: CredentialsFile(creating: path)))
            } else {
                answer = BootstrapAnswer(try await admin.bootstrap(options))
                if let kept { answer.warnings += kept.warnings(answer, try await admin.endpoint()) }
            }
            answer.credentialsFile = self.serviceCredentialsFile
            for warning in answer.warnings { console.note(TextTable.printable("warning: \(warning)")) }
            if !answer.hardened {
                console.note(
                    "advice: tenants can fill the server's lock table, its disk and its large objects; to prevent that, have a "
                        + "superuser run this once in this database, or run bootstrap --harden as one:")
                for statement in answer.hardeningStatements { console.note(TextTable.printable("  \(statement);")) }
            }
            try renderer.show(answer)
        }
    }

    /// What the file of an earlier run holds, which is to be left alone.
    private func keptCredentials() throws -> ServiceCredentials? {
        guard let path = self.serviceCredentialsFile,
            let kept = try CredentialsFile.kept(ServiceCredentials.self, at: path)
        else { return nil }
        guard !self.password.isSupplied else {
            throw CommandError(
                .failed, "\(path) exists already; it is not overwritten", hint: "remove it, or name another")
        }
        return kept
    }

    /// A login that exists may be in use: pools that know its password would lose it.
    private func agreeToReplacing(_ role: String, _ console: Console) async throws {
        let configuration = try self.connection.configuration(environment: ProcessInfo.processInfo.environment)
        let exists = try await PostgresConnection.withConnection(configuration) { connection in
            try await connection.query("SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = \(role))")
                .single(as: Bool.self)
        }
        guard exists else { return }
        try self.assent.check(
            "The login \(role) exists; pools that use it would lose their password. Give it a new one?",
            console: console)
    }

    private static func bootstrap(
        _ admin: DatabaseAdmin, _ options: BootstrapOptions, into file: CredentialsFile
    ) async throws -> BootstrapReport {
        var options = options
        do {
            options.isServicePasswordMade = options.servicePassword == nil
            let password = try options.servicePassword ?? SecureRandom.password()
            options.servicePassword = password
            let endpoint = try await admin.endpoint()
            return try await admin.bootstrap(options) { report in
                try file.write(
                    ServiceCredentials(
                        username: report.serviceRole, password: password,
                        connectionString: ConnectionURL.make(
                            endpoint: endpoint, user: report.serviceRole, password: password)))
            }
        } catch {
            file.discard()
            throw error
        }
    }
}
