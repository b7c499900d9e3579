import CloacinaPostgres
import FoundationEssentials
import Synchronization

/// One run of giving a tenant new credentials.
///
/// 1. Take the lease on the name and look around; open the ledger.
/// 2. Hand the new credentials over to be kept: they are not in force yet.
/// 3. Put right what the tenant did to its login; then give it the new password.
/// 4. Note it, committed. End sessions, if asked. Only then give back the lease.
///
/// When it broke off, the ledger's newest line of the kind is not `done`, and the same call makes all of it again.
final class TenantReissue: Sendable {
    private let name: TenantName
    private let options: ReissueOptions
    private let password: String
    private let verifier: String
    private let connection: PostgresConnection
    private let connect: RemovalSession.Connect
    private let patience: Duration
    private let faults: FaultPoints
    private let ledger: OperationLedger
    private let lease: AdministrationLease
    private let progress = Mutex<OperationStep?>(nil)

    /// One attempt at changing the login; several make up the patience.
    private static let lockTimeout = PostgresStatement("SELECT set_config('lock_timeout', '500ms', true)")

    init(
        _ name: TenantName, _ options: ReissueOptions, on connection: PostgresConnection, patience: Duration,
        faults: FaultPoints, connect: @escaping RemovalSession.Connect
    ) throws {
        self.name = name
        self.options = options
        self.password = try options.password ?? SecureRandom.password()
        self.verifier = try SCRAM.verifier(password: self.password)
        self.connection = connection
        self.connect = connect
        self.patience = patience
        self.faults = faults
        self.ledger = OperationLedger(kind: .reissue, tenant: name.rawValue)
        self.lease = AdministrationLease(tenant: name.rawValue, on: connection)
    }

    func run(handingOver keep: (TenantCredentials) async throws -> Void) async throws -> ReissueReport {
        let tenant = try await self.step(.lock) {
            try await self.lease.take()
            return try await self.tenant()
        }
        let login = try self.login(of: tenant)
        let credentials = TenantCredentials(
            tenant: tenant.name, schema: tenant.schema, username: tenant.login, password: self.password,
            connectionString: ConnectionURL.make(
                endpoint: self.connection.endpoint, user: tenant.login, password: self.password))
        try await self.step(.open) {
            _ = try await self.connection.pipeline([
                self.ledger.supersedeEarlier(),
                self.ledger.start(
                    .password, at: 0,
                    secretDigest: SecretDigest.kept(
                        of: self.password, isMade: self.options.password == nil || self.options.isPasswordMade)),
                self.ledger.audit("credentials.reissue_begun", detail: tenant.login),
            ])
        }
        try await self.step(.handOver) {
            try await CredentialsHandOver(credentials: credentials, tenant: tenant.name).run(keep)
        }
        try await self.step(.repair) {
            let databases = try await self.connection.query(login.databases).column("database", as: String.self)
            try await self.insisting(tenant, self.repair(login, databases).map(PostgresStatement.init(ddl:)))
        }
        try await self.step(.password) {
            let statements = PasswordSQL.statements(
                login: tenant.login, verifier: self.verifier, serverVersion: self.connection.serverVersion)
            try await self.insisting(tenant, statements)
        }
        try await self.step(.deliver) {
            try await self.lease.confirm()
            try await self.connection.pipeline([
                RegistryQueries.reissue(id: tenant.id), self.ledger.finish(.password),
                self.ledger.audit("credentials.reissued", detail: tenant.login),
            ])
        }
        let sessions = try await self.step(.sessions) { try await self.endSessions(login) }
        // A session that can't give its lease back must not keep it.
        if await !self.lease.release() { await self.connection.close() }
        return ReissueReport(
            credentials: credentials, endedSessions: sessions.ended, remainingSessions: sessions.remaining)
    }

    /// The statements that would run, with the secret masked.
    func plannedSQL() async throws -> [String] {
        let tenant = try await self.tenant()
        let login = try self.login(of: tenant)
        let databases = try await self.connection.query(login.databases).column("database", as: String.self)
        var plan = self.repair(login, databases) + [PasswordSQL.planned(tenant.login)]
        if self.options.endsSessions {
            let ending = login.ending(wait: 0, serverVersion: self.connection.serverVersion)
            plan += ["BEGIN"] + ending.map(PlannedSQL.text) + ["ROLLBACK"]
        }
        return plan
    }

    /// Closes the ledger, then gives the lease back; says whether that worked.
    func stop(after reported: AdminError) async -> Bool {
        guard self.lease.isHeld else { return true }
        let connection = self.connection
        let detail = "\(reported.code) at step \(reported.step ?? OperationStep.lock.rawValue)"
        let cleanup = self.ledger.fail(sqlState: reported.sqlState, detail: detail)
        // Must happen in a cancelled task too, so it runs in one of its own, awaited at once.
        let isClosed = await Task { (try? await connection.query(cleanup)) != nil }.value
        return await self.lease.release() && isClosed
    }

    /// The error in the administrator's terms, with the step that it stopped.
    func report(_ error: any Error) -> AdminError {
        AdminError(error, tenant: self.name.rawValue, step: self.progress.withLock { $0 }?.rawValue)
    }

    private func step<R>(_ step: OperationStep, _ body: () async throws -> R) async throws -> R {
        self.progress.withLock { $0 = step }
        return try await self.faults.around(step, body)
    }

    private func login(of tenant: Tenant) throws -> LoginSQL {
        try LoginSQL(login: tenant.login, schema: tenant.schema, limits: StoredLimits(tenant.limits))
    }

    private func repair(_ login: LoginSQL, _ databases: [String]) -> [String] {
        login.repair(databases: databases, serverVersion: self.connection.serverVersion)
    }

    // MARK: The steps

    /// The tenant, whole, and with the login that was made for it.
    private func tenant() async throws -> Tenant {
        let name = self.name.rawValue
        guard let row = try await self.connection.query(RegistryQueries.tenant(named: name)).first else {
            throw AdminError.noTenant(name)
        }
        let tenant = try Tenant(row)
        guard tenant.state == .active else {
            let way = tenant.state == .creating ? "create it again to finish that" : "remove it again to finish that"
            throw AdminError(
                .tenantNotReady, "the tenant is \(tenant.state.rawValue) and has no credentials in use: \(way)",
                tenant: name)
        }
        let rows = try await self.connection.query(
            RegistryQueries.survey(name: name, schema: tenant.schema, roles: TenantRoles(self.name).all))
        guard try TenantSurvey(rows[0]).remaining(tenant.login) != nil else {
            throw AdminError(
                .tenantNotReady,
                "the role \(tenant.login) is missing or is not the one that was made for the tenant; nothing was changed. "
                    + TenantAdoption.advice(name)
                    + "; otherwise look at pg_roles, and rename or drop what has that name", tenant: name)
        }
        try await CopiedDatabase(connection: self.connection, connect: self.connect).check(name)
        return tenant
    }

    /// Changes the login's role again and again while somebody holds it, until the patience is used up: twice at least where a lock
    /// is in the way. The sessions of other tenants that hold it up are ended; the tenant's own only if asked.
    private func insisting(_ tenant: Tenant, _ statements: [PostgresStatement]) async throws {
        let (login, patience) = (try self.login(of: tenant), RemovalPatience(self.patience))
        let watcher = RemovalSession.watcher(
            of: tenant.name, on: self.connection, registry: self.connection, connect: self.connect,
            sparing: self.options.endsSessions ? UUID() : tenant.id)
        let attempt = { try await self.connection.pipeline([Self.lockTimeout] + statements) }
        var isWatched = false
        while true {
            do {
                _ = try await isWatched ? watcher.watching(attempt) : attempt()
                return
            } catch let error as PostgresError {
                // XX000 says that another session changed the same role a moment ago.
                guard ["55P03", "40P01", "XX000"].contains(error.sqlState) else { throw error }
                let mustWatch = error.sqlState == "55P03" && !isWatched
                if patience.isOver(), !mustWatch { throw self.busy(tenant, watcher.tally.blockers, error) }
                isWatched = error.sqlState == "55P03"
                if self.options.endsSessions { _ = try await self.end(login, wait: 100) }
            }
        }
    }

    private func busy(_ tenant: Tenant, _ blockers: [LockHolder], _ error: PostgresError) -> AdminError {
        let isOwn = blockers.contains { $0.user == tenant.login }
        return AdminError(
            .busy,
            "the role \(tenant.login) is held by \(LockHolder.list(blockers)); end those"
                + (isOwn ? ", the tenant's own sessions by --end-sessions" : "") + ", then call again",
            tenant: tenant.name, underlying: error)
    }

    /// Ends the login's sessions and waits until they are gone, within the patience.
    private func endSessions(_ login: LoginSQL) async throws -> (ended: Int, remaining: Int) {
        guard self.options.endsSessions else { return (0, 0) }
        let limit = ContinuousClock.now.advanced(by: self.patience)
        let ended = try await self.end(login, wait: 0)
        var remaining = ended
        while remaining > 0 {
            remaining = try await self.end(login, wait: 500)
            if ContinuousClock.now >= limit { break }
        }
        return (ended, remaining)
    }

    /// Ends the login's sessions in a transaction that leaves nothing, and counts them.
    private func end(_ login: LoginSQL, wait: Int64) async throws -> Int {
        struct Counted: Error { let sessions: Int }
        let statements = [Self.lockTimeout] + login.ending(wait: wait, serverVersion: self.connection.serverVersion)
        do {
            try await self.connection.withTransaction { transaction in
                let results = try await transaction.pipeline(statements)
                throw Counted(sessions: results[statements.count - 1].count)
            }
        } catch let counted as Counted {
            return counted.sessions
        }
        return 0
    }
}
