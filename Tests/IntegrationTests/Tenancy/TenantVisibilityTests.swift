import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

extension ServerTests {
    /// L5: what README says that one tenant sees of another, and what it says that no tenant sees, line by line and tried.
    @Suite(.timeLimit(.minutes(40))) struct TenantVisibilityTests {
        private static let definitions = """
            CREATE TYPE mood AS ENUM ('a label');
            CREATE TABLE things (name text DEFAULT 'a default' CHECK (name <> 'a constraint'));
            COMMENT ON TABLE things IS 'a comment';
            CREATE INDEX things_index ON things (name) WHERE name <> 'a condition';
            CREATE VIEW short AS SELECT name FROM things WHERE name <> 'a view';
            CREATE TABLE parts (region text) PARTITION BY LIST (region);
            CREATE TABLE parts_one PARTITION OF parts FOR VALUES IN ('a bound');
            """

        /// One sentence of README's and a query that answers true when it holds, on another tenant's things.
        private struct Sight {
            let what: String
            let sql: String

            init(_ what: String, _ sql: String) {
                self.what = what
                self.sql = sql
            }
        }

        private static func relation(_ name: String, of tenant: String) -> String {
            """
            (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = '\(tenant)' AND c.relname = '\(name)')
            """
        }

        private static func visible(_ them: String, pid: Int32) -> [Sight] {
            func relation(_ name: String) -> String { Self.relation(name, of: them) }
            return [
                Sight("a schema's name", "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = '\(them)')"),
                Sight("a role's name", "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = '\(them)_owner')"),
                Sight(
                    "a database's name", "SELECT EXISTS (SELECT FROM pg_database WHERE datname <> current_database())"),
                Sight("a table's name", "SELECT \(relation("things")) IS NOT NULL"),
                Sight(
                    "a column's name and type",
                    """
                    SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = \(relation("things")) AND attname = 'name'
                                   AND atttypid = 'text'::regtype)
                    """),
                Sight(
                    "a default",
                    """
                    SELECT EXISTS (SELECT FROM pg_attrdef WHERE adrelid = \(relation("things"))
                                   AND pg_get_expr(adbin, adrelid) LIKE '%a default%')
                    """),
                Sight(
                    "a constraint",
                    """
                    SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = \(relation("things"))
                                   AND pg_get_constraintdef(oid) LIKE '%a constraint%')
                    """),
                Sight("an index", "SELECT pg_get_indexdef(\(relation("things_index"))) LIKE '%a condition%'"),
                Sight("a view's text", "SELECT pg_get_viewdef(\(relation("short"))) LIKE '%a view%'"),
                Sight(
                    "a function's source",
                    """
                    SELECT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                                   WHERE n.nspname = '\(them)' AND proname = 'answer' AND prosrc = 'SELECT 42')
                    """),
                Sight(
                    "an enum's label",
                    """
                    SELECT EXISTS (SELECT FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
                                   JOIN pg_namespace n ON n.oid = t.typnamespace
                                   WHERE n.nspname = '\(them)' AND enumlabel = 'a label')
                    """),
                Sight(
                    "a partition's bound",
                    "SELECT pg_get_expr(relpartbound, oid) LIKE '%a bound%' FROM pg_class WHERE oid = \(relation("parts_one"))"
                ),
                Sight("a comment", "SELECT obj_description(\(relation("things")), 'pg_class') = 'a comment'"),
                Sight(
                    "a table's privileges", "SELECT relacl IS NOT NULL FROM pg_class WHERE oid = \(relation("things"))"),
                Sight(
                    "default privileges",
                    """
                    SELECT EXISTS (SELECT FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace
                                   WHERE n.nspname = '\(them)')
                    """),
                Sight(
                    "memberships",
                    "SELECT EXISTS (SELECT FROM pg_auth_members WHERE roleid = to_regrole('\(them)_runtime'))"),
                Sight(
                    "a login's settings and limits",
                    "SELECT rolconfig IS NOT NULL AND rolconnlimit = 40 FROM pg_roles WHERE rolname = '\(them)_a'"),
                Sight("how many rows", "SELECT reltuples = 100 FROM pg_class WHERE oid = \(relation("items"))"),
                Sight(
                    "how much is written",
                    "SELECT n_tup_ins = 100 FROM pg_stat_all_tables WHERE relid = \(relation("items"))"),
                Sight("how large", "SELECT pg_relation_size(\(relation("items"))) > 0"),
                Sight(
                    "a large object's number and owner",
                    "SELECT EXISTS (SELECT FROM pg_largeobject_metadata WHERE lomowner = to_regrole('\(them)_a'))"),
                Sight(
                    "who is connected, and under which application's name",
                    """
                    SELECT usename = '\(them)_a' AND application_name = 'their program' FROM pg_stat_activity WHERE pid = \(pid)
                    """),
                Sight(
                    "which locks it holds",
                    "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = \(pid) AND relation = \(relation("items")))"),
                Sight(
                    "the age of its snapshot",
                    "SELECT backend_xmin IS NOT NULL FROM pg_stat_activity WHERE pid = \(pid)"),
            ]
        }

        /// The queries would be true if something were seen; refused or false, nothing is.
        private static func hidden(_ them: String, pid: Int32) -> [Sight] {
            func relation(_ name: String) -> String { Self.relation(name, of: them) }
            return [
                Sight("rows", "SELECT EXISTS (SELECT FROM \(them).items)"),
                Sight("rows, through a view", "SELECT EXISTS (SELECT FROM \(them).short)"),
                Sight("what a function answers", "SELECT \(them).answer() = 42"),
                Sight(
                    "values, by a column's statistics",
                    "SELECT EXISTS (SELECT FROM pg_stats WHERE schemaname = '\(them)')"),
                Sight("values, by raw statistics", "SELECT EXISTS (SELECT FROM pg_statistic)"),
                Sight("how far a sequence is", "SELECT pg_sequence_last_value(\(relation("tickets"))) IS NOT NULL"),
                Sight("what a large object holds", "SELECT EXISTS (SELECT FROM pg_largeobject)"),
                Sight("verifiers of passwords", "SELECT EXISTS (SELECT FROM pg_authid)"),
                Sight(
                    "what a session does, since when and from where",
                    """
                    SELECT query <> '<insufficient privilege>' OR state IS NOT NULL OR client_addr IS NOT NULL
                        OR backend_start IS NOT NULL OR xact_start IS NOT NULL OR query_start IS NOT NULL
                    FROM pg_stat_activity WHERE pid = \(pid)
                    """),
                Sight("its migrations", "SELECT EXISTS (SELECT FROM \(them).cloacina_migrations)"),
                Sight("its pipelines", "SELECT EXISTS (SELECT FROM \(them).cloacina_pipeline_list)"),
                Sight("the registry", "SELECT EXISTS (SELECT FROM cloacina.tenants)"),
                Sight("the audit", "SELECT EXISTS (SELECT FROM cloacina.audit)"),
                Sight("the ledger", "SELECT EXISTS (SELECT FROM cloacina.operations)"),
            ]
        }

        @Test("L5: README's lines on what tenants see of each other are true")
        func whatIsVisibleIsWhatTheReadmeSays() async throws {
            let (mine, theirs) = (TenantFixture.name(), TenantFixture.name())
            try await TenantFixture.withAdmin { admin in
                let sets = try TenantFixture.sets(Self.definitions)
                let credentials = try await admin.createTenant(TenantFixture.config(mine, sets: sets))
                var configuration = PostgresConfiguration(
                    try await admin.createTenant(TenantFixture.config(theirs, sets: sets)).connectionString)
                configuration.applicationName = "their program"
                try await TenantFixture.withSuperuser { connection in
                    try await connection.script(
                        "INSERT INTO \(theirs).items (name) SELECT 'row ' || g FROM generate_series(1, 100) g")
                    try await connection.script("ANALYZE \(theirs).items, \(theirs).things")
                    // Counters reach the others once a second, or when that is asked for.
                    try await connection.script("SELECT pg_stat_force_next_flush()")
                }
                try await PostgresConnection.withConnection(configuration) { them in
                    try await them.script("SELECT nextval('tickets')")
                    try await them.script("SELECT lo_create(0)")
                    try await them.script("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM items")
                    try await TenantFixture.withTenant(credentials) { me in
                        for sight in Self.visible(theirs, pid: them.backendPID) {
                            let isSeen = try await self.isSeen(sight, by: me)
                            #expect(isSeen, "not seen: \(sight.what)")
                        }
                        for sight in Self.hidden(theirs, pid: them.backendPID) {
                            let isSeen = try await self.isSeen(sight, by: me)
                            #expect(!isSeen, "seen: \(sight.what)")
                        }
                    }
                    try await them.script("ROLLBACK")
                }
                for name in [mine, theirs] { try await admin.removeTenant(named: name) }
            }
        }

        private func isSeen(_ sight: Sight, by connection: PostgresConnection) async throws -> Bool {
            do {
                let rows = try await connection.query(PostgresStatement(sight.sql, prepared: false))
                return try rows.single(as: Bool?.self) ?? false
            } catch {
                guard error.sqlState == "42501" else { throw error }
                return false
            }
        }
    }
}
