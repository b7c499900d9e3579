import CloacinaPostgres
import Logging

/// One migration on its way into one schema.
struct MigrationJob: Sendable {
    let step: MigrationPlan.Step
    let source: String
    let target: MigrationTarget
    let schemaOID: UInt32
    /// The session before the file, to compare with and to go back to.
    let session: SessionIdentity
    /// The leases under which it runs.
    let hold: LeaseHold
    /// False when another one follows, whose commit waits for the disk, and so for this one.
    var waitsForDisk = true
    /// The role that applies it, for the history; the session's user when nil.
    var actor: String?

    var migration: Migration { self.step.migration }

    var metadata: Logger.Metadata {
        [
            "cloacina.schema": "\(self.target.schema)", "cloacina.migration.source": "\(self.source)",
            "cloacina.migration.version": "\(self.migration.version)",
        ]
    }

    func record(
        _ state: MigrationRecord.State, duration: Duration? = nil, error: String? = nil
    ) -> PostgresStatement {
        MigrationQueries.record(
            self.migration, of: self.source, in: self.target, as: state, duration: duration, error: error,
            by: self.actor)
    }

    /// A failure as the history keeps it: the code, the place, and the server's message.
    static func historyText(of error: MigrationError) -> String {
        var text = error.code.description
        if let sqlState = error.sqlState { text += " " + sqlState }
        if let line = error.line { text += " line \(line)" }
        if let words = error.serverWords { text += ": " + words.message }
        return text
    }

    /// A failure that knows of no file, as this one's.
    func error(_ error: MigrationError) -> MigrationError {
        guard error.version == nil else { return error }
        return self.error(
            error.code, reason: error.reason, sessions: error.sessions, underlying: error.underlying)
    }

    func error(
        _ code: MigrationError.Code, reason: String? = nil, statement: SQLStatement? = nil,
        sessions: [MigrationError.Session] = [], underlying: (any Error)? = nil
    ) -> MigrationError {
        let failure = underlying as? PostgresError
        let place = failure?.position.flatMap { position in statement.map { $0.place(of: position) } }
        return MigrationError(
            code, file: self.migration.fileName, line: place?.line ?? statement?.line, column: place?.column,
            schema: self.target.schema, source: self.source, version: self.migration.version,
            reason: reason
                ?? failure.flatMap { MigrationAdvice.reason(for: $0, statement: statement, in: self.target) },
            sessions: sessions, statement: statement?.text, underlying: underlying)
    }
}
