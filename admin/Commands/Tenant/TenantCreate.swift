import ArgumentParser
import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import Synchronization

/// `cloacina-admin tenant create`.
struct TenantCreate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Create a tenant: schema, roles, credentials, every migration.",
        discussion: """
            The password is made here and only its verifier goes to the server, so it is handed over once: into \
            --credentials-file, or on the terminal. The file is whole on the disk before the password is in force. A \
            creation that was cut off, wherever, is finished by the same command; `tenant reissue` makes another secret. \
            Each login has 40 connections, and statements of 5 minutes, unless other limits are given; `tenant limits` \
            shows and changes them.

              cloacina-admin tenant create acme --credentials-file acme.json
              cloacina-admin tenant create acme --if-not-exists --credentials-file acme.json
              cloacina-admin tenant create acme --credentials-file acme.json --connections 10 --statement-timeout 30s
              cloacina-admin tenant create acme --migrations app/migrations=app --dry-run
            """)

    @Argument(help: "The tenant's name: a to z, digits and underscores, beginning with a letter, at most 48 bytes.")
    var name: String

    @Option(name: .long, help: ArgumentHelp("The schema's name; the tenant's name by default.", valueName: "name"))
    var schema: String?

    @Flag(
        name: .long,
        help:
            "Let the tenant's own logins run its runners; by default they only enqueue, signal and see their pipelines."
    )
    var engineAccess = false

    @Flag(name: .long, help: "Succeed, and change nothing, when the tenant exists; it gets no new secret.")
    var ifNotExists = false

    @OptionGroup(title: "Migrations") var migrations: MigrationOptions
    @OptionGroup(title: "Limits of each login") var limits: LimitOptions
    @OptionGroup(title: "Secret") var credentials: CredentialsOptions
    @OptionGroup(title: "Secret") var password: PasswordOptions
    @OptionGroup(title: "Connection") var connection: ConnectionOptions
    @OptionGroup(title: "Safety") var rehearsal: RehearsalOptions
    @OptionGroup(title: "Safety") var files: FileLoginOptions
    @OptionGroup(title: "Safety") var assent: AssentOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func validate() throws {
        do {
            _ = try TenantName(self.name)
        } catch {
            throw ValidationError(error.message)
        }
    }

    func run() async throws {
        let console = Console.system
        // What a script got wrong is said before anything is connected to, let alone changed.
        if !self.ifNotExists && !self.rehearsal.dryRun { _ = try self.destination(console) }
        var config = TenantConfig(name: self.name)
        config.schemaName = self.schema
        config.limits = self.limits.applied(to: config.limits)
        config.engineAccess = self.engineAccess
        config.migrationSets = try self.migrations.sets()
        config.password = try self.password.read()
        let renderer = Renderer(console, self.output.output)
        try await Administration.with(
            self.connection, tenant: self.name, files: self.files.login, console: console
        ) { admin in
            if self.rehearsal.dryRun {
                try renderer.show(statements: try await admin.plannedSQL(creating: config))
            } else if self.ifNotExists, let tenant = try await self.existing(admin) {
                console.note("the tenant exists already; nothing was changed, and there is no new secret")
                try renderer.show(TenantAnswer(tenant))
            } else {
                try await self.create(config, admin, renderer, console)
                // The tenant is there, and was shown: what can't be looked up now, `tenant show` says later.
                if let tenant = try? await admin.tenant(named: self.name) {
                    try? await LimitsAnswer(tenant).explain(tenant, admin, console)
                }
            }
        }
    }

    private func destination(_ console: Console) throws -> CredentialsOptions.Destination {
        try self.credentials.destination(isSupplied: self.password.isSupplied, console: console)
    }

    /// The tenant, if it is whole.
    private func existing(_ admin: DatabaseAdmin) async throws -> Tenant? {
        do {
            let tenant = try await admin.tenant(named: self.name)
            return tenant.state == .active ? tenant : nil
        } catch let error as AdminError where error.code == .tenantNotFound {
            return nil
        }
    }

    private func create(
        _ config: TenantConfig, _ admin: DatabaseAdmin, _ renderer: Renderer, _ console: Console
    ) async throws {
        let destination = try self.destination(console)
        let remarks = Remarks(tenant: self.name, console)
        do {
            switch destination {
            case .file(let path):
                try await self.create(config, admin, into: path, remarks, console)
                let tenant = try await admin.tenant(named: self.name)
                try renderer.show(TenantAnswer(tenant, credentialsFile: path, notices: remarks.notices))
            case .terminal:
                let credentials = try await admin.createTenant(config, onNotice: { remarks.add($0) })
                try renderer.show(CredentialsDocument(credentials))
                console.note("the password is shown this once and stored nowhere")
            case .nowhere:
                _ = try await admin.createTenant(config, onNotice: { remarks.add($0) })
                let tenant = try await admin.tenant(named: self.name)
                try renderer.show(TenantAnswer(tenant, notices: remarks.notices))
            }
        } catch let error as AdminError where error.code == .tenantExists && self.ifNotExists {
            // Another command was faster between the look and the act.
            console.note("the tenant exists already; nothing was changed, and there is no new secret")
            try renderer.show(TenantAnswer(try await admin.tenant(named: self.name)))
        }
    }

    /// Creates the tenant with its secret in a file, or goes on where a process was killed that had written the file.
    private func create(
        _ config: TenantConfig, _ admin: DatabaseAdmin, into path: String, _ remarks: Remarks, _ console: Console
    ) async throws {
        guard let kept = try CredentialsFile.kept(CredentialsDocument.self, at: path) else {
            let file = try CredentialsFile(creating: path)
            do {
                _ = try await admin.createTenant(
                    config, handingOver: { try file.write(CredentialsDocument($0)) }, onNotice: { remarks.add($0) })
            } catch {
                file.discard()
                throw error
            }
            return
        }
        var config = config
        let state = try await self.state(admin)
        // A file of an earlier life of the tenant holds another secret than the one that was being handed over.
        let unfinished = state == .creating ? try await admin.unfinishedCreation(ofTenant: self.name) : nil
        let isOfUnfinished =
            unfinished?.wasOf(kept.password, isGiven: config.password == kept.password) == true
            && config.password.map { $0 == kept.password } ?? true
        switch state {
        case .creating? where kept.tenant == self.name && isOfUnfinished:
            config.isPasswordMade = config.password == nil
            config.password = kept.password
            _ = try await admin.createTenant(
                config, handingOver: { try kept.check(CredentialsDocument($0), at: path) },
                onNotice: { remarks.add($0) })
            console.note("finished a creation that was cut off, with the secret that \(path) holds")
        case .active? where kept.tenant == self.name && !self.password.isSupplied:
            guard await kept.logsIn() else { fallthrough }
            console.note("the tenant is whole, and \(path) holds its secret, which works; nothing was changed")
        default:
            throw CommandError(
                .failed, "\(path) exists already; it is not overwritten", hint: "remove it, or name another")
        }
    }

    private func state(_ admin: DatabaseAdmin) async throws -> Tenant.State? {
        do {
            return try await admin.tenant(named: self.name).state
        } catch let error as AdminError where error.code == .tenantNotFound {
            return nil
        }
    }
}

/// The server's remarks on the files of a new tenant: told on standard error at once, and kept for the answer.
private final class Remarks: Sendable {
    private let tenant: String
    private let console: Console
    private let kept = Mutex<[MigrationNotice]>([])

    init(tenant: String, _ console: Console) {
        self.tenant = tenant
        self.console = console
    }

    var notices: [MigrationNotice] { self.kept.withLock { $0 } }

    func add(_ notice: MigrationNotice) {
        self.console.note(TextTable.printable("\(self.tenant): \(notice.text)"))
        self.kept.withLock { $0.append(notice) }
    }
}

extension CredentialsDocument {
    init(_ credentials: TenantCredentials) {
        self.init(
            tenant: credentials.tenant, schema: credentials.schema, username: credentials.username,
            password: credentials.password, connectionString: credentials.connectionString)
    }

    /// Makes sure that a file from before holds what is to be handed over now.
    ///
    /// - Throws: ``CommandError`` when it leads elsewhere, or to another login.
    func check(_ new: CredentialsDocument, at path: String) throws {
        guard self == new else {
            throw CommandError(
                .failed, "\(path) holds credentials for another place or login than these would be; it is left alone",
                hint: "remove it, or name another")
        }
    }

    /// Whether the server lets them in.
    func logsIn() async -> Bool {
        (try? await PostgresConnection.withConnection(PostgresConfiguration(self.connectionString)) {
            $0.endpoint.user == self.username
        }) ?? false
    }
}
