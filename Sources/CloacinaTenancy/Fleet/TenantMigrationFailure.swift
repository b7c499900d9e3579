import CloacinaPostgres
import CloacinaSchema

/// The failure of a tenant's migration: its place and the server's words. It may quote rows, so it is for the operator.
public struct TenantMigrationFailure: Sendable, Hashable, Encodable {
    /// The kind of failure, as ``MigrationError/Code`` or ``AdminError/Code`` calls it.
    public let code: String
    /// The file.
    public let file: String?
    /// The line of the file, counted from 1.
    public let line: Int?
    /// The character of the line, counted from 1, where the server named one.
    public let column: Int?
    /// The server's SQLSTATE.
    public let sqlState: String?
    /// The server's message.
    public let message: String?
    /// The server's addition to its message.
    public let detail: String?
    /// The server's advice.
    public let hint: String?
    /// The meaning and the way out, in our words.
    public let reason: String?
    /// The sessions that were in the way of a lock.
    public let sessions: [String]

    init(_ error: any Error) {
        let admin = error as? AdminError
        let migration = error as? MigrationError ?? admin?.underlying as? MigrationError
        // Of what the server refused outside of a file, its own words are all that says why.
        let refusal = migration == nil ? admin?.underlying as? PostgresError : nil
        let words = migration?.serverWords
        self.code = migration?.code.description ?? admin?.code.description ?? "failed"
        self.file = migration?.file
        self.line = migration?.line
        self.column = migration?.column
        self.sqlState = migration?.sqlState ?? admin?.sqlState
        self.message = (words?.message ?? refusal?.primaryMessage).map(SecretMask.mask)
        self.detail = words?.detail.map(SecretMask.mask)
        self.hint = words?.hint.map(SecretMask.mask)
        let isClean = migration?.code == .failedClean
        self.reason =
            migration.map { $0.reason ?? (isClean ? Self.wayOn : nil) } ?? admin?.message
        self.sessions = migration?.sessions.map(\.description) ?? []
    }

    /// A refusal that the plan alone decided.
    init(_ problems: [TenantMigrationProblem]) {
        self.code = "refused"
        self.file = nil
        self.line = nil
        self.column = nil
        self.sqlState = nil
        self.message = nil
        self.detail = nil
        self.hint = nil
        self.reason = problems.map(\.text).joined(separator: "; ")
        self.sessions = []
    }

    /// The way out of a failure that left nothing behind, whatever it was.
    private static let wayOn = "nothing of it is left: mend what stopped it, and the same command goes on from there"

    /// One line: where, what the server said, what to do.
    public var text: String {
        var place = self.file ?? ""
        if let line { place += ":\(line)" + (self.column.map { ":\($0)" } ?? "") }
        let words = [
            self.message, self.detail.map { "detail: \($0)" }, self.hint.map { "hint: \($0)" }, self.reason,
            self.sessions.isEmpty ? nil : "in the way: " + self.sessions.joined(separator: "; "),
        ].compactMap { $0 }
        let head = self.code + (self.sqlState.map { " (SQLSTATE \($0))" } ?? "")
        return ([place.isEmpty ? nil : place, head].compactMap { $0 } + [words.joined(separator: "; ")])
            .filter { !$0.isEmpty }.joined(separator: ": ")
    }
}
