package import FoundationEssentials

/// The idempotency key of a child, which begins with its parent's id. So the parent is found again without a column of its own.
package enum ChildKey {
    /// The lengths keep apart what names with a slash in them would mix up.
    static func make(parent: UUID, number: Int, task: String, name: String) -> String {
        "\(parent)/\(number)/\(task.utf8.count)/\(task)/\(name)"
    }

    /// Whose child has a key; nil when nobody's.
    package static func parent(of key: String) -> UUID? {
        guard key.utf8.dropFirst(36).first == UInt8(ascii: "/") else { return nil }
        let prefix = String(key.prefix(36))
        return UUID(uuidString: prefix).flatMap { $0.uuidString == prefix ? $0 : nil }
    }

    /// What such keys look like to PostgreSQL.
    static let pattern = "^[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}/"
}
