import CloacinaSchema
import TestSupport
import Testing

@Suite struct SQLSplitterTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let text: String
        let expected: [String]

        init(_ name: String, _ text: String, _ expected: [String]) {
            self.testDescription = name
            self.text = text
            self.expected = expected
        }
    }

    @Test(arguments: [
        Case("nothing", " \n\t-- only a comment\n/* and another */ ;;", []),
        Case("two", "SELECT 1; SELECT 2", ["SELECT 1", "SELECT 2"]),
        Case("quotes", "SELECT ';', 'it''s;'; SELECT \"a;\"\"b\"", ["SELECT ';', 'it''s;'", "SELECT \"a;\"\"b\""]),
        Case("backslash in a plain string", #"SELECT '\'; SELECT 2"#, [#"SELECT '\'"#, "SELECT 2"]),
        Case("escape string", #"SELECT E'\';', e'\\'; SELECT 2"#, [#"SELECT E'\';', e'\\'"#, "SELECT 2"]),
        Case(
            "continued escape string", "SELECT E'a' -- more\n  '\\';'; SELECT 2",
            ["SELECT E'a' -- more\n  '\\';'", "SELECT 2"]),
        Case("word that ends in e", #"SELECT note'\'; SELECT 2"#, [#"SELECT note'\'"#, "SELECT 2"]),
        Case(
            "unicode and national strings", #"SELECT U&'\0041;', N';'; SELECT 2"#,
            [#"SELECT U&'\0041;', N';'"#, "SELECT 2"]),
        Case("dollar quotes", "SELECT $$a;'b$$; SELECT $x$;$$;$y$;$x$", ["SELECT $$a;'b$$", "SELECT $x$;$$;$y$;$x$"]),
        Case("tag of other letters", "SELECT $ñ_1$;$ñ_1$; SELECT 2", ["SELECT $ñ_1$;$ñ_1$", "SELECT 2"]),
        Case("dollar inside a word", "SELECT a$b$; SELECT c$b$", ["SELECT a$b$", "SELECT c$b$"]),
        Case("parameter, not a quote", "SELECT $1; SELECT $1", ["SELECT $1", "SELECT $1"]),
        Case("nested comments", "SELECT /* ; /* ; */ ; */ 1; SELECT 2", ["SELECT /* ; /* ; */ ; */ 1", "SELECT 2"]),
        Case(
            "quote in a comment", "SELECT 1 -- don't;\n + 1; /* ' */ SELECT 2",
            ["SELECT 1 -- don't;\n + 1", "SELECT 2"]),
        Case("operator before a comment", "SELECT 1 +--;\n 2; SELECT 3", ["SELECT 1 +--;\n 2", "SELECT 3"]),
        Case(
            "comment marks in quotes", "SELECT '/*'; SELECT '--'; SELECT \"/*\"",
            ["SELECT '/*'", "SELECT '--'", "SELECT \"/*\""]),
        Case(
            "atomic body",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2 AS end; END; SELECT 3",
            [
                "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2 AS end; END",
                "SELECT 3",
            ]),
        Case(
            "atomic procedure", "create or replace procedure p() begin atomic insert into t values (1); end; select 1",
            ["create or replace procedure p() begin atomic insert into t values (1); end", "select 1"]),
        Case(
            "function called begin", "CREATE FUNCTION begin() RETURNS int AS $$;$$ LANGUAGE sql; SELECT 1",
            ["CREATE FUNCTION begin() RETURNS int AS $$;$$ LANGUAGE sql", "SELECT 1"]),
        Case(
            "rule", "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b); SELECT 1",
            ["CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b)", "SELECT 1"]),
        Case("blanks stay", "CREATE FUNCTION f() AS $$  \n a \t\n$$  ;", ["CREATE FUNCTION f() AS $$  \n a \t\n$$"]),
        Case("a comment ends at CR", "SELECT 1 -- don't;\r + 1; SELECT 2", ["SELECT 1 -- don't;\r + 1", "SELECT 2"]),
    ])
    func cutsAtTheSemicolonsThatEndAStatement(_ example: Case) throws {
        #expect(try SQLSplitter.split(example.text).map(\.text) == example.expected)
    }

    @Test func tellsTheLineOfEveryStatement() throws {
        let text = "-- one\nSELECT '\n';\n/* \n */ SELECT $$\n$$; SELECT 3"
        #expect(try SQLSplitter.split(text, firstLine: 10).map(\.line) == [11, 14, 15])
    }

    @Test(arguments: ["\n", "\r\n", "\r"]) func anyLineEndCountsOnce(end: String) throws {
        let text = ["-- one", "SELECT '", "';", "/*", "*/ SELECT 2"].joined(separator: end)
        let statements = try SQLSplitter.split(text)
        #expect(statements.map(\.line) == [2, 5])
        #expect(statements.map(\.column) == [1, 4])
    }

    @Test func aPositionOfTheServersIsALineAndAColumn() throws {
        let statement = try #require(try SQLSplitter.split("SELECT 1;  SELECT 'ü',\r\n  nix FROM t").last)
        #expect(statement.place(of: 1) == (1, 12))
        #expect(statement.place(of: 12) == (1, 23))
        #expect(statement.place(of: 16) == (2, 3))
        #expect(statement.place(of: 10_000).line == 2)
    }

    /// The engine's tasks may set what they like inside a routine: it runs when it is called.
    @Test func aRoutinesBodyIsItsOwnAffair() throws {
        let text = "CREATE FUNCTION f() RETURNS text LANGUAGE sql RETURN set_config('a.b', '1', true)"
        #expect(try SQLSplitter.split(text).map(\.text) == [text])
    }

    @Test func tellsTheNamesInAStatement() throws {
        let statement = try #require(
            try SQLSplitter.split(#"ALTER TABLE Tasks ADD FOREIGN KEY (a) REFERENCES "Big""#).first)
        #expect(statement.names.isSuperset(of: ["tasks", "Big"]))
    }

    @Test(arguments: [
        ("SELECT 'a", 1), ("\nSELECT \"a", 2), ("SELECT 1;\nSELECT $a$ $b$ $A$", 2), ("SELECT 1 /* /* */", 1),
        (#"SELECT E'a\'"#, 1), ("SELECT 1 \\; SELECT 2", 1), ("SELECT 1;\n\\i other.sql", 2), ("\\c db", 1),
        ("CREATE TABLE t (a int;\nCREATE TABLE u (b int)", 1), ("SELECT (1", 1), ("SELECT 1)", 1),
        ("CREATE FUNCTION f() BEGIN ATOMIC SELECT 1;", 1),
    ])
    func refusesWhatDoesNotEnd(text: String, line: Int) {
        let error = #expect(throws: SQLTextError.self) { try SQLSplitter.split(text) }
        #expect(error?.line == line)
    }

    @Test(arguments: [
        "BEGIN", "begin;", "START TRANSACTION", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT a", "RELEASE a",
        "SET search_path = public", "SET SESSION foo = 1", "SET ROLE other", "SET SESSION AUTHORIZATION x",
        "SET x TO 1",
        "SET LOCAL ROLE other", "SET LOCAL search_path = public", "SET LOCAL \"search_path\" = public",
        "SET LOCAL SCHEMA 'public'", "SET LOCAL SESSION AUTHORIZATION x", "SET/**/ROLE other",
        "RESET ROLE", "RESET ALL", "DISCARD ALL", "LISTEN x", "UNLISTEN *", "LOAD 'x'", "PREPARE a AS SELECT 1",
        "PREPARE TRANSACTION 'x'", "DEALLOCATE ALL", "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_lock_shared (1)",
        "SELECT \"pg_advisory_lock\"(1)", "SELECT pg_catalog.pg_advisory_xact_lock(1)",
        "SELECT set_config('a.b', '1', false)",
        // C8: by what the name is, however it is spelt.
        "SELECT U&\"\\0073et_config\"('role', 'none', true)",
        "SELECT u&\"!0073et!005fconfig\" UESCAPE '!' ('role', 'none', true)",
        "SELECT pg_catalog . U&\"set\\+00005fconfig\" /* */ ('role', 'none', true)", "SET LOCAL U&\"\\0072ole\" = x",
        "COPY t FROM STDIN", "copy t (a) from stdin with (format csv)", "COPY t TO STDOUT",
    ])
    func refusesWhatWouldOutliveTheMigration(text: String) {
        #expect(throws: SQLTextError.self) { try SQLSplitter.split("SELECT 1;\n" + text) }
    }

    @Test(arguments: [("COPY t FROM STDIN", "COPY FROM STDIN"), ("COPY t TO STDOUT", "COPY TO STDOUT")])
    func namesTheWayThatACopyGoes(text: String, words: String) {
        let error = #expect(throws: SQLTextError.self) { try SQLSplitter.split(text) }
        #expect(error?.reason.hasPrefix(words) == true)
    }

    @Test(arguments: [
        "SET LOCAL lock_timeout = '5s'", "SET CONSTRAINTS ALL DEFERRED", "SELECT 'pg_advisory_lock(1)'",
        "CREATE TABLE listen (commit_count int, set_config text)", "COMMENT ON TABLE t IS 'SET ROLE x; COMMIT'",
        "ALTER TABLE t ALTER c SET DEFAULT 1", "ALTER ROLE x RESET ALL",
        "CREATE FUNCTION f() AS $$ BEGIN COMMIT; END $$",
    ])
    func letsAlikeLookingStatementsPass(text: String) throws {
        #expect(try SQLSplitter.split(text).map(\.text) == [text])
    }

    @Test func followsSQLitesRules() throws {
        let trigger =
            "CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN UPDATE b SET c = CASE WHEN 1 THEN 2 END; DELETE FROM d; END"
        let statements = try SQLSplitter.split(
            "\(trigger); SELECT `a;` FROM [b;c]; /* /* */ SELECT $x$", dialect: .sqlite)
        #expect(statements.map(\.text) == [trigger, "SELECT `a;` FROM [b;c]", "SELECT $x$"])
        #expect(throws: SQLTextError.self) { try SQLSplitter.split("ATTACH 'x' AS y", dialect: .sqlite) }
    }

    /// No input may trap, loop or lose a statement's text.
    @Test func survivesAnything() {
        let pieces = [
            "'", "\"", "$$", "$a$", "E'", "\\", "/*", "*/", "--", "\n", ";", "(", ")", "BEGIN ATOMIC ", "END ", "CASE ",
            "CREATE FUNCTION ", "CREATE RULE ", "select ", "ü", "\0", "1e", "$1", "U&", "as ", ".", "\u{2028}",
        ]
        var generator = SeededGenerator(seed: 7)
        for _ in 0..<20_000 {
            let text = (0..<Int.random(in: 0...12, using: &generator)).map { _ in
                pieces[Int.random(in: 0..<pieces.count, using: &generator)]
            }.joined()
            for dialect in [SQLDialect.postgres, .sqlite] {
                guard let statements = try? SQLSplitter.split(text, dialect: dialect) else { continue }
                let again = try? SQLSplitter.split(statements.map { $0.text + "\n;" }.joined(), dialect: dialect)
                #expect(again?.map(\.text) == statements.map(\.text), "\(text)")
            }
        }
    }
}
