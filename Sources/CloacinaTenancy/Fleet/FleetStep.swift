import CloacinaPostgres
import CloacinaSchema
import Logging
import Synchronization

/// One tenant's turn in a fleet's migration.
struct FleetStep: Sendable {
    let entry: FleetSurvey.Entry
    let sets: [MigrationSet]
    let configuration: MigrationRunner.Configuration
    let logger: Logger
    let connect: RemovalSession.Connect
    let migrator: Migrator
    private let own = OwnFiles()

    init(
        entry: FleetSurvey.Entry, sets: [MigrationSet], configuration: MigrationRunner.Configuration, logger: Logger,
        connect: @escaping RemovalSession.Connect, migrator: Migrator
    ) {
        self.entry = entry
        self.sets = sets
        self.configuration = configuration
        self.logger = logger
        self.connect = connect
        self.migrator = migrator
    }

    private var tenant: RegisteredTenant { self.entry.tenant }

    /// Applies what is pending and tells registry and audit.
    func run(on connection: PostgresConnection) async throws -> TenantMigrationResult {
        let target = self.tenant.target
        let report = try await self.migrator.withSession(
            as: self.tenant.owner, of: self.tenant.name, on: connection
        ) { session in
            var runner = MigrationRunner(
                files: session, administrator: connection, configuration: self.configuration, logger: self.logger)
            runner.relief = RemovalSession.relief(
                of: self.tenant.name, schema: target.schema, on: connection, connect: self.connect)
            runner.remnants = MigratorSQL.remnants(actingAs: self.tenant.owner, beside: session.endpoint.user)
            return try await runner.apply(self.sets, to: target)
        }
        let names = report.applied.map(\.name)
        self.own.add(names)
        let ledger = OperationLedger(kind: .migrate, tenant: self.tenant.name)
        let restored = try await TenantMigrations.conclude(
            self.tenant.id, self.tenant.privileges, TenantMigrations.Versions(report.versions),
            also: names.isEmpty ? [] : [ledger.audit("tenant.migrated", detail: names.joined(separator: " "))],
            ledger: ledger, on: connection)
        var result = self.entry.result(
            names.isEmpty ? .current : .migrated, versions: report.versions, applied: names, notices: report.notices)
        result.restoredPrivileges = restored
        return result
    }

    /// Records what a failure left committed, and the failure itself.
    func settle(after error: AdminError, on connection: PostgresConnection) async throws -> TenantMigrationResult {
        let now = try await FleetSurvey(
            tenant: self.tenant.name, sets: self.sets, planner: self.configuration.planner, on: connection
        ).entries.first
        var result = self.result(after: error, now: now)
        // Whoever holds the lease on the tenant is at work on it, and tells the registry itself.
        if (error.underlying as? MigrationError)?.code == .lockBusy { return result }
        let ledger = OperationLedger(kind: .migrate, tenant: self.tenant.name)
        var statements = [
            ledger.failed(.migrate, sqlState: result.failure?.sqlState, detail: result.error ?? error.message),
            ledger.audit("tenant.migration_failed", detail: result.error),
        ]
        if !result.applied.isEmpty {
            statements.append(ledger.audit("tenant.migrated", detail: result.applied.joined(separator: " ")))
        }
        let versions = (now ?? self.entry).plans.map { ($0.source, $0.newestApplied) }
        guard !versions.isEmpty else {
            _ = try? await connection.pipeline(statements)
            return result
        }
        do {
            result.restoredPrivileges = try await TenantMigrations.conclude(
                self.tenant.id, self.tenant.privileges,
                TenantMigrations.Versions(Dictionary(versions, uniquingKeysWith: max)), also: statements,
                ledger: ledger, on: connection)
        } catch {
            // Perhaps it was this that had failed: the failure and what was applied are noted and told all the same.
            _ = try? await connection.pipeline(statements)
        }
        return result
    }

    /// The report of a failure; what was applied is the difference between the histories before and after, as far as it was this
    /// run that applied it. The file that failed may be committed all the same: its answer was lost.
    func result(after error: any Error, now: FleetSurvey.Entry?) -> TenantMigrationResult {
        let migration = (error as? AdminError)?.underlying as? MigrationError
        if let migration {
            self.own.add(migration.applied.map(\.name))
            if let version = migration.version, let source = migration.source { self.own.add(version, of: source) }
        }
        let applied = now.map { $0.newlyApplied(since: self.entry).filter(self.own.contains) } ?? self.own.names
        return self.entry.result(
            AdminError(error).code == .busy ? .busy : .failed, versions: now?.versions, applied: applied,
            notices: migration?.notices ?? [], failure: TenantMigrationFailure(error))
    }
}

/// The files that one run applied, or tried to; others may have applied more to the same tenant meanwhile.
private final class OwnFiles: Sendable {
    private struct State {
        var names: [String] = []
        /// A file of which it isn't known whether it was committed, as `source/NNNN`.
        var uncertain: String?
    }

    private let state = Mutex(State())

    /// The files that were applied for sure, in order.
    var names: [String] { self.state.withLock { $0.names } }

    func add(_ names: [String]) {
        self.state.withLock { state in state.names += names.filter { !state.names.contains($0) } }
    }

    func add(_ version: Int, of source: String) {
        let name = Migration.name(version: version, title: nil, source: source)
        self.state.withLock { $0.uncertain = name }
    }

    func contains(_ name: String) -> Bool {
        self.state.withLock { state in
            state.names.contains(name) || state.uncertain.map { name == $0 || name.hasPrefix($0 + "_") } == true
        }
    }
}

extension FleetSurvey.Entry {
    /// The problems that keep the runner away; a step that may be another process's this very moment isn't one.
    func blockers(_ sets: [MigrationSet]) -> [TenantMigrationProblem] {
        self.status(sets).problems.filter { problem in
            problem.isBlocking && !(self.isUnderWay && problem.kind == .failed)
        }
    }

    /// True when it is reserved and has no schema: it is being created, or that broke off.
    var isUnmade: Bool { self.history == .missing && self.tenant.state == .creating && !self.tenant.isMade }

    /// True when neither the schema nor the registry lacks anything.
    func isUpToDate(_ sets: [MigrationSet]) -> Bool {
        let needsRunner = self.hasPending || self.plans.contains { !$0.problems.isEmpty }
        return !needsRunner && self.correction == nil && self.tenant.state == .active
    }

    private var isUnderWay: Bool {
        self.plans.contains { plan in
            plan.problems.contains { if case .needsResolution(_, .running) = $0 { true } else { false } }
        }
    }

    /// The migrations that this history has as applied and the earlier one hadn't.
    fileprivate func newlyApplied(since before: FleetSurvey.Entry) -> [String] {
        guard case .read(let records) = self.history else { return [] }
        let earlier: [MigrationRecord] = if case .read(let records) = before.history { records } else { [] }
        let known = Set(
            earlier.filter { $0.state == .applied }.map {
                Migration.name(version: $0.version, title: nil, source: $0.source)
            })
        return records.filter {
            $0.state == .applied
                && !known.contains(Migration.name(version: $0.version, title: nil, source: $0.source))
        }.map { Migration.name(version: $0.version, title: $0.title, source: $0.source) }
    }

    func result(
        _ outcome: TenantMigrationResult.Outcome, versions: [String: Int]? = nil, applied: [String] = [],
        notices: [MigrationNotice] = [], error: String? = nil, failure: TenantMigrationFailure? = nil
    ) -> TenantMigrationResult {
        let versions = versions ?? self.versions
        let isHalfCreated = self.tenant.state == .creating && error == nil
        return TenantMigrationResult(
            tenant: self.tenant.name, schema: self.tenant.target.schema, outcome: outcome,
            version: versions[MigrationSet.embeddedSource] ?? 0, versions: versions, applied: applied, notices: notices,
            error: error ?? failure?.text, failure: failure,
            advice: isHalfCreated
                ? "it is still being created: `cloacina-admin tenant create \(self.tenant.name)` finishes it and hands out "
                    + "its credentials" : nil)
    }
}
