import CloacinaPostgres
import CloacinaSchema
import FoundationEssentials
import Logging
import Synchronization

/// One run of creating one tenant.
///
/// 1. Take the lease on the name, then look around.
/// 2. Reserve the name in the registry and open the ledger, committed (one flush).
/// 3. Make roles, schema and this library's own tables, everything but the password, in one transaction.
/// 4. Apply the application's files as to any other tenant, each in a transaction of its own.
/// 5. Hand the credentials over to be kept, then give the login its password: the verifier is in a flush by itself, which
///    nothing of ours makes fail.
/// 6. Mark the tenant active, committed (one flush). Only then give back the lease.
///
/// After a crash the registry says how far it got: a reservation without a schema's OID has nothing behind it, one with
/// it lacks steps 4 to 6, of which the tenant's history tells what is done.
struct TenantCreation {
    private let blueprint: TenantBlueprint
    private let connection: PostgresConnection
    private let faults: FaultPoints
    private let logger: Logger
    private let migrator: Migrator
    private let migration: MigrationRunner.Configuration
    private let connect: RemovalSession.Connect
    private let ledger: OperationLedger
    private let lease: AdministrationLease
    private let progress = Progress()

    private var name: String { self.blueprint.name.rawValue }
    private var schema: String { self.blueprint.schema.rawValue }

    /// How far the run got, for cleaning up after it.
    private final class Progress: Sendable {
        struct State {
            var tenant: UUID?
            var step: OperationStep?
        }
        let state = Mutex(State())
    }

    init(_ blueprint: TenantBlueprint, on connection: PostgresConnection, for admin: DatabaseAdmin) {
        self.blueprint = blueprint
        self.logger = admin.logger
        self.connection = connection
        self.faults = admin.faults
        self.migrator = admin.makeMigrator()
        self.migration = admin.migration
        self.connect = admin.connector
        self.ledger = OperationLedger(kind: .create, tenant: blueprint.name.rawValue)
        self.lease = AdministrationLease(tenant: blueprint.name.rawValue, on: connection)
    }

    func run(
        handingOver keep: (TenantCredentials) async throws -> Void, onNotice: (MigrationNotice) async -> Void
    ) async throws -> TenantCredentials {
        let survey = try await self.step(.lock) { try await self.lockAndSurvey() }
        let beginning = try survey.beginning(name: self.name, schema: self.schema)
        // What a copy of a database took along half created is the original's to finish.
        if survey.registered != nil {
            try await CopiedDatabase(connection: self.connection, connect: self.connect).check(self.name)
        }
        let sql = try ProvisioningSQL(self.blueprint, survey, self.connection)
        let id = try await self.step(.reserve) { try await self.reserve(beginning) }
        try await self.step(.provision) {
            if case .reissue = beginning {
                try await self.reissue(id)
            } else {
                let fresh = self.blueprint.freshSchema(on: self.connection)
                try await self.watcher.unblocked { wait in try await self.provision(id, sql, fresh, wait) }
            }
        }
        let isNew = if case .reissue = beginning { false } else { true }
        try await self.step(.files) { try await self.applyFiles(id, isNew: isNew, onNotice) }
        let credentials = self.blueprint.credentials(at: self.connection.endpoint)
        try await self.step(.handOver) {
            try await CredentialsHandOver(credentials: credentials, tenant: self.name).run(keep)
        }
        try await self.step(.password) { try await self.setPassword() }
        try await self.step(.deliver) { try await self.deliver(id) }
        // A session that can't give its lease back must not keep it.
        if await !self.lease.release() { await self.connection.close() }
        return credentials
    }

    /// Undoes the reservation and closes the ledger, then gives the lease back; says whether that worked.
    ///
    /// When it did not, closing the connection ends the lease, and the registry keeps the reservation for the next call.
    func abandon(after reported: AdminError) async -> Bool {
        let state = self.progress.state.withLock { $0 }
        guard self.lease.isHeld else { return true }
        var cleanup: [PostgresStatement] = []
        if let tenant = state.tenant {
            cleanup = [
                RegistryQueries.abandon(id: tenant),
                self.ledger.fail(sqlState: reported.sqlState, detail: Self.detail(of: reported, at: state.step)),
            ]
        }
        let (connection, statements) = (self.connection, cleanup)
        // Must happen in a cancelled task too, so it runs in one of its own, awaited at once.
        let isClosed = await Task { (try? await connection.pipeline(statements)) != nil }.value
        return await self.lease.release() && isClosed
    }

    private static func detail(of error: AdminError, at step: OperationStep?) -> String {
        "\(error.code) at step \(step?.rawValue ?? "lock")"
            + (error.underlying is MigrationError ? ": " + TenantMigrationFailure(error).text : "")
    }

    /// The error in the administrator's terms, with the step that it stopped.
    func report(_ error: any Error) -> AdminError {
        let step = self.progress.state.withLock { $0.step }
        let reported = AdminError(error, tenant: self.name, step: step?.rawValue)
        guard step == .files, reported.code != .cancelled else { return reported }
        return AdminError(
            reported.code,
            reported.message
                + ". The tenant is half created: mend what stopped it, and the same command goes on from there",
            tenant: reported.tenant, step: reported.step, sqlState: reported.sqlState, underlying: reported.underlying)
    }

    private func step<R>(_ step: OperationStep, _ body: () async throws -> R) async throws -> R {
        self.progress.state.withLock { $0.step = step }
        return try await self.faults.around(step, body)
    }

    /// Ends whoever of the tenants keeps the creation waiting.
    private var watcher: RemovalSession {
        RemovalSession.watcher(of: self.name, on: self.connection, registry: self.connection, connect: self.connect)
    }

    private func lockAndSurvey() async throws -> TenantSurvey {
        try await self.lease.take()
        let rows = try await self.connection.query(
            RegistryQueries.survey(name: self.name, schema: self.schema, roles: self.blueprint.roles.all))
        return try TenantSurvey(rows[0])
    }

    private func reserve(_ beginning: TenantSurvey.Beginning) async throws -> UUID {
        let id: UUID
        var statements = [RegistryQueries.commitWithoutWaiting]
        switch beginning {
        case .reserve:
            id = UUID()
            statements.append(
                RegistryQueries.reserve(id: id, name: self.name, schema: self.schema, roles: self.blueprint.roles))
        case .takeOver(let earlier):
            id = earlier
            statements += [self.ledger.supersedeEarlier(), RegistryQueries.takeOver(id: id, schema: self.schema)]
        case .reissue(let earlier):
            id = earlier
            statements.append(self.ledger.supersedeEarlier())
        }
        statements += [
            self.ledger.start(.reserve, at: 0, state: "done", secretDigest: self.blueprint.secretDigest),
            self.ledger.start(.provision, at: 1),
        ]
        self.progress.state.withLock { $0.tenant = id }
        do {
            try await self.connection.pipeline(statements)
        } catch {
            // Caught whole: the compiler (6.3.1) crashes on a `where` over a typed error.
            guard error.sqlState == "23505" else { throw error }
            throw AdminError(
                .schemaExists, "another tenant has reserved the schema name \(self.schema); nothing was changed",
                tenant: self.name, underlying: error)
        }
        return id
    }

    private func provision(
        _ id: UUID, _ sql: ProvisioningSQL, _ fresh: FreshSchema, _ wait: PostgresStatement
    ) async throws {
        try await self.connection.withTransaction { transaction in
            try await self.step(.roles) {
                let limits = self.blueprint.limitStatements(serverVersion: self.connection.serverVersion)
                _ = try await transaction.pipeline(
                    [wait] + (sql.roleStatements + limits).map(PostgresStatement.init(ddl:)))
            }
            try await self.step(.schema) {
                _ = try await transaction.pipeline(sql.schemaStatements.map(PostgresStatement.init(ddl:)))
            }
            try await self.step(.migrate) { try await TenantMigrations.apply(fresh, in: transaction) }
            try await self.step(.register) {
                let versions = TenantMigrations.Versions(fresh.versions)
                var statements =
                    (sql.privileges.engineStatements + ProvisioningSQL.actAsAdministrator)
                    .map(PostgresStatement.init(ddl:))
                statements += [
                    RegistryQueries.register(id: id, engineAccess: self.blueprint.engineAccess),
                    RegistryQueries.insertCredentials(id: id, roles: self.blueprint.roles),
                    LimitQueries.record(id: id, self.blueprint.limits),
                ]
                statements += RegistryQueries.record(id: id, versions)
                statements += [self.ledger.finish(.provision), self.ledger.start(.deliver, at: 2)]
                // Last: other creations wait for what this locks.
                statements += sql.connectStatements.map(PostgresStatement.init(ddl:))
                _ = try await transaction.pipeline(statements)
            }
        }
        try await TenantMigrations.checkSession(of: self.connection)
    }

    /// Applies the application's files as to a tenant that exists: each begins and ends as if alone.
    ///
    /// What an earlier program began may lack this library's newest files, too.
    private func applyFiles(
        _ id: UUID, isNew: Bool, _ onNotice: (MigrationNotice) async -> Void
    ) async throws {
        let (sets, target) = (self.blueprint.migrationSets, self.blueprint.target)
        let isWhole = try MigrationSet.embedded(.tenant).migrations.allSatisfy(\.isTransactional)
        guard sets.count > 1 || !isWhole || !isNew else { return }
        await self.migrator.sweep(on: self.connection)
        do {
            let report = try await self.apply(sets, to: target)
            await self.migrator.end(on: self.connection)
            for notice in report.notices { await onNotice(notice) }
            try await TenantMigrations.conclude(
                id, self.blueprint.privileges, TenantMigrations.Versions(report.versions), ledger: self.ledger,
                on: self.connection)
        } catch let error as MigrationError {
            await self.migrator.end(on: self.connection)
            for notice in error.notices { await onNotice(notice) }
            // What went before stays; the registry may know of it later when it can't now.
            try? await self.recordFiles(id, sets)
            throw error
        } catch {
            await self.migrator.end(on: self.connection)
            throw error
        }
    }

    /// Applies the files over the login that is made for it.
    private func apply(_ sets: [MigrationSet], to target: MigrationTarget) async throws -> MigrationReport {
        try await self.migrator.withSession(
            as: self.blueprint.roles.owner, of: self.name, on: self.connection
        ) { session in
            var runner = MigrationRunner(
                files: session, administrator: self.connection, configuration: self.migration, logger: self.logger)
            runner.relief = RemovalSession.relief(
                of: self.name, schema: self.schema, on: self.connection, connect: self.connect)
            runner.remnants = MigratorSQL.remnants(
                actingAs: self.blueprint.roles.owner, beside: session.endpoint.user)
            return try await runner.apply(sets, to: target)
        }
    }

    /// Tells the registry what the tenant's own history holds after a failure.
    private func recordFiles(_ id: UUID, _ sets: [MigrationSet]) async throws {
        let survey = try await FleetSurvey(
            tenant: self.name, sets: sets, planner: MigrationPlanner(), on: self.connection)
        guard let plans = survey.entries.first?.plans, !plans.isEmpty else { return }
        let versions = Dictionary(plans.map { ($0.source, $0.newestApplied) }, uniquingKeysWith: max)
        try await TenantMigrations.conclude(
            id, self.blueprint.privileges, TenantMigrations.Versions(versions), ledger: self.ledger,
            on: self.connection)
    }

    /// Everything is there, but the tenant was not delivered: another hand-over follows.
    private func reissue(_ id: UUID) async throws {
        try await self.connection.pipeline([
            RegistryQueries.reissue(id: id), self.ledger.finish(.provision), self.ledger.start(.deliver, at: 2),
        ])
    }

    /// Gives the login its password. The delivery's commit waits for the disk, and so for what was committed before it; a server
    /// that crashes in between leaves the tenant `creating`, whether the password survives or not.
    private func setPassword() async throws {
        let statements = PasswordSQL.statements(
            login: self.blueprint.roles.loginA, verifier: self.blueprint.verifier,
            serverVersion: self.connection.serverVersion)
        try await self.watcher.unblocked { wait in
            try await self.connection.pipeline([wait, RegistryQueries.commitWithoutWaiting] + statements)
        }
    }

    private func deliver(_ id: UUID) async throws {
        try await self.lease.confirm()
        try await self.connection.pipeline([
            RegistryQueries.setState(id: id, .active), self.ledger.finish(.deliver),
            self.ledger.audit("tenant.created"),
        ])
    }
}
