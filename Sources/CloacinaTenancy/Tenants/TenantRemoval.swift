import CloacinaPostgres
import FoundationEssentials
import Synchronization

/// One run of removing one tenant: steps that are each a transaction or several, each harmless when there is nothing left
/// to do.
///
/// 1. Take the lock on the name, look around, and refuse what can't be removed: nothing has been changed yet.
/// 2. Shut the logins and end their sessions: from here on nobody adds to what has to be removed.
/// 3. Remove what the roles hold, in this database and in others, and the roles.
/// 4. Forget the tenant, unless the catalogs still know something of it.
struct TenantRemoval {
    let name: String
    let connection: PostgresConnection
    let options: Options
    let roles: TenantRoles
    let ledger: OperationLedger
    let patience: RemovalPatience
    let connect: RemovalSession.Connect
    private let faults: FaultPoints
    let lease: AdministrationLease
    private let progress = Progress()

    /// How it is done.
    struct Options: Sendable, Hashable {
        /// How long others may hold it up.
        var patience: Duration
        /// Whether what others made of the tenant's things goes with it.
        var cascade = false
    }

    private final class Progress: Sendable {
        struct State {
            var step: OperationStep?
            var position = 0
        }
        let state = Mutex(State())
    }

    init(
        _ name: TenantName, on connection: PostgresConnection, _ options: Options, faults: FaultPoints,
        connect: @escaping RemovalSession.Connect
    ) {
        self.name = name.rawValue
        self.roles = TenantRoles(name)
        self.connection = connection
        self.options = options
        self.patience = RemovalPatience(options.patience)
        self.faults = faults
        self.connect = connect
        self.ledger = OperationLedger(kind: .remove, tenant: name.rawValue)
        self.lease = AdministrationLease(tenant: name.rawValue, on: connection)
    }

    func run() async throws -> RemovalReport {
        let target = try await self.step(.lock) { try await self.lockAndSurvey() }
        let session = self.session(target)
        var report = RemovalReport(tenant: self.name, schema: target.schema)
        try await self.step(.check) { try await self.check(session) }
        try await self.step(.disable) { try await self.disable(session) }
        try await self.step(.sessions) { try await self.endSessions(session) }
        try await self.step(.prepared) { try await self.rollBackPrepared(session) }
        try await self.step(.largeObjects) { try await self.unlinkLargeObjects(session, &report) }
        try await self.step(.dropSchema) { try await self.dropSchema(session, &report) }
        try await self.step(.dropOwned) { try await self.dropOwned(session, &report) }
        try await self.step(.elsewhere) { try await self.cleanElsewhere(session, &report) }
        try await self.step(.dropRoles) { try await self.dropRoles(session) }
        try await self.step(.prove) { try await self.prove(session, &report) }
        report.endedSessions = session.tally.endedSessions
        report.rolledBackTransactions = session.tally.rolledBackTransactions
        return report
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

    func session(_ target: RemovalTarget) -> RemovalSession {
        RemovalSession(
            connection: self.connection, target: target, patience: self.patience, connect: self.connect,
            tally: RemovalTally())
    }

    private func step<R>(_ step: OperationStep, _ body: () async throws -> R) async throws -> R {
        self.progress.state.withLock { $0.step = step }
        return try await self.faults.around(step, body)
    }

    private func lockAndSurvey() async throws -> RemovalTarget {
        try await self.lease.take()
        return try await self.survey()
    }

    /// The ledger's note that a step is done and the next has begun.
    func notes(_ step: OperationStep, next: OperationStep) -> [PostgresStatement] {
        [self.ledger.finish(step), self.start(next)]
    }

    /// The ledger's note that a step has begun.
    func start(_ step: OperationStep) -> PostgresStatement {
        let position = self.progress.state.withLock { state in
            defer { state.position &+= 1 }
            return state.position
        }
        return self.ledger.start(step, at: position)
    }
}
