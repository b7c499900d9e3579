import CloacinaPostgres
import CloacinaSchema
import FoundationEssentials
import Logging
import Synchronization

/// One run of creating one tenant.
///
/// 1. Take the lock on the name and look around (one flush).
/// 2. Reserve the name in the registry and open the ledger, committed (one flush).
/// 3. Make everything in one transaction.
/// 4. Mark the tenant active and release the lock, committed (one flush): only now does the caller get the password.
///
/// After a crash the registry says how far it got: a reservation without a schema's OID has nothing behind it, one with
/// it lacks only step 4.
struct TenantCreation {
    private let blueprint: TenantBlueprint
    private let connection: PostgresConnection
    private let faults: FaultPoints
    private let logger: Logger
    private let ledger: OperationLedger
    private let progress = Progress()

    private var name: String { self.blueprint.name.rawValue }
    private var schema: String { self.blueprint.schema.rawValue }

    /// How far the run got, for cleaning up after it.
    private final class Progress: Sendable {
        struct State {
            var holdsLock = false
            var tenant: UUID?
            var step: OperationStep?
        }
        let state = Mutex(State())
    }

    init(_ blueprint: TenantBlueprint, on connection: PostgresConnection, faults: FaultPoints, logger: Logger) {
        self.blueprint = blueprint
        self.logger = logger
        self.connection = connection
        self.faults = faults
        self.ledger = OperationLedger(kind: .create, tenant: blueprint.name.rawValue)
    }

    func run() async throws {
        let survey = try await self.step(.lock) { try await self.lockAndSurvey() }
        let beginning = try survey.beginning(name: self.name, schema: self.schema)
        let sql = try ProvisioningSQL(self.blueprint, survey, self.connection)
        let id = try await self.step(.reserve) { try await self.reserve(beginning) }
        try await self.step(.provision) {
            if case .reissue = beginning {
                try await self.reissue(id)
                try await self.applyRemaining(id)
            } else {
                let fresh = self.blueprint.freshSchema
                try await self.provision(id, sql, fresh)
                if !fresh.remaining.isEmpty { try await self.applyRemaining(id) }
            }
        }
        try await self.step(.deliver) { try await self.deliver(id) }
    }

    /// Undoes the reservation, closes the ledger and releases the lock; says whether that worked.
    ///
    /// When it did not, closing the connection releases the lock, and the registry keeps the reservation for the next
    /// call.
    func abandon(after reported: AdminError) async -> Bool {
        let state = self.progress.state.withLock { $0 }
        guard state.holdsLock else { return true }
        var statements: [PostgresStatement] = []
        if let tenant = state.tenant {
            statements = [
                RegistryQueries.abandon(id: tenant),
                self.ledger.fail(
                    sqlState: reported.sqlState, detail: "\(reported.code) at step \(state.step?.rawValue ?? "lock")"),
            ]
        }
        statements.append(RegistryQueries.unlock(self.name))
        let (connection, cleanup) = (self.connection, statements)
        // Must happen in a cancelled task too, so it runs in one of its own, awaited at once.
        return await Task { (try? await connection.pipeline(cleanup)) != nil }.value
    }

    /// The error in the administrator's terms, with the step that it stopped.
    func report(_ error: any Error) -> AdminError {
        AdminError(error, tenant: self.name, step: self.progress.state.withLock { $0.step }?.rawValue)
    }

    private func step<R>(_ step: OperationStep, _ body: () async throws -> R) async throws -> R {
        self.progress.state.withLock { $0.step = step }
        return try await self.faults.around(step, body)
    }

    private func lockAndSurvey() async throws -> TenantSurvey {
        self.progress.state.withLock { $0.holdsLock = true }  // unlocking what one doesn't hold only warns
        let results = try await self.connection.pipeline([
            RegistryQueries.tryLock(self.name),
            RegistryQueries.survey(name: self.name, schema: self.schema, roles: self.blueprint.roles.all),
        ])
        guard try results[0].single(as: Bool.self) else {
            self.progress.state.withLock { $0.holdsLock = false }
            throw AdminError(.busy, "another process is creating or removing this tenant; try again", tenant: self.name)
        }
        return try TenantSurvey(results[1][0])
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
            self.ledger.start(.reserve, at: 0, state: "done"), self.ledger.start(.provision, at: 1),
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

    private func provision(_ id: UUID, _ sql: ProvisioningSQL, _ fresh: FreshSchema) async throws {
        try await self.connection.withTransaction { transaction in
            let verifier = PostgresIdentifier.literal(self.blueprint.verifier)
            try await self.step(.roles) {
                let quiet = ProvisioningSQL.quietLog(serverVersion: self.connection.serverVersion)
                let roles = sql.roleStatements(passwordLiteral: verifier).map(PostgresStatement.init(ddl:))
                _ = try await transaction.pipeline([quiet] + roles)
            }
            try await self.step(.schema) {
                _ = try await transaction.pipeline(sql.schemaStatements.map(PostgresStatement.init(ddl:)))
            }
            try await self.step(.migrate) { try await TenantMigrations.apply(fresh, in: transaction) }
            try await self.step(.register) {
                let versions = TenantMigrations.Versions(fresh.versions)
                var statements = ProvisioningSQL.actAsAdministrator.map(PostgresStatement.init(ddl:))
                statements += [
                    RegistryQueries.register(id: id),
                    RegistryQueries.insertCredentials(id: id, roles: self.blueprint.roles),
                ]
                statements += RegistryQueries.record(id: id, versions)
                statements += [self.ledger.finish(.provision), self.ledger.start(.deliver, at: 2)]
                _ = try await transaction.pipeline(statements)
            }
        }
    }

    /// Runs what cannot run in a transaction, and whatever follows it.
    private func applyRemaining(_ id: UUID) async throws {
        let runner = MigrationRunner(connection: self.connection, logger: self.logger)
        let report = try await runner.apply(self.blueprint.migrationSets, to: self.blueprint.target)
        try await self.connection.pipeline(RegistryQueries.record(id: id, TenantMigrations.Versions(report.versions)))
    }

    /// Everything is there, but nobody has the password: sets another.
    private func reissue(_ id: UUID) async throws {
        let verifier = PostgresIdentifier.literal(self.blueprint.verifier)
        let login = PostgresIdentifier.quote(self.blueprint.roles.loginA)
        try await self.connection.pipeline([
            ProvisioningSQL.quietLog(serverVersion: self.connection.serverVersion),
            PostgresStatement(ddl: "ALTER ROLE \(login) LOGIN PASSWORD \(verifier)"),
            RegistryQueries.reissue(id: id), self.ledger.finish(.provision), self.ledger.start(.deliver, at: 2),
        ])
    }

    private func deliver(_ id: UUID) async throws {
        try await self.connection.pipeline([
            RegistryQueries.setState(id: id, .active), self.ledger.finish(.deliver),
            self.ledger.audit("tenant.created"),
            RegistryQueries.unlock(self.name),
        ])
    }
}
