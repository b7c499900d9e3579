import CloacinaTenancy
import Testing

@Suite struct TenantNameTests {
    @Test(arguments: [
        "a", "acme", "acme_2", "a1__b_", "selects", "publics", "pgx", "pg", String(repeating: "x", count: 48),
    ])
    func goodNamesAreKeptAsTheyAre(name: String) throws {
        #expect(try TenantName(name).rawValue == name)
    }

    @Test(arguments: [
        ("", "is empty"),
        ("Acme", "'A' (U+0041) at position 1"),
        ("acMe", "'M' (U+004D) at position 3"),
        ("1abc", "'1' (U+0031) at position 1"),
        ("_abc", "'_' (U+005F) at position 1"),
        ("a-b", "'-' (U+002D) at position 2"),
        ("a b", "U+0020 at position 2"),
        ("a.b", "'.' (U+002E) at position 2"),
        ("a\"b", "'\"' (U+0022) at position 2"),
        ("a'b", "''' (U+0027) at position 2"),
        ("a;drop schema b", "';' (U+003B) at position 2"),
        ("a--", "'-' (U+002D) at position 2"),
        ("a/*", "'/' (U+002F) at position 2"),
        ("a\\b", "'\\' (U+005C) at position 2"),
        ("a$b", "'$' (U+0024) at position 2"),
        ("a\u{0}b", "U+0000 at position 2"),
        ("a\nb", "U+000A at position 2"),
        ("\u{430}cme", "U+0430 at position 1"),  // Cyrillic а
        ("ac\u{3BF}", "U+03BF at position 3"),  // Greek omicron
        ("acm\u{FF45}", "U+FF45 at position 4"),  // full-width e
        ("acme\u{200B}", "U+200B at position 5"),  // zero-width space
        ("acme\u{301}", "U+0301 at position 5"),  // combining acute
        ("\u{202E}acme", "U+202E at position 1"),  // right-to-left override
        ("ı", "U+0131 at position 1"),  // dotless i
        ("pg_acme", "begins with pg_"),
        ("pg_", "begins with pg_"),
        ("public", "is reserved"), ("information_schema", "is reserved"), ("cloacina", "is reserved"),
        ("postgres", "is reserved"), ("template0", "is reserved"), ("template1", "is reserved"),
        ("select", "is reserved"), ("user", "is reserved"), ("order", "is reserved"), ("table", "is reserved"),
        ("current_user", "is reserved"), ("none", "is reserved"),
        (String(repeating: "x", count: 49), "has 49 bytes"),
        (String(repeating: "x", count: 63), "has 63 bytes"),
        (String(repeating: "x", count: 64), "has 64 bytes"),
        (String(repeating: "é", count: 25), "has 50 bytes"),
    ])
    func badNamesAreRefusedWithTheRuleThatTheyBreak(name: String, words: String) {
        let error = #expect(throws: AdminError.self) { try TenantName(name) }
        #expect(error?.code == .invalidName)
        #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
    }
}
