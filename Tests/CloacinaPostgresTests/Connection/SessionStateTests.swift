import Testing

@testable import CloacinaPostgres

@Suite struct SessionStateTests {
    @Test(arguments: [
        ("SELECT 1", true), ("  \n select 1", true), ("INSERT INTO t VALUES (1)", true),
        ("WITH x AS (SELECT 1) SELECT", true),
        ("ROLLBACK", false), ("rollback", false), ("-- SELECT\nROLLBACK", false), ("/*SELECT*/ ROLLBACK", false),
        ("", false),
        (";ROLLBACK", false), ("CALL p()", false), ("DO $$$$", false), ("BEGIN", false), ("SELECT;ROLLBACK", false),
        ("(SELECT 1)", false), ("EXECUTE x", false), ("SET a TO b", false), ("\u{a0}ROLLBACK", false),
    ])
    func onlyWhatCannotEndATransactionSharesAFlushWithItsLabel(sql: String, can: Bool) {
        #expect(PostgresStatement(sql, prepared: false).canFollowABinding == can)
    }

    @Test(arguments: [
        ("SET search_path TO x", "SET", true), ("SET LOCAL search_path TO x", "SET", false),
        ("set\n local x to y", "SET", false), ("SET TRANSACTION READ ONLY", "SET", false),
        ("/* c */ SET LOCAL x TO y", "SET", true), ("SET SESSION x TO y", "SET", true), ("RESET ALL", "RESET", true),
        ("LISTEN c", "LISTEN", true), ("DISCARD ALL", "DISCARD ALL", true), ("SELECT 1", "SELECT 1", false),
        ("LOAD 'x'", "LOAD", true), ("PREPARE x AS SELECT 1", "PREPARE", true),
        ("SET CONSTRAINTS ALL DEFERRED", "SET CONSTRAINTS", false),
    ])
    func sessionWideChangesAreRecognisedByTheServersTag(sql: String, tag: String, isChanged: Bool) {
        #expect(SessionState.isChanged(by: PostgresStatement(sql, prepared: false), tag: tag) == isChanged)
        #expect(!SessionState.isChanged(by: PostgresStatement(trusted: sql), tag: tag))
    }

    @Test(arguments: [
        ("SET x TO y", true), ("set session x to y", true), ("SET LOCAL x TO y", false),
        ("SET TRANSACTION READ ONLY", false), ("LISTEN c", true), ("LISTEN;", true), ("PREPARE p AS SELECT 1", true),
        ("LOAD 'x'", true), ("SELECT 1", false), ("UPDATE t SET a = 1", false), ("", false),
    ])
    func whatOutlivesATransactionIsRecognisedBeforeItRuns(sql: String, would: Bool) {
        #expect(SessionState.wouldChange(PostgresStatement(sql, prepared: false)) == would)
        #expect(!SessionState.wouldChange(PostgresStatement(trusted: sql)))
    }
}
