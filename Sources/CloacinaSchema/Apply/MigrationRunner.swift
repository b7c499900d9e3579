public import CloacinaPostgres
public import Logging

/// Applies migrations to one schema at a time, over a connection that nothing else uses meanwhile.
///
/// ```swift
/// let runner = MigrationRunner(connection: connection)
/// try await runner.apply([.embedded(.tenant)], to: MigrationTarget(schema: "acme", owner: "acme_owner"))
/// ```
///
/// Give it a direct connection: its leases belong to the session, which a transaction pooler would share out.
public struct MigrationRunner: Sendable {
    /// How patient a runner is.
    public struct Configuration: Sendable, Hashable {
        /// How long one statement waits for a table's lock; 1 s. Whoever queues behind it waits as long.
        public var lockTimeout: Duration = .seconds(1)
        /// The same for a no-transaction statement, behind which nobody queues, and which isn't tried again; 50 s.
        public var concurrentLockTimeout: Duration = .seconds(50)
        /// How often a migration is tried when others hold its locks or it deadlocks; 10.
        public var maximumAttempts: Int = 10
        /// The wait before the second attempt; it doubles from there, with jitter; 100 ms.
        public var firstRetryDelay: Duration = .milliseconds(100)
        /// The longest wait between attempts; 10 s.
        public var longestRetryDelay: Duration = .seconds(10)
        /// The schema that holds the table of leases, by which migrating processes keep out of each other's way; `cloacina`.
        /// Both are made where they are missing. Nobody who must not stop a migration may have USAGE on it.
        public var leaseSchema = "cloacina"
        /// How long to wait for another process that migrates; 30 s.
        public var lockWait: Duration = .seconds(30)
        /// How often to look whether it is done; about every 100 ms.
        public var lockPollInterval: Duration = .milliseconds(100)
        /// Whether a pending migration may be older than an applied one; false.
        public var allowsOutOfOrder = false
        /// Lets files run that were applied under another source's name; false.
        public var allowsRepeated = false

        /// The defaults.
        public init() {}
    }

    /// The session that files and history go over.
    let connection: PostgresConnection
    /// The session that holds the leases and sees the others, where that is another one.
    let administrator: PostgresConnection?
    let configuration: Configuration
    let logger: Logger?
    let pace: MigrationPace
    /// The call after an attempt that waited for a lock in vain: it may end who has no business there, and says whether anybody
    /// was ended.
    package var relief: (@Sendable () async -> Bool)?
    /// Finds the sessions in which files go on that a killed process began for the same target, as rows of
    /// ``MigrationError/Session``; asked over the session that holds the leases.
    package var remnants: PostgresStatement?

    var leaseSession: PostgresConnection { self.administrator ?? self.connection }

    /// A runner on a connection; the connection is idle and holds no lock after every call.
    public init(connection: PostgresConnection, configuration: Configuration = .init(), logger: Logger? = nil) {
        self.init(connection: connection, configuration: configuration, logger: logger, pace: MigrationPace())
    }

    package init(
        connection: PostgresConnection, configuration: Configuration = .init(), logger: Logger? = nil,
        pace: MigrationPace
    ) {
        self.connection = connection
        self.administrator = nil
        self.configuration = configuration
        self.logger = logger
        self.pace = pace
    }

    /// A runner whose files and history go over a session of their own, so that nothing in a file, nor whatever a file sets
    /// off, reaches the administrator's.
    ///
    /// - Parameter administrator: The session that holds the leases; may be the same one.
    package init(
        files connection: PostgresConnection, administrator: PostgresConnection, configuration: Configuration = .init(),
        logger: Logger? = nil
    ) {
        self.connection = connection
        self.administrator = administrator === connection ? nil : administrator
        self.configuration = configuration
        self.logger = logger
        self.pace = MigrationPace()
    }

    /// Brings a schema up to the newest version of each set, in the order of the sets.
    ///
    /// Takes no lock when nothing is pending. Each migration commits on its own, so that a failure keeps those before it:
    /// ``MigrationError/applied`` tells which. The server waits for the disk with the last one: its crash may take away the newest
    /// ones before that, each with its row of the history. Settings of the session other than its search path are those of the login
    /// afterwards, and temporary tables are gone.
    /// - Parameter version: Stop after this version; nil for all. Only with a single set.
    /// - Throws: ``MigrationError``: a problem of the plan (nothing was changed),
    ///   ``MigrationError/Code/lockBusy``, or what became of the migration that failed.
    @discardableResult
    public func apply(
        _ sets: [MigrationSet], to target: MigrationTarget, through version: Int? = nil
    ) async throws(MigrationError) -> MigrationReport {
        precondition(version == nil || sets.count == 1, "a version to stop at needs exactly one set")
        if let stray = sets.first(where: { $0.lane == .sqlite }) {
            throw MigrationError(
                .invalidSet, source: stray.source, reason: "migrations for SQLite don't apply to PostgreSQL")
        }
        let plans = self.plans(for: sets, state: try await self.state(of: target), through: version)
        try Self.refuse(plans.filter { !$0.needsResolution }, in: target)
        if plans.allSatisfy(\.hasNothingToDo) { return MigrationReport(schema: target.schema, plans: plans) }
        await self.connection.keepNotices()
        let fleet: Lease = sets.contains { $0.lane == .control } ? .control : .tenants
        // Whoever waits for another process that does the same finds out when that has done it, without a turn of its own.
        var done: MigrationReport?
        let report = try await self.holding(
            [fleet, .target(target)], schema: target.schema,
            unless: {
                guard let state = try? await self.state(of: target) else { return false }
                let plans = self.plans(for: sets, state: state, through: version)
                guard plans.allSatisfy(\.hasNothingToDo) else { return false }
                done = MigrationReport(schema: target.schema, plans: plans)
                return true
            }
        ) { hold throws(MigrationError) in
            do throws(MigrationError) {
                let report = try await self.applyLocked(sets, to: target, through: version, under: hold)
                await self.putBack(MigrationQueries.forgetNames)
                return report
            } catch {
                await self.putBack(MigrationQueries.forgetNames)
                throw error
            }
        }
        guard let report = report ?? done else { throw MigrationError(.cancelled, schema: target.schema) }
        return report
    }

    /// Where a schema stands with regard to each set. Takes no lock and changes nothing.
    public func status(
        of sets: [MigrationSet], in target: MigrationTarget
    ) async throws(MigrationError) -> [MigrationStatus] {
        let state = try await self.state(of: target)
        return self.plans(for: sets, state: state, through: nil).map {
            MigrationStatus(schema: target.schema, plan: $0, history: state.history)
        }
    }

    /// What an operator found out about a migration that broke off.
    public enum Resolution: Sendable, Hashable {
        /// It took effect in full.
        case applied
        /// Nothing of it is left; apply it again.
        case pending
    }

    /// Takes a file as it is now for what was applied, after it was edited.
    ///
    /// Throws ``MigrationError/Code/unknownTarget`` when the set has no file of the version or it isn't applied.
    public func rebless(
        _ version: Int, of set: MigrationSet, in target: MigrationTarget
    ) async throws(MigrationError) {
        guard let migration = set.migrations.first(where: { $0.version == version }) else {
            throw MigrationError(
                .unknownTarget, schema: target.schema, source: set.source, version: version,
                reason: "there is no file of this version")
        }
        try await self.amend(
            MigrationQueries.rebless(migration, of: set.source, in: target), version, of: set.source, in: target,
            otherwise: "it isn't recorded as applied")
    }

    /// Settles a migration whose state is `running` or `failedUnknown`, after a look at the schema.
    ///
    /// Throws ``MigrationError/Code/unknownTarget`` when it is in neither state, and ``MigrationError/Code/lockBusy`` while the
    /// server still runs what a killed process began.
    public func resolve(
        _ version: Int, of source: String, in target: MigrationTarget, as resolution: Resolution
    ) async throws(MigrationError) {
        let change =
            switch resolution {
            case .applied:
                MigrationQueries.settle(
                    version, of: source, in: target, by: self.administrator?.endpoint.user)
            case .pending: MigrationQueries.forget(version, of: source, in: target)
            }
        try await self.amend(
            change, version, of: source, in: target, otherwise: "it isn't recorded as broken off"
        ) { () throws(MigrationError) in try await self.checkRemnants(of: target) }
    }

    /// Refuses while the server still runs a file that a killed process began: whatever was found out of what it did may not be so
    /// any more.
    private func checkRemnants(of target: MigrationTarget) async throws(MigrationError) {
        guard let remnants else { return }
        let sessions = try await self.asking(target.schema) { () throws(PostgresError) in
            var sessions: [MigrationError.Session] = []
            for row in try await self.leaseSession.query(remnants) { sessions.append(try MigrationError.Session(row)) }
            return sessions
        }
        guard !sessions.isEmpty else { return }
        throw MigrationError(.lockBusy, reason: MigrationAdvice.goesOn(sessions.map(\.pid)), sessions: sessions)
    }

    /// Changes one row of the history, under the leases of whoever migrates.
    private func amend(
        _ change: PostgresStatement, _ version: Int, of source: String, in target: MigrationTarget,
        otherwise reason: String, checking check: () async throws(MigrationError) -> Void = {}
    ) async throws(MigrationError) {
        let state = try await self.state(of: target)
        guard state.hasHistory else {
            throw MigrationError(
                .unknownTarget, schema: target.schema, source: source, version: version, reason: reason)
        }
        try await self.holding([.tenants, .target(target)], schema: target.schema) { hold throws(MigrationError) in
            try await check()
            try await hold.confirm()
            let changed = try await self.asking(target.schema) { () throws(PostgresError) in
                try await self.connection.pipeline(MigrationQueries.takeRole(of: target) + [change]).last?.affectedRows
            }
            guard changed == 1 else {
                throw MigrationError(
                    .unknownTarget, schema: target.schema, source: source, version: version, reason: reason)
            }
        }
    }

    private func applyLocked(
        _ sets: [MigrationSet], to target: MigrationTarget, through version: Int?, under hold: LeaseHold
    ) async throws(MigrationError) -> MigrationReport {
        let state = try await self.state(of: target)
        let plans = self.plans(for: sets, state: state, through: version)
        try Self.refuse(plans, in: target)
        // What is looked at and run again must have ended.
        if plans.contains(where: { $0.steps.contains(where: \.resumes) }) {
            try await self.checkRemnants(of: target)
        }
        var report = MigrationReport(schema: target.schema, plans: plans)
        if !state.hasHistory, plans.contains(where: { !$0.steps.isEmpty }) { try await self.createHistory(target) }
        let identity = try await self.identity(target.schema)
        var pending = plans.reduce(0) { $0 + $1.steps.count }
        for plan in plans {
            for step in plan.steps {
                pending -= 1
                var job = MigrationJob(
                    step: step, source: plan.source, target: target, schemaOID: state.oid, session: identity,
                    hold: hold, actor: self.administrator?.endpoint.user)
                job.waitsForDisk = pending == 0
                do throws(MigrationError) {
                    let attempts =
                        step.migration.isTransactional
                        ? try await self.applyInTransaction(job) : try await self.applyAlone(job)
                    if !step.migration.isTransactional { try await self.check(identity, after: job) }
                    report.append(step.migration, of: plan.source, attempts: attempts)
                    report.notices += await self.remarks(of: step.migration)
                } catch {
                    var failure = error
                    failure.applied = report.applied
                    failure.notices = report.notices + (await self.remarks(of: step.migration))
                    throw failure
                }
                self.logger?.debug("migration applied", metadata: job.metadata)
            }
        }
        return report
    }

    /// The server's remarks since the last file.
    private func remarks(of migration: Migration) async -> [MigrationNotice] {
        await self.connection.takeNotices().map { MigrationNotice(file: migration.fileName, $0) }
    }

    private func plans(
        for sets: [MigrationSet], state: SchemaState, through version: Int?
    ) -> [MigrationPlan] {
        let sources = Set(sets.map(\.source))
        return sets.map {
            self.configuration.planner.plan($0, history: state.history, through: version, others: sources)
        }
    }

    private static func refuse(_ plans: [MigrationPlan], in target: MigrationTarget) throws(MigrationError) {
        let problems = plans.flatMap { plan in plan.problems.map { (plan.source, $0) } }
        guard let (source, problem) = problems.first else { return }
        throw problem.error(
            source: source, schema: target.schema,
            complaints: problems.map { source, problem in
                MigrationComplaint(
                    file: Migration.name(version: problem.version, title: nil, source: source), line: nil,
                    reason: "\(problem.kind): \(problem.advice)")
            })
    }
}

extension MigrationRunner.Configuration {
    /// The planner that decides by these rules.
    package var planner: MigrationPlanner {
        MigrationPlanner(allowsOutOfOrder: self.allowsOutOfOrder, allowsRepeated: self.allowsRepeated)
    }
}

extension MigrationPlan {
    fileprivate var hasNothingToDo: Bool { self.steps.isEmpty && self.problems.isEmpty }

    /// Whether a step may be another process's, under way this very moment.
    fileprivate var needsResolution: Bool {
        self.problems.contains { if case .needsResolution = $0 { true } else { false } }
    }
}
