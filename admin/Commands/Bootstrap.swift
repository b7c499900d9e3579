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
            until it is given one here.

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
        help: ArgumentHelp("The group of all tenants' logins (default: cloacina_tenants).", valueName: "name"))
    var tenantsRole: String?

    @Flag(name: .long, help: "Leave PUBLIC its rights on the database and the schema public; weakens isolation.")
    var keepPublic = false

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
        options.servicePassword = try self.password.read()
        let keepsFile = try self.keepsExistingFile()
        try await Administration.with(self.connection, console: console) { admin in
            if options.servicePassword != nil || (self.serviceCredentialsFile != nil && !keepsFile) {
                try await self.agreeToReplacing(options.serviceRole ?? "cloacina_service", console)
            }
            var answer: BootstrapAnswer
            if let path = self.serviceCredentialsFile, !keepsFile {
                let file = try CredentialsFile(creating: path)
                answer = BootstrapAnswer(try await Self.bootstrap(admin, options, into: file))
            } else {
                answer = BootstrapAnswer(try await admin.bootstrap(options))
                if keepsFile, answer.createdRoles.contains(answer.serviceRole) {
                    answer.warnings.append(
                        "the service login is new and has no password: the credentials file is of another one; remove it "
                            + "and run this again")
                }
            }
            answer.credentialsFile = self.serviceCredentialsFile
            for warning in answer.warnings { console.note("warning: \(warning)") }
            try renderer.show(answer)
        }
    }

    /// Whether there is a file of an earlier run, to be left alone.
    private func keepsExistingFile() throws -> Bool {
        guard let path = self.serviceCredentialsFile, FileFacts(path) != nil else { return false }
        let text = FileManager.default.contents(atPath: path)
        guard let text, (try? JSONDecoder().decode(ServiceCredentials.self, from: text)) != nil else {
            throw CommandError(
                .failed, "\(path) exists and holds no credentials; it is not overwritten",
                hint: "remove it, or name another")
        }
        guard !self.password.isSupplied else {
            throw CommandError(
                .failed, "\(path) exists already; it is not overwritten", hint: "remove it, or name another")
        }
        return true
    }

    /// A login that exists may be in use: pools that know its password would lose it.
    private func agreeToReplacing(_ role: String, _ console: Console) async throws {
        let configuration = self.connection.configuration(environment: ProcessInfo.processInfo.environment)
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
        _ admin: DatabaseAdmin, _ options: BootstrapOptions, into file: consuming CredentialsFile
    ) async throws -> BootstrapReport {
        var options = options
        let report: BootstrapReport
        let credentials: ServiceCredentials
        do {
            let password = try options.servicePassword ?? SecureRandom.password()
            options.servicePassword = password
            report = try await admin.bootstrap(options)
            let endpoint = try await admin.endpoint()
            credentials = ServiceCredentials(
                username: report.serviceRole, password: password,
                connectionString: ConnectionURL.make(
                    endpoint: endpoint, user: report.serviceRole, password: password))
        } catch {
            file.discard()
            throw error
        }
        try file.write(credentials)
        return report
    }
}
