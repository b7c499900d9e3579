import CLibPQ

/// Keeps the server's remarks while somebody asks for them; libpq hands them over on the connection's own thread.
@safe final class NoticeLog {
    /// A file in a loop may raise any number of them.
    private static let capacity = 200

    private var notices: [PostgresNotice] = []
    var isKeeping = false

    /// Keeps the remark that a result of libpq's holds; the result stays libpq's.
    func add(_ result: OpaquePointer?) {
        guard self.isKeeping, self.notices.count < Self.capacity else { return }
        let message = unsafe Self.field(result, ErrorField.message) ?? ""
        self.notices.append(
            PostgresNotice(
                severity: unsafe Self.field(result, ErrorField.severity) ?? "NOTICE",
                sqlState: unsafe Self.field(result, ErrorField.sqlState), message: message,
                detail: unsafe Self.field(result, ErrorField.detail), hint: unsafe Self.field(result, ErrorField.hint)))
    }

    func take() -> [PostgresNotice] {
        defer { self.notices = [] }
        return self.notices
    }

    private static func field(_ result: OpaquePointer?, _ code: Int32) -> String? {
        guard let text = unsafe PQresultErrorField(result, code) else { return nil }
        return unsafe String(cString: text)
    }
}

extension PostgresConnection {
    /// Begins to keep the server's remarks, which are thrown away otherwise.
    package func keepNotices() { self.handle.notices.isKeeping = true }

    /// The remarks kept since the last call, oldest first.
    package func takeNotices() -> [PostgresNotice] { self.handle.notices.take() }
}
