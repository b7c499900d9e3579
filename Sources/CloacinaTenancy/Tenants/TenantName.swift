/// A name that is safe for a tenant, its schema and its roles.
///
/// Lower-case ASCII letters, digits and underscores, a letter first, at most 48 bytes: what PostgreSQL keeps as written,
/// quoted or not, with room for the roles' suffixes below its limit of 63 bytes. Names beginning with `pg_`, key words
/// that PostgreSQL reserves, and names with a meaning of their own (`public`, `postgres`, `cloacina`, …) are refused.
public struct TenantName: Sendable, Hashable, CustomStringConvertible {
    /// The longest name, in bytes.
    public static let maximumLength = 48

    /// The name as given.
    public let rawValue: String

    /// Checks a name.
    ///
    /// - Throws: ``AdminError`` with ``AdminError/Code/invalidName``, naming the rule and the offending character.
    public init(_ text: String) throws(AdminError) {
        try self.init(text, subject: "tenant name")
    }

    init(_ text: String, subject: String) throws(AdminError) {
        if let violation = Self.violation(in: text) {
            throw AdminError(.invalidName, "the \(subject) \(violation)")
        }
        self.rawValue = text
    }

    /// The name.
    public var description: String { self.rawValue }

    private static let rule = "use lower-case letters a to z, digits and underscores, beginning with a letter"

    private static func violation(in text: String) -> String? {
        guard !text.isEmpty else { return "is empty; \(self.rule)" }
        guard text.utf8.count <= self.maximumLength else {
            return "has \(text.utf8.count) bytes; at most \(self.maximumLength) are allowed"
        }
        for (index, scalar) in text.unicodeScalars.enumerated() where !self.isAllowed(scalar, first: index == 0) {
            return "holds \(self.show(scalar)) at position \(index + 1); \(self.rule)"
        }
        if text.hasPrefix("pg_") { return "begins with pg_, which PostgreSQL keeps for itself; choose another" }
        if ReservedNames.all.contains(text) { return "\(text) is reserved; choose another" }
        return nil
    }

    private static func isAllowed(_ scalar: Unicode.Scalar, first: Bool) -> Bool {
        switch scalar {
        case "a"..."z": true
        case "0"..."9", "_": !first
        default: false
        }
    }

    /// The character where it can be told apart by eye, and its number always: look-alikes differ only there.
    private static func show(_ scalar: Unicode.Scalar) -> String {
        let hexadecimal = String(scalar.value, radix: 16, uppercase: true)
        let number = "U+" + String(repeating: "0", count: max(0, 4 - hexadecimal.count)) + hexadecimal
        return (0x21...0x7E).contains(scalar.value) ? "'\(scalar)' (\(number))" : number
    }
}
