/// Where one tenant's schema stands, by the registry.
public struct TenantMigrationStatus: Sendable, Hashable, Encodable {
    /// The tenant's name.
    public let tenant: String
    /// Its schema.
    public let schema: String
    /// How far its life has got.
    public let state: Tenant.State
    /// The newest migration of this library's in its schema.
    public let version: Int
    /// What would be applied, as `source/NNNN_title`.
    public let pending: [String]
    /// The sources of which the schema is newer than this program.
    public let newerThanProgram: [String]

    /// Whether nothing is pending and nothing is newer than this program.
    public var isCurrent: Bool { self.pending.isEmpty && self.newerThanProgram.isEmpty }
}

/// Where a database stands, by its registry.
public struct FleetStatus: Sendable, Hashable, Encodable {
    /// The newest migration of the control schema.
    public let controlVersion: Int
    /// What would be applied to the control schema, as `source/NNNN_title`.
    public let controlPending: [String]
    /// Each tenant that was asked for, by name.
    public let tenants: [TenantMigrationStatus]

    /// Whether nothing is pending anywhere.
    public var isCurrent: Bool { self.controlPending.isEmpty && self.tenants.allSatisfy(\.isCurrent) }
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
    }

    /// The tenant's name.
    public let tenant: String
    /// Its schema.
    public let schema: String
    /// What became of it.
    public let outcome: Outcome
    /// The newest migration of this library's in its schema now.
    public let version: Int
    /// What was applied, as `source/NNNN_title`.
    public let applied: [String]
    /// Why it failed, without SQL or values.
    public let error: String?
    /// The statements that put right what its roles may do in its schema: somebody had changed that, a tenant with
    /// `DROP OWNED` for one.
    public var restoredPrivileges: [String] = []
}

/// What a fleet migration did.
public struct FleetReport: Sendable, Hashable, Encodable {
    /// What was applied to the control schema, as `source/NNNN_title`.
    public let controlApplied: [String]
    /// How many tenants were up to date by the registry, and so were not looked at.
    public let upToDate: Int
    /// Those that were behind.
    public let results: [TenantMigrationResult]

    /// The tenants that are not at the newest version.
    public var failures: [TenantMigrationResult] {
        self.results.filter { $0.outcome == .failed || $0.outcome == .busy }
    }
}
