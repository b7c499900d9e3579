import CloacinaPostgres

#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// Why a migration file, plan or run was refused or failed.
///
/// `description` names code, place, schema, version and SQLSTATE and is safe to log; the failing statement is only in
/// `debugDescription`.
public struct MigrationError: Error, Sendable {
    /// What went wrong.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        enum Base: String {
            case invalidFile, invalidSet, unreadableDirectory
            case checksumChanged, outOfOrder, unknownVersion, unknownTarget, needsResolution, sourceMoved
            case schemaMissing, wrongSchema, pooledConnection, sessionChanged
            case lockBusy, lockTimeout, failedClean, failedUnknown, verifyFailed
            case connectionFailed, serverRefused, cancelled
        }
        let base: Base

        /// A file's name, sections or statements aren't what a migration may contain.
        public static let invalidFile = Self(base: .invalidFile)
        /// The files don't form a set: a version twice, a gap, a mixed lane, a bad source name.
        public static let invalidSet = Self(base: .invalidSet)
        /// The directory or a file in it can't be read.
        public static let unreadableDirectory = Self(base: .unreadableDirectory)
        /// A migration that was applied has been edited since.
        public static let checksumChanged = Self(base: .checksumChanged)
        /// A pending migration is older than one that was applied.
        public static let outOfOrder = Self(base: .outOfOrder)
        /// The database has a migration that this program doesn't know.
        public static let unknownVersion = Self(base: .unknownVersion)
        /// There is no migration of the version asked for.
        public static let unknownTarget = Self(base: .unknownTarget)
        /// An earlier step broke off and nothing tells how far it got.
        public static let needsResolution = Self(base: .needsResolution)
        /// The same files were applied under another source's name.
        public static let sourceMoved = Self(base: .sourceMoved)
        /// The schema doesn't exist.
        public static let schemaMissing = Self(base: .schemaMissing)
        /// `current_schema()` isn't the target: the role can't use it.
        public static let wrongSchema = Self(base: .wrongSchema)
        /// The migration changed as whom the session acts, or its `search_path`. It was rolled back, or the session closed.
        public static let sessionChanged = Self(base: .sessionChanged)
        /// A pooler sits in between, so that a session's leases would be somebody else's.
        public static let pooledConnection = Self(base: .pooledConnection)
        /// Another process is migrating, and went on for longer than we wait; see ``MigrationError/sessions``.
        public static let lockBusy = Self(base: .lockBusy)
        /// Others kept a table locked through every attempt; nothing changed. See ``MigrationError/sessions``.
        public static let lockTimeout = Self(base: .lockTimeout)
        /// The migration failed and left nothing behind.
        public static let failedClean = Self(base: .failedClean)
        /// A no-transaction migration failed, and what it left behind isn't known.
        public static let failedUnknown = Self(base: .failedUnknown)
        /// The verify query wasn't true.
        public static let verifyFailed = Self(base: .verifyFailed)
        /// The connection broke. The history tells what was committed; run again.
        public static let connectionFailed = Self(base: .connectionFailed)
        /// The server refused one of the runner's own statements.
        public static let serverRefused = Self(base: .serverRefused)
        /// The task was cancelled.
        public static let cancelled = Self(base: .cancelled)

        /// The code's name.
        public var description: String { base.rawValue }
    }

    /// Another session that was in the way.
    public struct Session: Sendable, Hashable {
        /// Its backend's process id.
        public let pid: Int32
        /// What it calls itself.
        public let applicationName: String
        /// The role it logged in as; nil when that isn't known.
        public var role: String?
        /// What it is doing (`active`, `idle in transaction`, …); nil when the role may not see it.
        public let state: String?
        /// When its transaction began, or else its connection; nil when the role may not see it.
        public let since: Date?
    }

    /// What went wrong.
    public let code: Code
    /// The file, when one is at fault.
    public let file: String?
    /// The line in ``file``, counted from 1.
    public let line: Int?
    /// The character of the line, counted from 1, when the server named one.
    public let column: Int?
    /// The schema being migrated.
    public let schema: String?
    /// The set the migration belongs to.
    public let source: String?
    /// The migration's version.
    public let version: Int?
    /// A sentence for the reader; never holds SQL or values.
    public let reason: String?
    /// What the server said, as a code.
    public let sqlState: String?
    /// Who was in the way of a lock, as far as could be seen.
    public let sessions: [Session]
    /// The lease that stayed taken.
    package let lease: String?
    /// The statement that failed; for debugging only.
    public let statement: String?
    /// Everything that is wrong, in the order of files and lines, when it was found before anything ran.
    public let complaints: [MigrationComplaint]
    /// The migrations that the same call had applied and committed before it failed.
    public internal(set) var applied: [MigrationReport.Applied] = []
    /// The server's remarks meanwhile.
    public internal(set) var notices: [MigrationNotice] = []
    /// The driver's error.
    public let underlying: (any Error)?

    /// The server's words, which may quote rows: for the operator, not for a log.
    public var serverWords: ServerWords? {
        guard let error = self.underlying as? PostgresError, let message = error.primaryMessage else { return nil }
        return ServerWords(message: message, detail: error.detail, hint: error.hint)
    }

    /// The server's words on a failure.
    public struct ServerWords: Sendable, Hashable {
        /// The message itself.
        public let message: String
        /// The addition to it.
        public let detail: String?
        /// The advice.
        public let hint: String?
    }

    package init(
        _ code: Code, file: String? = nil, line: Int? = nil, column: Int? = nil, schema: String? = nil,
        source: String? = nil,
        version: Int? = nil, reason: String? = nil, sqlState: String? = nil, sessions: [Session] = [],
        lease: String? = nil, statement: String? = nil, complaints: [MigrationComplaint] = [],
        underlying: (any Error)? = nil
    ) {
        self.code = code
        self.file = file ?? complaints.first?.file
        self.line = line ?? complaints.first?.line
        self.column = column
        self.complaints = complaints
        self.schema = schema
        self.source = source
        self.version = version
        self.reason = reason ?? complaints.first?.reason
        self.sqlState = sqlState ?? (underlying as? PostgresError)?.sqlState
        self.sessions = sessions
        self.lease = lease
        self.statement = statement
        self.underlying = underlying
    }
}

extension MigrationError {
    /// The same error, of this schema.
    func inSchema(_ schema: String) -> MigrationError {
        MigrationError(
            self.code, file: self.file, line: self.line, schema: schema, source: self.source, version: self.version,
            reason: self.reason, sqlState: self.sqlState, sessions: self.sessions, lease: self.lease,
            statement: self.statement, underlying: self.underlying)
    }
}

extension MigrationError: CustomStringConvertible, CustomDebugStringConvertible {
    /// Code, place, SQLSTATE and advice, without SQL.
    public var description: String {
        var text = code.description
        if let file {
            text += " in \(file)" + (line.map { ":\($0)" } ?? "") + (column.map { ":\($0)" } ?? "")
        }
        if let schema { text += ", schema \(schema)" }
        if let source, let version { text += ", migration \(source) \(version)" }
        if file == nil, let line { text += ", line \(line)" }
        if let sqlState { text += ", SQLSTATE \(sqlState)" }
        if let reason { text += ": \(reason)" }
        if complaints.count > 1 { text += " (and \(complaints.count - 1) more)" }
        if !sessions.isEmpty { text += " [" + sessions.map(\.description).joined(separator: "; ") + "]" }
        return text
    }

    /// The description with the failing statement and the driver's error.
    public var debugDescription: String {
        var text = description
        if let statement { text += "\nstatement: \(statement)" }
        if let underlying { text += "\nunderlying: \(String(reflecting: underlying))" }
        return text
    }
}

extension MigrationError.Session: CustomStringConvertible {
    /// Process id, name, role, state and since when.
    public var description: String {
        "pid \(pid) \(applicationName)" + (role.map { ", role \($0)" } ?? "") + (state.map { ", \($0)" } ?? "")
            + (since.map { ", since \($0.formatted(.iso8601))" } ?? "")
    }
}
