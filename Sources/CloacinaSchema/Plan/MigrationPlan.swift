/// What has to be done to bring one schema up to a set, and what forbids it.
public struct MigrationPlan: Sendable, Hashable {
    /// One migration to apply.
    public struct Step: Sendable, Hashable {
        /// What to apply.
        public let migration: Migration
        /// True for a no-transaction step that broke off earlier: the catalogs say first whether it took effect.
        public let resumes: Bool
    }

    /// A difference that doesn't forbid anything.
    public enum Note: Sendable, Hashable {
        /// The file's bytes differ from those applied, but only in line ends, trailing blanks or byte order mark.
        case differsInBlanksOnly(version: Int)
        /// The file has another title now.
        case renamed(version: Int, from: String)
        /// An earlier attempt failed; it is tried again.
        case failedBefore(version: Int, error: String?)
        /// A pending migration is older than the newest applied one, and is let through.
        case late(version: Int, newestApplied: Int)
    }

    /// The set it is about.
    public let source: String
    /// The newest version that is applied, 0 when none is.
    public let newestApplied: Int
    /// What to apply, in order.
    public let steps: [Step]
    /// What forbids applying any of it.
    public let problems: [MigrationProblem]
    /// What is worth knowing.
    public let notes: [Note]
}

/// Why a set can't be applied to a schema.
public enum MigrationProblem: Sendable, Hashable {
    /// An applied migration's text isn't what was applied.
    case checksumChanged(version: Int, recorded: String, current: String)
    /// The history has an applied migration that the set lacks.
    case unknownVersion(version: Int, title: String, isNewer: Bool)
    /// A pending migration is older than the newest applied one.
    case outOfOrder(version: Int, newestApplied: Int)
    /// A no-transaction migration broke off, and nothing tells how far it got.
    case needsResolution(version: Int, state: MigrationRecord.State)
    /// The set has no migration of the version asked for.
    case unknownTarget(version: Int)
    /// The same file was applied under another source's name.
    case sourceMoved(version: Int, from: String)

    /// The version at fault.
    public var version: Int {
        switch self {
        case .checksumChanged(let version, _, _), .unknownVersion(let version, _, _), .outOfOrder(let version, _),
            .needsResolution(let version, _), .unknownTarget(let version), .sourceMoved(let version, _):
            version
        }
    }

    /// What happened and what to do about it, in a sentence.
    public var advice: String {
        switch self {
        case .checksumChanged(_, let recorded, let current):
            "the file was changed after it was applied (\(recorded.prefix(12)) then, \(current.prefix(12)) now): "
                + "restore the file and make the change in a new migration, or accept it as it is now with "
                + "`migrate rebless`"
        case .unknownVersion(_, let title, true):
            "the database has `\(title)`, which is newer than the files here: deploy the program that has it, or name the "
                + "directory that this source's files come from"
        case .unknownVersion(_, let title, false):
            "the database has `\(title)`, whose file is missing here: restore the file"
        case .outOfOrder(_, let newest):
            "it came late: \(newest) is applied already; give it a higher version, or let it through with "
                + "`migrate apply --allow-out-of-order`"
        case .needsResolution(_, let state):
            "it is recorded as \(state.rawValue) and has no verify query that could tell whether it took effect: look at "
                + "the schema, then settle it with `migrate resolve --as applied` (it is all there) or `--as rerun`"
        case .unknownTarget: "there is no migration of this version"
        case .sourceMoved(_, let from):
            "this very file is applied already, under the source \(from): name the directory so, with "
                + "`--migrations DIRECTORY=\(from)`, or have it run a second time with `--allow-repeated`"
        }
    }

    /// The difference in one word.
    public var kind: String {
        switch self {
        case .checksumChanged: "edited"
        case .unknownVersion(_, _, isNewer: true): "newer"
        case .unknownVersion(_, _, isNewer: false): "missing"
        case .outOfOrder: "late"
        case .needsResolution: "failed"
        case .unknownTarget: "unknown"
        case .sourceMoved: "moved"
        }
    }

    package func error(
        source: String, schema: String?, complaints: [MigrationComplaint] = []
    ) -> MigrationError {
        let code: MigrationError.Code =
            switch self {
            case .checksumChanged: .checksumChanged
            case .unknownVersion: .unknownVersion
            case .outOfOrder: .outOfOrder
            case .needsResolution: .needsResolution
            case .unknownTarget: .unknownTarget
            case .sourceMoved: .sourceMoved
            }
        return MigrationError(
            code, schema: schema, source: source, version: version, reason: advice, complaints: complaints)
    }
}
