#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// The right to work on something, alone or with others that share it, for as long as a session holds it.
///
/// A lease is a row of a table that only administrators reach. No login of a tenant can take one, hold one up, or look
/// like its holder; of an advisory lock, which anybody may take, none of this is true.
package struct Lease: Sendable, Hashable {
    /// What it is on, by a name: OIDs change when a database is restored.
    package let object: String
    /// Whether others may hold it at the same time, as long as all of them share it.
    package let isShared: Bool

    package init(object: String, isShared: Bool = false) {
        self.object = object
        self.isShared = isShared
    }

    private static let fleet = "fleet"

    /// Held while a tenant is migrated; many may hold it.
    package static let tenants = Self(object: Self.fleet, isShared: true)
    /// Held while what all tenants share is migrated; excludes everybody else.
    package static let control = Self(object: Self.fleet)
    /// Held while one target is migrated.
    package static func target(_ target: MigrationTarget) -> Self {
        Self(object: target.leaseObject ?? "schema \(target.schema)")
    }

    /// Whether it is on what all tenants share.
    package var isFleet: Bool { self.object == Self.fleet }
}

/// A lease that a session took, by the row that says so.
package struct HeldLease: Sendable, Hashable {
    package let lease: Lease
    let token: UUID
}
