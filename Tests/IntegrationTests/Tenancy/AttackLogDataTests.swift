import CloacinaPostgres
import CloacinaTenancy
import Testing

extension ServerTests {
    /// The attack log: another tenant's data, the shared catalog, and what a tenant could plant where others run it.
    ///
    /// Each attempt is made by the login that a tenant really gets. `Tests/AttackLog.md` has the whole log.
    @Suite(.serialized, .attackedTenants, .timeLimit(.minutes(40))) struct AttackLogDataTests {
        /// Ways to another tenant's rows that name no table in `FROM`, and to what others' rows look like.
        @Test(
            arguments: [
                "SELECT query_to_xml('SELECT * FROM {them}.items', true, true, '')",
                "SELECT table_to_xml('{them}.items', true, true, '')",
                "SELECT last_value FROM {them}.tickets", "SELECT setval('{them}.tickets', 1)",
                "SELECT currval('{them}.tickets')", "SELECT setval('{me}.tickets', 1)",
                "SELECT pg_get_viewdef('{them}.cloacina_pipeline_list'::regclass)",
                "SELECT pg_relation_filepath('{them}.items')", "SELECT pg_relation_size('{them}.items')",
                "SELECT has_table_privilege('{them}_a', '{them}.items', 'SELECT')",
                "SELECT gin_clean_pending_list('{them}.items_pkey'::regclass)",
                "SELECT * FROM {them}.cloacina_pipelines", "SELECT * FROM {them}.cloacina_migrations",
                "SELECT * FROM {them}.items FOR UPDATE", "SELECT * FROM pg_statistic",
                "SELECT * FROM pg_largeobject", "BEGIN; LOCK TABLE {them}.items IN ACCESS EXCLUSIVE MODE",
                Attempt("CREATE TABLE {me}.x (LIKE {them}.items)", "42501", "3F000"),
                "DO $$ BEGIN EXECUTE 'SELECT * FROM {them}.items'; END $$",
            ] as [Attempt])
        func anothersDataIsOutOfReach(attempt: Attempt) async throws {
            try await AttackedTenants.shared().expectRefused(attempt)
        }

        @Test(
            arguments: [
                "SELECT * FROM cloacina.tenants", "SELECT * FROM cloacina.operations", "SELECT * FROM cloacina.audit",
                "SELECT * FROM cloacina.leases", "DELETE FROM cloacina.leases",
                "SELECT * FROM cloacina.installation FOR UPDATE", "UPDATE cloacina.tenants SET state = 'removing'",
                "BEGIN; LOCK TABLE cloacina.tenants IN ACCESS SHARE MODE", "DROP SCHEMA cloacina CASCADE",
                "CREATE TABLE cloacina.x ()", "COMMENT ON SCHEMA cloacina IS 'x'",
            ] as [Attempt])
        func theSharedCatalogIsOutOfReach(attempt: Attempt) async throws {
            try await AttackedTenants.shared().expectRefused(attempt)
        }

        /// What isn't anywhere can't be run by somebody with more rights.
        @Test(
            arguments: [
                "CREATE TABLE {me}.x ()", "CREATE TABLE {me}.x AS SELECT 1", "CREATE VIEW {me}.x AS SELECT 1",
                "CREATE MATERIALIZED VIEW {me}.x AS SELECT 1", "CREATE SEQUENCE {me}.x",
                "CREATE TYPE {me}.x AS ENUM ()",
                "CREATE DOMAIN {me}.x AS int", "CREATE FUNCTION {me}.x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                "CREATE PROCEDURE {me}.x() LANGUAGE sql AS 'SELECT 1'",
                "CREATE AGGREGATE {me}.x (int) (SFUNC = int4pl, STYPE = int)",
                "CREATE OPERATOR {me}.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
                "CREATE OPERATOR CLASS {me}.x FOR TYPE int USING btree AS OPERATOR 1 <",
                "CREATE COLLATION {me}.x (LOCALE = 'C')", "CREATE CAST (int AS text) WITHOUT FUNCTION",
                "CREATE CONVERSION {me}.x FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1",
                "CREATE STATISTICS {me}.x ON id, name FROM {me}.items",
                "CREATE TEXT SEARCH CONFIGURATION {me}.x (COPY = pg_catalog.english)",
                "DO $$ BEGIN EXECUTE 'CREATE TABLE {me}.x ()'; END $$",
                "CREATE TABLE public.x ()", "CREATE FUNCTION public.x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                "CREATE TABLE pg_catalog.x ()", "CREATE SCHEMA x",
                "CREATE TEMPORARY TABLE x ()", "SELECT 1 AS a INTO TEMPORARY x", "CREATE TEMPORARY VIEW x AS SELECT 1",
                "CREATE FUNCTION pg_temp.x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            ] as [Attempt])
        func nothingCanBeMadeAnywhere(attempt: Attempt) async throws {
            try await AttackedTenants.shared().expectRefused(attempt)
        }

        /// A tenant's own tables are there, and may not be tied to code, changed or handed on.
        @Test(
            arguments: [
                "CREATE TRIGGER x BEFORE INSERT ON items EXECUTE FUNCTION suppress_redundant_updates_trigger()",
                "CREATE RULE x AS ON INSERT TO items DO INSTEAD NOTHING", "CREATE POLICY x ON items",
                "ALTER TABLE items ENABLE ROW LEVEL SECURITY", "ALTER TABLE items ADD CHECK (true)",
                "CREATE INDEX ON items (name)", "ALTER TABLE items RENAME TO x", "DROP TABLE items", "TRUNCATE items",
                "REINDEX TABLE items", "CLUSTER items USING items_pkey", "ALTER TABLE items OWNER TO {me}_a",
                "ALTER FUNCTION answer() SECURITY DEFINER",
                "CREATE OR REPLACE FUNCTION answer() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
                "ALTER FUNCTION cloacina_enqueue OWNER TO {me}_a", "ALTER VIEW cloacina_pipeline_list RENAME TO x",
                "CREATE OR REPLACE VIEW cloacina_pipeline_list AS SELECT 1", "DROP VIEW cloacina_pipeline_list",
                "ALTER SCHEMA {me} RENAME TO x", "ALTER SCHEMA {me} OWNER TO {me}_a", "DROP SCHEMA {me} CASCADE",
            ] as [Attempt])
        func noCodeIsTiedToATenantsOwnTables(attempt: Attempt) async throws {
            try await AttackedTenants.shared().expectRefused(attempt)
        }

        @Test(
            arguments: [
                "INSERT INTO cloacina_migrations (version) VALUES (99)", "UPDATE cloacina_migrations SET version = 99",
                "TRUNCATE cloacina_migrations", "SELECT * FROM cloacina_migrations FOR UPDATE",
                "SELECT * FROM cloacina_migrations FOR KEY SHARE",
                "BEGIN; LOCK TABLE cloacina_migrations IN SHARE MODE",
                "BEGIN; LOCK TABLE cloacina_migrations IN ROW EXCLUSIVE MODE",
                "BEGIN; LOCK TABLE cloacina_migrations IN ACCESS EXCLUSIVE MODE", "DROP TABLE cloacina_migrations",
                "CREATE RULE x AS ON INSERT TO cloacina_migrations DO INSTEAD NOTHING",
            ] as [Attempt])
        func theHistoryOfMigrationsIsReadOnly(attempt: Attempt) async throws {
            try await AttackedTenants.shared().expectRefused(attempt)
        }
    }
}
