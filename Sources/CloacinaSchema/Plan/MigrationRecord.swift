#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// One row of a schema's history: what happened to one migration.
public struct MigrationRecord: Sendable, Hashable {
    /// How far a migration got.
    public enum State: String, Sendable, Hashable, CaseIterable {
        /// A no-transaction step that was begun; its process is still at it, or died.
        case running
        /// Done and verified.
        case applied
        /// Failed, and left nothing behind.
        case failedClean = "failed_clean"
        /// Failed, and what it left behind isn't known.
        case failedUnknown = "failed_unknown"
    }

    /// The set the migration belongs to.
    public let source: String
    /// Its version.
    public let version: Int
    /// Its title when it was applied.
    public let title: String
    /// The canonical checksum of what was applied.
    public let canonicalChecksum: String
    /// The checksum of the file's bytes.
    public let rawChecksum: String
    /// How long it took; nil when it was applied together with others, in a new schema.
    public let duration: Duration?
    /// The login that applied it.
    public let appliedBy: String
    /// When, by the server's clock.
    public let appliedAt: Date
    /// How far it got.
    public let state: State
    /// Code and SQLSTATE of the failure.
    public let error: String?

    /// A row as read.
    public init(
        source: String, version: Int, title: String, canonicalChecksum: String, rawChecksum: String,
        duration: Duration? = nil, appliedBy: String = "", appliedAt: Date = Date(timeIntervalSince1970: 0),
        state: State = .applied, error: String? = nil
    ) {
        self.source = source
        self.version = version
        self.title = title
        self.canonicalChecksum = canonicalChecksum
        self.rawChecksum = rawChecksum
        self.duration = duration
        self.appliedBy = appliedBy
        self.appliedAt = appliedAt
        self.state = state
        self.error = error
    }
}
