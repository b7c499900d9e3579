import CloacinaPostgres
public import CloacinaSchema

extension DatabaseAdmin {
    /// Compares the control schema and each tenant's own history, read in batches, with the files.
    ///
    /// - Parameters:
    ///   - tenant: One tenant's name; all by default.
    ///   - sets: The application's own migrations beside this library's.
    ///   - configuration: By which rules files and histories are compared.
    /// - Throws: ``AdminError`` with ``AdminError/Code/tenantNotFound`` or ``AdminError/Code/notBootstrapped``.
    public func migrationStatus(
        tenant: String? = nil, sets: [MigrationSet] = [], configuration: MigrationRunner.Configuration = .init()
    ) async throws -> FleetStatus {
        try await self.withConnection(tenant: tenant) { connection in
            let sets = try TenantMigrations.ownFirst(sets, allowsRepeated: configuration.allowsRepeated)
            let shared = try MigrationSet.embedded(.control)
            let control = try await MigrationRunner(
                connection: connection, configuration: configuration, logger: self.logger
            ).status(of: [shared], in: Self.control)
            let survey = try await FleetSurvey(
                tenant: tenant, sets: sets, planner: configuration.planner, on: connection,
                connect: self.connector)
            return FleetStatus(
                controlVersion: control.first?.version ?? 0,
                controlPending: control.flatMap { status in status.pending.map { "\(status.source)/\($0.name)" } },
                controlProblems: control.flatMap(\.problems).map {
                    TenantMigrationProblem(control: $0, in: shared)
                },
                tenants: survey.entries.map { $0.status(sets) })
        }
    }

    /// Brings the control schema, then every tenant that is behind by its own history, to the newest version.
    ///
    /// A tenant that fails, is refused or loses its session is reported and the others go on; a tenant whose creation broke
    /// off gets its files as well. The registry learns what the histories say.
    /// - Parameters:
    ///   - tenant: One tenant's name; all by default.
    ///   - sets: The application's own migrations beside this library's.
    ///   - configuration: How patient to be, and what to let through; the defaults when nil.
    ///   - onResult: Called after each tenant that was behind.
    /// - Throws: ``AdminError`` when the control schema can't be migrated, the task is cancelled, or the server doesn't let the
    ///   login in over which files run (``AdminError/Code/loginRefused``); tenants finished before stay migrated.
    @discardableResult
    public func migrate(
        tenant: String? = nil, sets: [MigrationSet] = [], configuration: MigrationRunner.Configuration? = nil,
        onResult: (TenantMigrationResult) async -> Void = { _ in }
    ) async throws -> FleetReport {
        try await self.withMigrator { migrator in
            try await self.migrate(tenant, sets, configuration ?? self.migration, over: migrator, onResult: onResult)
        }
    }

    private func migrate(
        _ tenant: String?, _ sets: [MigrationSet], _ configuration: MigrationRunner.Configuration,
        over migrator: Migrator, onResult: (TenantMigrationResult) async -> Void
    ) async throws -> FleetReport {
        let (control, entries, sets) = try await self.withConnection(tenant: tenant) { connection in
            let sets = try TenantMigrations.ownFirst(sets, allowsRepeated: configuration.allowsRepeated)
            let control = try await MigrationRunner(
                connection: connection, configuration: configuration, logger: self.logger
            ).apply([.embedded(.control)], to: Self.control)
            await migrator.sweep(on: connection)
            let survey = try await FleetSurvey(
                tenant: tenant, sets: sets, planner: configuration.planner, on: connection,
                connect: self.connector)
            return (control, survey.entries, sets)
        }
        var (results, upToDate, isReachable): ([TenantMigrationResult], Int, Bool) = ([], 0, true)
        var refusal: AdminError?
        for entry in entries {
            guard !Task.isCancelled else { throw AdminError(CancellationError()) }
            let result: TenantMigrationResult?
            if let refusal {
                // The lease on what all share was waited for once; it is not waited for again for each tenant.
                result = entry.isUpToDate(sets) ? nil : entry.result(.busy, failure: TenantMigrationFailure(refusal))
            } else if isReachable {
                (result, isReachable) = try await self.bringUp(entry, sets, configuration, over: migrator) {
                    refusal = $0
                }
            } else {
                result = entry.result(
                    .unreached, error: "no connection could be made any more; run the same command again")
            }
            guard let result else {
                upToDate += 1
                continue
            }
            results.append(result)
            await onResult(result)
        }
        return FleetReport(controlApplied: control.applied.map(\.name), upToDate: upToDate, results: results)
    }

    static let control = MigrationTarget(schema: BootstrapQueries.controlSchema)

    /// Migrates one tenant if it is behind.
    ///
    /// - Returns: What became of it, nil when there was nothing to do; and whether the server can still be reached.
    private func bringUp(
        _ entry: FleetSurvey.Entry, _ sets: [MigrationSet], _ configuration: MigrationRunner.Configuration,
        over migrator: Migrator, mayWait: Bool = true, onFleetBusy: (AdminError) -> Void
    ) async throws -> (TenantMigrationResult?, isReachable: Bool) {
        if entry.tenant.state == .removing {
            return (
                entry.result(
                    .skipped,
                    error: "it is half removed; `cloacina-admin tenant drop \(entry.tenant.name)` finishes that"),
                true
            )
        }
        if entry.isUnmade, mayWait {
            return try await self.bringUpCreated(entry, sets, configuration, over: migrator, onFleetBusy)
        }
        let blockers = entry.blockers(sets)
        if !blockers.isEmpty { return (entry.result(.failed, failure: TenantMigrationFailure(blockers)), true) }
        if entry.isUpToDate(sets) { return (nil, true) }
        let step = FleetStep(
            entry: entry, sets: sets, configuration: configuration, logger: self.logger, connect: self.connector,
            migrator: migrator)
        do {
            let result = try await self.withConnection(tenant: entry.tenant.name) { connection in
                try await step.run(on: connection)
            }
            return (result, true)
        } catch {
            let failure = AdminError(error, tenant: entry.tenant.name)
            if [.cancelled, .loginRefused].contains(failure.code) { throw failure }
            if let lease = (failure.underlying as? MigrationError)?.lease, lease == Lease.tenants.object {
                onFleetBusy(AdminError(failure, tenant: nil))
            }
            return await self.settle(step, after: failure)
        }
    }

    /// Migrates a tenant that was reserved and had no schema yet, once nobody is creating it any more.
    private func bringUpCreated(
        _ entry: FleetSurvey.Entry, _ sets: [MigrationSet], _ configuration: MigrationRunner.Configuration,
        over migrator: Migrator, _ onFleetBusy: (AdminError) -> Void
    ) async throws -> (TenantMigrationResult?, isReachable: Bool) {
        let tenant = entry.tenant
        let now: FleetSurvey.Entry
        do {
            now = try await self.withConnection(tenant: tenant.name) { connection in
                let runner = MigrationRunner(
                    connection: connection, configuration: configuration, logger: self.logger)
                try await runner.holding([.target(tenant.target)], schema: tenant.target.schema) { _ in }
                let survey = try await FleetSurvey(
                    tenant: tenant.name, sets: sets, planner: configuration.planner, on: connection)
                return survey.entries[0]
            }
        } catch {
            let failure = AdminError(error, tenant: tenant.name)
            switch failure.code {
            case .cancelled: throw failure
            case .tenantNotFound: return (nil, true)  // its creation was undone
            case let code:
                let outcome: TenantMigrationResult.Outcome = code == .busy ? .busy : .failed
                return (entry.result(outcome, failure: TenantMigrationFailure(failure)), code != .connection)
            }
        }
        return try await self.bringUp(
            now, sets, configuration, over: migrator, mayWait: false, onFleetBusy: onFleetBusy)
    }

    /// Looks, over a new connection if the old one is gone, what a failure left committed, and records it.
    private func settle(
        _ step: FleetStep, after error: AdminError
    ) async -> (TenantMigrationResult?, isReachable: Bool) {
        do {
            let result = try await self.withConnection(tenant: step.entry.tenant.name) { connection in
                try await step.settle(after: error, on: connection)
            }
            return (result, true)
        } catch {
            return (step.result(after: error, now: nil), AdminError(error).code != .connection)
        }
    }
}
