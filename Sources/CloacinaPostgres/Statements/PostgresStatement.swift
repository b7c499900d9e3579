/// SQL text with its binds.
///
/// Interpolated values become binds, never text:
///
/// ```swift
/// let statement: PostgresStatement = "SELECT name FROM countries WHERE code = \(code)"   // … WHERE code = $1
/// ```
///
/// Use `\(identifier:)` for a name that varies (it is quoted) and `\(unescaped:)` for SQL text that you vouch for.
public struct PostgresStatement: Sendable, Hashable {
    /// The SQL text, with `$1`, `$2`… where values go.
    public var sql: String
    /// The values, in the order of their numbers.
    public var binds: [PostgresValue]
    /// Whether the connection keeps the statement prepared under its text; otherwise it is parsed each time.
    ///
    /// Keep it `true` for anything that runs again, `false` for DDL and one-off statements.
    public var isPrepared: Bool
    /// Whether the text is this package's own, known to leave the session's settings as they were.
    package var isTrusted: Bool = false

    /// Makes a statement from text that is not a literal, and its binds.
    ///
    /// A literal alone, `PostgresStatement("… \(x)")`, is always read as an interpolated statement: `x` becomes a bind.
    public init(_ sql: String, _ binds: [PostgresValue], prepared: Bool = true) {
        self.sql = sql
        self.binds = binds
        self.isPrepared = prepared
    }

    /// Makes a statement without binds from text that is not a literal.
    public init(_ sql: String, prepared: Bool) {
        self.init(sql, [], prepared: prepared)
    }

    /// Makes a statement of our own that leaves `search_path`, role and every other setting alone.
    package init(trusted sql: String, _ binds: [PostgresValue] = [], prepared: Bool = true) {
        self.init(sql, binds, prepared: prepared)
        self.isTrusted = true
    }
}

extension PostgresStatement {
    /// Whether the statement certainly cannot end a transaction, so that a label may be bound in the same flush.
    ///
    /// Anything that is not recognised at its first word (a comment counts as a word) may: `ROLLBACK`, `CALL`, `DO`…
    var canFollowABinding: Bool {
        let letters = self.sql.utf8.drop(while: { $0 <= UInt8(ascii: " ") }).prefix(7)
        let word = letters.prefix(while: { $0 > UInt8(ascii: " ") }).map { $0 & 0b1101_1111 }
        return Self.wordsThatCanFollow.contains(word)
    }

    /// In capitals, at most six letters long.
    private static let wordsThatCanFollow: Set<[UInt8]> = Set(
        ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES", "TABLE"].map { Array($0.utf8) })
}

extension PostgresStatement: ExpressibleByStringInterpolation {
    /// Makes a statement without binds.
    public init(stringLiteral value: String) {
        self.init(value, [])
    }

    /// Makes a statement from a literal with interpolated binds.
    public init(stringInterpolation: StringInterpolation) {
        self.init(stringInterpolation.sql, stringInterpolation.binds)
    }

    /// Collects the text and the binds of an interpolated statement.
    public struct StringInterpolation: StringInterpolationProtocol {
        var sql = ""
        var binds: [PostgresValue] = []

        /// Starts an empty statement.
        public init(literalCapacity: Int, interpolationCount: Int) {
            self.sql.reserveCapacity(literalCapacity + interpolationCount * 3)
            self.binds.reserveCapacity(interpolationCount)
        }

        /// Adds SQL text.
        public mutating func appendLiteral(_ literal: String) {
            self.sql.append(literal)
        }

        /// Adds a bind.
        public mutating func appendInterpolation(_ value: some PostgresEncodable) {
            self.binds.append(value.postgresValue)
            self.sql.append("$\(self.binds.count)")
        }

        /// Adds a bind that may be `NULL`.
        public mutating func appendInterpolation<Value: PostgresEncodable>(_ value: Value?) {
            self.binds.append(value.postgresValue)
            self.sql.append("$\(self.binds.count)")
        }

        /// Adds a quoted name.
        public mutating func appendInterpolation(identifier name: String) {
            self.sql.append(PostgresIdentifier.quote(name))
        }

        /// Adds SQL text as it is; the caller vouches for it.
        public mutating func appendInterpolation(unescaped text: String) {
            self.sql.append(text)
        }
    }
}
