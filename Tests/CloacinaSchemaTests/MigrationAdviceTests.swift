import CloacinaPostgres
import CloacinaSchema
import Testing

@Suite struct MigrationAdviceTests {
    private let target = MigrationTarget(schema: "acme", owner: "acme_owner")

    /// C05, C16: what a bare SQLSTATE doesn't say.
    @Test(arguments: [
        ("53200", "DO $$ $$", "max_locks_per_transaction"),
        ("42501", "CREATE EXTENSION IF NOT EXISTS pg_trgm", "CREATE EXTENSION … SCHEMA extensions"),
        ("42501", "create temp table x (id int)", "GRANT TEMPORARY ON DATABASE … TO \"acme_owner\""),
        ("42501", "CREATE LOCAL TEMPORARY TABLE x (id int)", "GRANT TEMPORARY"),
        ("42501", "CREATE SCHEMA other", "a tenant has one schema"), ("42501", "SELECT 1", "as the server says"),
        ("57014", "SELECT 1", "statement_timeout"),
    ])
    func refusalsNameWhatIsLackingAndTheWay(_ state: String, _ statement: String, _ words: String) {
        let error = PostgresError(.rejectedByServer, sqlState: state)
        let reason = MigrationAdvice.reason(
            for: error, statement: SQLStatement(text: statement, line: 1), in: self.target)
        #expect(reason?.contains(words) == true)
    }

    @Test func ofOtherRefusalsTheServersWordsSayEnough() {
        let error = PostgresError(.rejectedByServer, sqlState: "42P07")
        #expect(MigrationAdvice.reason(for: error, statement: nil, in: self.target) == nil)
    }
}
