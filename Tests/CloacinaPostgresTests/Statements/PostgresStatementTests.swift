import CloacinaPostgres
import Testing

@Suite struct PostgresStatementTests {
    @Test func interpolatedValuesBecomeBinds() {
        let hostile = "'; DROP TABLE t; --"
        let missing: Int? = nil
        let statement: PostgresStatement = "SELECT \(hostile), \(1), \(missing as Int?), \([hostile]) WHERE \(true)"
        #expect(statement.sql == "SELECT $1, $2, $3, $4 WHERE $5")
        #expect(statement.binds == [.text(hostile), .int64(1), .null, .textArray([hostile]), .bool(true)])
        #expect(statement.isPrepared)
    }

    /// Warnings are errors here, so this would not compile if the compiler took the bind for a description.
    @Test func anOptionalBindIsAValueOrNULL() {
        let (missing, present): (String?, Int?) = (nil, 7)
        let statement: PostgresStatement = "SELECT \(missing), \(present)"
        #expect(statement.sql == "SELECT $1, $2")
        #expect(statement.binds == [.null, .int64(7)])
    }

    @Test func namesAreQuotedAndOnlyUnescapedTextIsTakenAsItIs() {
        let statement: PostgresStatement = "SELECT \(identifier: "a\"; --") FROM \(unescaped: "t") WHERE x = \("$1")"
        #expect(statement.sql == "SELECT \"a\"\"; --\" FROM t WHERE x = $1")
        #expect(statement.binds == [.text("$1")])
    }

    @Test func aLiteralInParenthesesIsInterpolatedToo() {
        let hostile = "1; DROP TABLE t"
        #expect(PostgresStatement("SELECT \(hostile)").sql == "SELECT $1")
    }

    @Test(arguments: [
        ("plain", "\"plain\""), ("", "\"\""), ("a\"b", "\"a\"\"b\""), ("\"", "\"\"\"\""), ("\"\"", "\"\"\"\"\"\""),
        ("a'; DROP SCHEMA x; --", "\"a'; DROP SCHEMA x; --\""), ("Ünïcode 🐘", "\"Ünïcode 🐘\""), ("a\\", "\"a\\\""),
        ("\"\u{301}", "\"\"\"\u{301}\""), ("a\nb", "\"a\nb\""),
    ])
    func identifiersAreDelimited(name: String, quoted: String) {
        #expect(Array(PostgresIdentifier.quote(name).utf8) == Array(quoted.utf8))
    }

    @Test(arguments: [
        ("plain", "'plain'"), ("", "''"), ("it's", "'it''s'"), ("'", "''''"), ("a\\", " E'a\\\\'"),
        ("\\'", " E'\\\\'''"),
        ("'\u{301}", "'''\u{301}'"), ("a\"b", "'a\"b'"),
    ])
    func literalsAreEscaped(text: String, literal: String) {
        #expect(Array(PostgresIdentifier.literal(text).utf8) == Array(literal.utf8))
    }
}
