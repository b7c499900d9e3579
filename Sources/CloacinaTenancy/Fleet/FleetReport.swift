public import CloacinaSchema

/// The standing of one tenant's schema, by its own history.
public struct TenantMigrationStatus: Sendable, Hashable, Encodable {
    /// The tenant's name.
    public let tenant: String
    /// Its schema.
    public let schema: String
    /// How far its life has got.
    public let state: Tenant.State
    /// The newest migration of this library's in its schema.
    public let version: Int
    /// The newest migration of every source in its schema.
    public let versions: [String: Int]
    /// What would be applied, as `source/NNNN_title`.
    public let pending: [String]
    /// The differences between history, files and registry.
    public let problems: [TenantMigrationProblem]

    /// True when nothing is pending and nothing differs.
    public var isCurrent: Bool { self.pending.isEmpty && self.problems.isEmpty }
    /// The problems that keep `migrate` from applying anything to it.
    public var blockers: [TenantMigrationProblem] { self.problems.filter(\.isBlocking) }
}

/// The standing of a database and its tenants.
public struct FleetStatus: Sendable, Hashable, Encodable {
    /// The newest migration of the control schema.
    public let controlVersion: Int
    /// What would be applied to the control schema, as `source/NNNN_title`.
    public let controlPending: [String]
    /// The differences between the control schema's history and this program's files; nothing is applied anywhere until they
    /// are settled.
    public let controlProblems: [TenantMigrationProblem]
    /// Each tenant that was asked for, by name.
    public let tenants: [TenantMigrationStatus]

    /// True when nothing is pending and nothing differs anywhere.
    public var isCurrent: Bool {
        self.controlPending.isEmpty && self.controlProblems.isEmpty && self.tenants.allSatisfy(\.isCurrent)
    }
}

/// What became of one tenant that was behind.
public struct TenantMigrationResult: Sendable, Hashable, Encodable {
    /// What became of it.
    public enum Outcome: String, Sendable, Hashable, Encodable {
        /// It is at the newest version now.
        case migrated
        /// It had been migrated already, and the registry now knows.
        case current
        /// A lock stayed taken; try again.
        case busy
        /// A migration was refused or failed; see ``TenantMigrationResult/error``.
        case failed
        /// It is half removed, and was left alone.
        case skipped
        /// No connection could be made any more; nothing was tried.
        case unreached
    }

    /// The tenant's name.
    public let tenant: String
    /// Its schema.
    public let schema: String
    /// What became of it.
    public let outcome: Outcome
    /// The newest migration of this library's in its schema now.
    public let version: Int
    /// The newest migration of every source in its schema now.
    public let versions: [String: Int]
    /// The migrations applied and committed, as `source/NNNN_title`; before a failure, too.
    public let applied: [String]
    /// The server's remarks meanwhile; they may quote rows.
    public let notices: [MigrationNotice]
    /// The failure in one line, the server's words included.
    public let error: String?
    /// The parts of ``error``.
    public let failure: TenantMigrationFailure?
    /// The next step, where one is left although nothing failed.
    public let advice: String?
    /// The statements that put right what its roles may do in its schema: somebody had changed that, a tenant with
    /// `DROP OWNED` for one.
    public var restoredPrivileges: [String] = []
}

/// What a fleet migration did.
public struct FleetReport: Sendable, Hashable, Encodable {
    /// What was applied to the control schema, as `source/NNNN_title`.
    public let controlApplied: [String]
    /// The number of tenants that had nothing pending and no difference.
    public let upToDate: Int
    /// Those that were behind.
    public let results: [TenantMigrationResult]

    /// The tenants that are not at the newest version.
    public var failures: [TenantMigrationResult] {
        self.results.filter { [.failed, .busy, .unreached].contains($0.outcome) }
    }
}
