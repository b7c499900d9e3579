package import CloacinaPostgres

/// A remark of the server while a migration ran: `WARNING`, `NOTICE` and the like. It may quote rows.
public struct MigrationNotice: Sendable, Hashable, Encodable {
    /// The file that ran.
    public let file: String
    /// The server's severity, such as `WARNING`.
    public let severity: String
    /// The remark itself.
    public let message: String
    /// The server's addition to its message.
    public let detail: String?
    /// The server's advice.
    public let hint: String?

    package init(file: String, _ notice: PostgresNotice) {
        self.file = file
        self.severity = notice.severity
        self.message = notice.message
        self.detail = notice.detail
        self.hint = notice.hint
    }

    /// As `file: WARNING: message`, with detail and hint.
    public var text: String {
        let parts = [self.message] + [self.detail, self.hint.map { "hint: \($0)" }].compactMap { $0 }
        return "\(self.file): \(self.severity): " + parts.joined(separator: "; ")
    }
}
