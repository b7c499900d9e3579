import CloacinaPostgres
import FoundationEssentials
import Synchronization

/// One run of removing one tenant: steps that are each a transaction, each harmless when there is nothing left to do.
struct TenantRemoval {
    private let name: String
    private let connection: PostgresConnection
    private let patience: Duration
    private let faults: FaultPoints
    private let ledger: OperationLedger
    private let roles: TenantRoles
    private let lease: AdministrationLease
    private let progress = Progress()

    private final class Progress: Sendable {
        struct State {
            var step: OperationStep?
            var position = 0
        }
        let state = Mutex(State())
    }

    /// One attempt at a lock; several make up the patience.
    private static let lockTimeout: Duration = .milliseconds(500)

    init(_ name: TenantName, on connection: PostgresConnection, patience: Duration, faults: FaultPoints) {
        self.name = name.rawValue
        self.roles = TenantRoles(name)
        self.connection = connection
        self.patience = patience
        self.faults = faults
        self.ledger = OperationLedger(kind: .remove, tenant: name.rawValue)
        self.lease = AdministrationLease(tenant: name.rawValue, on: connection)
    }

    func run() async throws -> RemovalReport {
        let (survey, tenant) = try await self.step(.lock) { try await self.lockAndSurvey() }
        let sql = try self.sql(survey, tenant)
        try await self.step(.disable) { try await self.disable(tenant, sql) }
        let ended = try await self.step(.sessions) { try await self.endSessions(tenant, sql) }
        let dropped = try await self.step(.dropSchema) { try await self.dropSchema(survey, tenant, sql) }
        try await self.step(.dropOwned) { try await self.change(.dropOwned, next: .dropRoles, sql.dropOwnedStatements) }
        try await self.step(.dropRoles) { try await self.dropRoles(sql) }
        let proof = try await self.step(.prove) { try await self.prove(tenant) }
        return RemovalReport(
            tenant: self.name, schema: tenant.schema, endedSessions: ended, droppedRelations: dropped.relations,
            dropTransactions: dropped.transactions, proof: proof)
    }

    func plannedSQL() async throws -> [String] {
        let (survey, tenant) = try await self.survey()
        let sql = try self.sql(survey, tenant)
        var plan = ["BEGIN"] + sql.disableStatements + ["COMMIT"]
        for login in sql.logins {
            let end = RemovalQueries.endSessions(of: login)
            plan += ["BEGIN", "SET LOCAL ROLE \(PostgresIdentifier.quote(login))", PlannedSQL.text(of: end), "COMMIT"]
        }
        if survey.foundSchema != nil, tenant.schemaOID != nil {
            plan += ["BEGIN"] + sql.actAsOwner + [sql.dropSchemaStatement, "COMMIT"]
        }
        return plan + ["BEGIN"] + sql.dropOwnedStatements + ["COMMIT"] + sql.dropRolesStatements
            + [PlannedSQL.text(of: RegistryQueries.forget(id: tenant.id))]
    }

    /// Closes the ledger, then gives the lease back; says whether that worked. The tenant stays as it is, for the next call.
    func stop(after reported: AdminError) async -> Bool {
        let state = self.progress.state.withLock { $0 }
        guard self.lease.isHeld else { return true }
        let connection = self.connection
        let detail = "\(reported.code) at step \(state.step?.rawValue ?? "lock")"
        let cleanup = self.ledger.fail(sqlState: reported.sqlState, detail: detail)
        // Must happen in a cancelled task too, so it runs in one of its own, awaited at once.
        let isClosed = await Task { (try? await connection.query(cleanup)) != nil }.value
        return await self.lease.release() && isClosed
    }

    /// The error in the administrator's terms, with the step that it stopped.
    func report(_ error: any Error) -> AdminError {
        AdminError(error, tenant: self.name, step: self.progress.state.withLock { $0.step }?.rawValue)
    }

    private func step<R>(_ step: OperationStep, _ body: () async throws -> R) async throws -> R {
        self.progress.state.withLock { $0.step = step }
        return try await self.faults.around(step, body)
    }

    // MARK: Looking

    private func lockAndSurvey() async throws -> (TenantSurvey, TenantSurvey.Registered) {
        try await self.lease.take()
        return try await self.survey()
    }

    private func survey() async throws -> (TenantSurvey, TenantSurvey.Registered) {
        guard let row = try await self.connection.query(RegistryQueries.tenant(named: self.name)).first else {
            throw AdminError.noTenant(self.name)
        }
        let schema: String = try row.value("schema_name")
        let found = try await self.connection.query(
            RegistryQueries.survey(name: self.name, schema: schema, roles: self.roles.all))
        let survey = try TenantSurvey(found[0])
        guard let registered = survey.registered else { throw AdminError.noTenant(self.name) }
        try survey.checkIdentity(name: self.name)
        return (survey, registered)
    }

    /// Only roles with the registered OIDs are the tenant's.
    private func sql(_ survey: TenantSurvey, _ tenant: TenantSurvey.Registered) throws -> RemovalSQL {
        guard let serviceRole = survey.serviceRole else { throw TenantSurvey.notBootstrapped }
        return RemovalSQL(
            schema: tenant.schema, owner: survey.remaining(self.roles.owner),
            runtime: survey.remaining(self.roles.runtime),
            logins: [self.roles.loginA, self.roles.loginB].compactMap(survey.remaining), serviceRole: serviceRole,
            serverVersion: self.connection.serverVersion)
    }

    // MARK: The steps

    private func disable(_ tenant: TenantSurvey.Registered, _ sql: RemovalSQL) async throws {
        let statements = sql.disableStatements.map(PostgresStatement.init(ddl:))
        try await self.connection.pipeline(
            [
                RegistryQueries.setState(id: tenant.id, .removing), self.ledger.supersedeEarlier(),
                self.ledger.start(.disable, at: 0, state: "done"), self.ledger.start(.sessions, at: 1),
                self.ledger.audit("tenant.removal_begun"),
            ] + statements)
        self.progress.state.withLock { $0.position = 1 }
    }

    /// Ends the logins' sessions and waits until they are gone. No new ones can begin.
    private func endSessions(_ tenant: TenantSurvey.Registered, _ sql: RemovalSQL) async throws -> Int {
        var ended = 0
        for login in sql.logins {
            ended += try await self.endSessions(of: login, wait: 0)
        }
        let rounds = max(1, self.patience.components.seconds)
        for _ in 0..<rounds {
            let count = RemovalQueries.countSessions(of: tenant.roleOIDs)
            if try await self.connection.query(count).single(as: Int.self) == 0 {
                try await self.change(.sessions, next: .dropSchema, [])
                return ended
            }
            for login in sql.logins { _ = try await self.endSessions(of: login, wait: 1000) }
        }
        throw AdminError(
            .busy,
            "sessions of the tenant's logins did not end within \(self.patience); look at pg_stat_activity, then "
                + "call again", tenant: self.name)
    }

    /// A role may end its own sessions, so the administrator acts as the login.
    private func endSessions(of login: String, wait: Int64) async throws -> Int {
        try await self.connection.withTransaction { transaction in
            let results = try await transaction.pipeline([
                PostgresStatement(ddl: "SET LOCAL ROLE \(PostgresIdentifier.quote(login))"),
                RemovalQueries.endSessions(of: login, wait: wait),
            ])
            return try results[1].single(as: Int.self)
        }
    }

    private func dropSchema(
        _ survey: TenantSurvey, _ tenant: TenantSurvey.Registered, _ sql: RemovalSQL
    ) async throws -> (relations: Int, transactions: Int) {
        guard let oid = tenant.schemaOID, survey.foundSchema == oid else {
            try await self.change(.dropSchema, next: .dropOwned, [])
            return (0, 0)
        }
        let results = try await self.connection.pipeline([
            RemovalQueries.relations(in: oid), RemovalQueries.lockCapacity, RemovalQueries.countRelations(in: oid),
        ])
        let relations = try results[0].map { row in
            SchemaRelation(name: try row.value("name"), kind: try row.value("kind"), locks: try row.value("locks"))
        }
        let budget = try max(64, results[1].single(as: Int.self) / 4)
        var chunks = SchemaRelation.chunks(relations, budget: budget)
        if chunks.count == 1 { chunks = [] }
        for chunk in chunks {
            try await self.dropping(oid, sql.actAsOwner + sql.drop(chunk))
        }
        try await self.dropping(oid, sql.actAsOwner + [sql.dropSchemaStatement])
        try await self.change(.dropSchema, next: .dropOwned, [])
        return (try results[2].single(as: Int.self), chunks.count + 1)
    }

    /// Drops in one transaction, again and again while others hold locks, until the patience is used up.
    private func dropping(_ schema: Int64, _ statements: [String]) async throws {
        let timeout = Self.lockTimeout.components.attoseconds / 1_000_000_000_000_000
        let attempts = max(1, Int(exactly: (self.patience / Self.lockTimeout).rounded(.down)) ?? .max)
        for attempt in 1...attempts {
            do {
                try await self.connection.withTransaction { transaction in
                    _ = try await transaction.pipeline(
                        [RemovalQueries.lockTimeout(timeout)] + statements.map(PostgresStatement.init(ddl:)))
                }
                return
            } catch let error as PostgresError where ["55P03", "40P01"].contains(error.sqlState) {
                if attempt == attempts { throw await self.busy(schema, error) }
            } catch let error as PostgresError where error.sqlState == "53200" {
                throw AdminError(
                    .removalIncomplete,
                    "the server's lock table is full; raise max_locks_per_transaction or try when "
                        + "less is going on", tenant: self.name, underlying: error)
            }
        }
    }

    private func busy(_ schema: Int64, _ error: PostgresError) async -> AdminError {
        let rows = (try? await self.connection.query(RemovalQueries.lockHolders(in: schema))).map(Array.init) ?? []
        let holders = rows.compactMap { row -> String? in
            guard let pid = try? row.value("pid", as: Int32.self), let user = try? row.value("usename", as: String.self)
            else { return nil }
            return "pid \(pid) of \(user)"
        }
        let list = holders.isEmpty ? "other sessions" : holders.joined(separator: ", ")
        return AdminError(
            .busy, "the schema's tables are locked by \(list); end those sessions, then call again", tenant: self.name,
            underlying: error)
    }

    private func dropRoles(_ sql: RemovalSQL) async throws {
        do {
            try await self.change(.dropRoles, next: .prove, sql.dropRolesStatements)
        } catch let error as PostgresError where error.sqlState == "2BP01" {
            throw AdminError(
                .removalIncomplete,
                "a role of the tenant still owns or was granted something, perhaps in another "
                    + "database of this server: run DROP OWNED BY there, then call again", tenant: self.name,
                underlying: error)
        }
    }

    /// Forgets the tenant and searches the catalogs, in one transaction: unless nothing is left, nothing is forgotten.
    private func prove(_ tenant: TenantSurvey.Registered) async throws -> [RemovalReport.Check] {
        let proof = try await self.connection.withTransaction { transaction in
            let results = try await transaction.pipeline([
                RegistryQueries.forget(id: tenant.id), self.ledger.finish(.prove), self.ledger.audit("tenant.removed"),
                RemovalQueries.proof(id: tenant.id, schema: tenant.schemaOID, roles: tenant.roleOIDs),
            ])
            let checks = try results[3].map { row in
                RemovalReport.Check(catalog: try row.value("catalog"), remaining: try row.value("remaining"))
            }
            let left = checks.filter { $0.remaining > 0 }
            guard left.isEmpty else {
                let list = left.map { "\($0.catalog) (\($0.remaining))" }.joined(separator: ", ")
                throw AdminError(
                    .removalIncomplete,
                    "something of the tenant is left in \(list); call again, and look there if it stays",
                    tenant: self.name)
            }
            return checks
        }
        // A session that can't give its lease back must not keep it.
        if await !self.lease.release() { await self.connection.close() }
        return proof
    }

    /// Runs statements as one transaction with the ledger's note that this step is done and the next has begun.
    private func change(_ step: OperationStep, next: OperationStep, _ statements: [String]) async throws {
        let position = self.progress.state.withLock { state in
            state.position += 1
            return state.position
        }
        let notes = [self.ledger.finish(step), self.ledger.start(next, at: position)]
        try await self.connection.withTransaction { transaction in
            _ = try await transaction.pipeline(statements.map(PostgresStatement.init(ddl:)) + notes)
        }
    }
}
