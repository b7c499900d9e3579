/// A remark of the server that is no error: `NOTICE`, `WARNING` and the like. Its words may quote data.
package struct PostgresNotice: Sendable, Hashable {
    /// The server's severity, such as `WARNING`.
    package let severity: String
    /// The server's five-character SQLSTATE.
    package let sqlState: String?
    /// The remark itself.
    package let message: String
    /// The server's addition to it.
    package let detail: String?
    /// The server's advice.
    package let hint: String?

    package init(
        severity: String, sqlState: String? = nil, message: String, detail: String? = nil, hint: String? = nil
    ) {
        self.severity = severity
        self.sqlState = sqlState
        self.message = message
        self.detail = detail
        self.hint = hint
    }
}
