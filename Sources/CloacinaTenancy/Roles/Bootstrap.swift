import CloacinaPostgres
import CloacinaSchema
import Logging

/// One run of preparing a database.
struct Bootstrap {
    private let options: BootstrapOptions
    private let connection: PostgresConnection
    private let migrator: Migrator
    private let logger: Logger
    private let verifier: String?
    private let ledger = OperationLedger(kind: .bootstrap, tenant: "")
    private let lease: AdministrationLease

    init(
        _ options: BootstrapOptions, on connection: PostgresConnection, sweepingWith migrator: Migrator, logger: Logger
    ) throws {
        self.options = options
        self.connection = connection
        self.migrator = migrator
        self.logger = logger
        self.lease = AdministrationLease(.bootstrap, on: connection)
        self.verifier = try options.servicePassword.map { try SCRAM.verifier(password: $0) }
        for role in [options.serviceRole, options.tenantsRole].compactMap({ $0 }) {
            _ = try TenantName(role, subject: "role name")
        }
    }

    func run(
        patience: Duration, handingOver keep: (BootstrapReport) async throws -> Void
    ) async throws -> BootstrapReport {
        guard self.connection.serverVersion >= 140_000 else {
            throw AdminError(.unsupportedServer, "PostgreSQL 14 or later is needed")
        }
        let isInstalled = try await self.check()
        try await self.checkHardening()
        if self.verifier != nil { try await self.checkShared(isInstalled: isInstalled) }
        try await self.createControlSchema()
        // Only one bootstrap at a time.
        try await self.lease.take(within: patience)
        do {
            let report = try await self.runLeased()
            if self.verifier != nil { try await self.setPassword(report, keep) }
            if await !self.lease.release() { await self.connection.close() }
            return report
        } catch {
            if await !self.lease.release() { await self.connection.close() }
            throw error
        }
    }

    private func runLeased() async throws -> BootstrapReport {
        let control = MigrationTarget(schema: BootstrapQueries.controlSchema)
        let migrations = try await MigrationRunner(connection: self.connection, logger: self.logger)
            .apply([.embedded(.control)], to: control)
        await self.migrator.sweep(on: self.connection)
        let (service, tenants) = try await self.roleNames()
        let created = try await self.prepare(service: service, tenants: tenants)
        let warnings = try await self.verify(service: service, tenants: tenants)
        let hardening = try await self.harden()
        try await self.connection.query(
            self.ledger.audit(
                "database.bootstrapped",
                detail: "service login \(service), group \(tenants)"
                    + (created.isEmpty ? "" : ", created \(created.joined(separator: " "))")))
        return BootstrapReport(
            database: self.connection.endpoint.database, serverVersion: self.connection.serverVersion,
            serviceRole: service, tenantsRole: tenants,
            controlVersion: migrations.versions[MigrationSet.embeddedSource] ?? 0,
            appliedMigrations: migrations.applied.map(\.version), createdRoles: created, warnings: warnings,
            hardeningStatements: hardening.statements)
    }

    // MARK: Before anything is changed

    @discardableResult
    private func check() async throws -> Bool {
        let row = try await self.connection.query(BootstrapQueries.survey)[0]
        let administrator = PostgresIdentifier.quote(try row.value("administrator"))
        let database = PostgresIdentifier.quote(self.connection.endpoint.database)
        if try row.value("is_standby") {
            throw AdminError(.unsupportedServer, "this server is a standby; connect to the primary")
        }
        let encoding = try DatabaseEncoding(
            name: row.value("encoding"), templateLocale: row.value("template_locale") ?? "")
        try encoding.check(self.connection.endpoint)
        var missing: [String] = []
        if try !row.value("may_create_roles") { missing.append("ALTER ROLE \(administrator) CREATEROLE") }
        if try !row.value("may_create_schemas") {
            missing.append("GRANT CREATE ON DATABASE \(database) TO \(administrator)")
        }
        guard missing.isEmpty else {
            throw AdminError(
                .insufficientPrivilege,
                "the administrator lacks privileges; a superuser can grant them: \(missing.joined(separator: "; "))")
        }
        if try row.value("has_schema"), try !row.value("owns_schema") {
            let owner: String = try row.value("schema_owner")
            throw AdminError(
                .schemaExists, "the schema cloacina belongs to \(owner); log in as that role, or use another database")
        }
        return try row.value("is_installed")
    }

    /// Refuses to take a service login's password from the pools of other databases.
    private func checkShared(isInstalled: Bool) async throws {
        guard !self.options.adoptsServiceRole else { return }
        let (service, tenants) = try await self.roleNames(isInstalled: isInstalled)
        let shared = try await self.connection.query(
            BootstrapQueries.elsewhere(serviceRole: service, tenantsRole: tenants)
        ).map { try SharedRole($0) }
        guard let login = shared.first(where: \.isLogin) else { return }
        throw AdminError(
            .roleExists,
            "the service login \(login.role) is used in other databases of this server too (\(login.list)), whose pools would "
                + "lose their password; nothing was changed: choose another name (--service-role), leave the password as it "
                + "is, or say that it is yours to replace (--adopt-service-role)")
    }

    /// Takes from PUBLIC what only a superuser can, where that was asked for, and returns what is open still.
    private func harden() async throws -> Hardening {
        let hardening = try Hardening(
            try await self.connection.query(
                Hardening.survey(serverVersion: self.connection.serverVersion))[0])
        guard self.options.hardens, !hardening.statements.isEmpty else { return hardening }
        try await self.connection.pipeline(hardening.statements.map(PostgresStatement.init(ddl:)))
        return try Hardening(
            try await self.connection.query(
                Hardening.survey(serverVersion: self.connection.serverVersion))[0])
    }

    /// Refuses to begin what only a superuser could end.
    private func checkHardening() async throws {
        guard self.options.hardens else { return }
        let row = try await self.connection.query(
            Hardening.survey(serverVersion: self.connection.serverVersion))[0]
        let statements = try Hardening(row).statements
        guard try !row.value("is_superuser"), !statements.isEmpty else { return }
        throw AdminError(
            .insufficientPrivilege,
            "only a superuser can harden the database, and nothing was changed; have one run this once: "
                + statements.joined(separator: "; "))
    }

    // MARK: The steps

    /// Makes the control schema and its table of leases, without which there is no keeping out others.
    private func createControlSchema() async throws {
        // Not IF NOT EXISTS alone: an existing one was found to be ours by now, or is refused by its owner.
        try await LeaseKeeper(connection: self.connection, schema: BootstrapQueries.controlSchema).makeTable()
        try await self.check()
    }

    /// Gives the service login its password, once the caller has kept it.
    private func setPassword(_ report: BootstrapReport, _ keep: (BootstrapReport) async throws -> Void) async throws {
        guard let verifier else { return }
        try await self.connection.pipeline([
            self.ledger.supersedeEarlier(),
            self.ledger.start(
                .password, at: 0,
                secretDigest: self.options.servicePassword.flatMap {
                    SecretDigest.kept(of: $0, isMade: self.options.isServicePasswordMade)
                }),
            self.ledger.audit("service.password_begun", detail: report.serviceRole),
        ])
        do {
            try await CredentialsHandOver(credentials: report, tenant: nil).run(keep)
            try await self.connection.pipeline(
                PasswordSQL.statements(
                    login: report.serviceRole, verifier: verifier, serverVersion: self.connection.serverVersion))
            try await self.connection.pipeline([
                self.ledger.finish(.password), self.ledger.audit("service.password_set", detail: report.serviceRole),
            ])
        } catch {
            let (connection, failure) = (self.connection, AdminError(error))
            let close = self.ledger.fail(sqlState: failure.sqlState, detail: "\(failure.code) at step password")
            // Must happen in a cancelled task too, so it runs in one of its own, awaited at once.
            await Task { _ = try? await connection.query(close) }.value
            throw error
        }
    }

    /// The names that were recorded, those asked for, or the defaults.
    private func roleNames(isInstalled: Bool = true) async throws -> (service: String, tenants: String) {
        let row = isInstalled ? try await self.connection.query(BootstrapQueries.installation).first : nil
        guard let row else {
            return (self.options.serviceRole ?? "cloacina_service", self.options.tenantsRole ?? "cloacina_tenants")
        }
        let recorded = (
            service: try row.value("service_role", as: String.self),
            tenants: try row.value("tenants_role", as: String.self)
        )
        guard self.options.serviceRole ?? recorded.service == recorded.service,
            self.options.tenantsRole ?? recorded.tenants == recorded.tenants
        else {
            throw AdminError(
                .invalidConfiguration,
                "this database was prepared with the roles \(recorded.service) and \(recorded.tenants); name those, or none"
            )
        }
        return recorded
    }

    /// Roles and privileges in one transaction. Roles belong to the server: another database's bootstrap may make one
    /// at the same moment, so it is tried again.
    private func prepare(service: String, tenants: String) async throws -> [String] {
        for _ in 0..<3 {
            do {
                return try await self.prepareOnce(service: service, tenants: tenants)
            } catch let error as PostgresError where ["42710", "23505", "XX000"].contains(error.sqlState) {
                continue
            }
        }
        return try await self.prepareOnce(service: service, tenants: tenants)
    }

    private func prepareOnce(service: String, tenants: String) async throws -> [String] {
        let recorded = try await self.connection.query(BootstrapQueries.installation).first
        let found = try await self.connection.pipeline([
            BootstrapQueries.role(service), BootstrapQueries.role(tenants),
            BootstrapQueries.access(serviceRole: service),
        ])
        var statements: [PostgresStatement] = []
        var created: [String] = []
        if try self.isMissing(tenants, found[1], mayLogIn: false) {
            created.append(tenants)
            statements.append(PostgresStatement(ddl: "CREATE ROLE \(PostgresIdentifier.quote(tenants)) NOLOGIN"))
        }
        if try self.isMissing(service, found[0], mayLogIn: true) {
            created.append(service)
            statements += ServiceRole.creation(service).map(PostgresStatement.init(ddl:))
        } else if try recorded?.value("is_service_role", as: Bool.self) != true, !self.options.adoptsServiceRole {
            // The name alone is no proof: a restore brings it to a server where it may be a stranger's.
            try ServiceRole(found[0][0]).checkAdoption(service)
        }
        let changes = try self.changes(DatabaseAccess(found[2][0]), service).filter(\.isAllowed).map(\.sql)
        statements += (changes + BootstrapQueries.privacy).map(PostgresStatement.init(ddl:))
        statements.append(BootstrapQueries.record(serviceRole: service, tenantsRole: tenants))
        try await self.connection.pipeline(statements)
        return created
    }

    /// Whether a role has to be created; one that exists must be just what would be created.
    private func isMissing(_ role: String, _ rows: PostgresRows, mayLogIn: Bool) throws -> Bool {
        guard let row = rows.first else { return true }
        let (canLogin, inherits): (Bool, Bool) = (try row.value("rolcanlogin"), try row.value("rolinherit"))
        guard try !row.value("is_privileged"), canLogin == mayLogIn, !mayLogIn || !inherits else {
            let attributes = mayLogIn ? "LOGIN NOINHERIT" : "NOLOGIN"
            throw AdminError(
                .roleExists,
                "the role \(role) exists and is not \(attributes) without further rights; choose another name")
        }
        let needsAdmin = self.connection.serverVersion >= 160_000
        guard try !needsAdmin || row.value("may_grant") else {
            throw AdminError(
                .insufficientPrivilege,
                "the role \(role) exists and is another's; a superuser can share it: GRANT "
                    + "\(PostgresIdentifier.quote(role)) TO \(PostgresIdentifier.quote(self.connection.endpoint.user)) "
                    + "WITH ADMIN OPTION")
        }
        return false
    }

    private func changes(
        _ access: DatabaseAccess, _ service: String
    ) -> [(sql: String, isAllowed: Bool)] {
        access.changes(
            database: self.connection.endpoint.database, administrator: self.connection.endpoint.user,
            serviceRole: service,
            restrictsPublic: self.options.restrictsPublic)
    }

    /// What is still open now is for someone else to do.
    private func verify(service: String, tenants: String) async throws -> [String] {
        let row = try await self.connection.query(BootstrapQueries.access(serviceRole: service))[0]
        let access = try DatabaseAccess(row)
        let missing = self.changes(access, service).map(\.sql)
        guard missing.isEmpty else {
            throw AdminError(
                .insufficientPrivilege,
                "the administrator doesn't own the database; its owner or a superuser must run this once, then bootstrap "
                    + "again: \(missing.joined(separator: "; "))")
        }
        let shared = try await self.connection.query(
            BootstrapQueries.elsewhere(serviceRole: service, tenantsRole: tenants))
        return access.warnings + (try shared.map { try SharedRole($0).warning })
    }
}
