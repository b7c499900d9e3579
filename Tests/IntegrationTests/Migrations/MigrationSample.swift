import Testing

/// Files that begin or end in a way that another file must not feel.
struct MigrationSample: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let files: [Int: String]

    init(_ description: String, _ files: [Int: String]) {
        self.testDescription = description
        self.files = files
    }

    static let all = [
        MigrationSample(
            "C03: a value of an enum in one file, used in the next",
            [
                1: "CREATE TYPE mood AS ENUM ('calm', 'busy'); CREATE TABLE shops (id int PRIMARY KEY, mood mood);",
                2: "ALTER TYPE mood ADD VALUE 'closed';",
                3:
                    "CREATE INDEX shops_closed ON shops (id) WHERE mood = 'closed'; INSERT INTO shops VALUES (1, 'closed');",
            ]),
        MigrationSample(
            "C04: rows whose checks wait for the commit",
            [
                1:
                    "CREATE TABLE parts (id int PRIMARY KEY, whole int REFERENCES parts DEFERRABLE INITIALLY DEFERRED);\n"
                    + "INSERT INTO parts VALUES (2, 1), (1, NULL);",
                2: "ALTER TABLE parts ADD COLUMN title text;",
            ]),
        MigrationSample(
            "C04: checks that a file defers",
            [
                1:
                    "CREATE TABLE heads (id int PRIMARY KEY); CREATE TABLE tails (head int REFERENCES heads DEFERRABLE);\n"
                    + "SET CONSTRAINTS ALL DEFERRED; INSERT INTO tails VALUES (1); INSERT INTO heads VALUES (1);",
                2: "ALTER TABLE tails ADD length int;",
            ]),
        MigrationSample(
            "C04: settings that end with the file",
            [
                1: "SET LOCAL timezone TO 'Asia/Tokyo'; CREATE TABLE hours (what text, at timestamptz);\n"
                    + "INSERT INTO hours VALUES ('shop', '2024-01-01 09:00');",
                2: "-- migrate:up\nINSERT INTO hours VALUES ('office', '2024-01-01 09:00');\n"
                    + "-- migrate:verify\nSELECT current_setting('TimeZone') <> 'Asia/Tokyo';",
            ]),
        MigrationSample(
            "C04: a file that allows itself little time, and one that doesn't",
            [
                1:
                    "SET LOCAL statement_timeout = '5s'; CREATE TABLE quick (id int);",
                2: "-- migrate:up\nCREATE TABLE slow AS SELECT 1 AS id;\n"
                    + "-- migrate:verify\nSELECT current_setting('statement_timeout') = '0';",
            ]),
        MigrationSample(
            "C04: temporary tables of one name",
            [
                1:
                    "CREATE TEMP TABLE scratch ON COMMIT DROP AS SELECT 1 AS n; CREATE TABLE a AS SELECT n FROM scratch;",
                2:
                    "CREATE TEMP TABLE scratch ON COMMIT DROP AS SELECT 2 AS n; CREATE TABLE b AS SELECT n FROM scratch;",
            ]),
        MigrationSample(
            "C16: temporary tables that nobody drops",
            [
                1: "CREATE TEMP TABLE scratch AS SELECT 1 AS n; CREATE TABLE a AS SELECT n FROM scratch;",
                2: "CREATE TEMP TABLE scratch AS SELECT 'x'::text AS n; CREATE TABLE b AS SELECT n FROM scratch;",
            ]),
        MigrationSample(
            "C04: one moment for each transaction",
            [
                1:
                    "CREATE TABLE moments (id int, made_at timestamptz UNIQUE DEFAULT now()); INSERT INTO moments VALUES (1);",
                2: "INSERT INTO moments VALUES (2);",
            ]),
        MigrationSample(
            "settings that a block leaves on the session",
            [
                1: "DO $$ BEGIN PERFORM set_config('work_mem', '77kB', false); END $$; CREATE TABLE a (id int);",
                2: "-- migrate:up\nCREATE TABLE b (id int);\n"
                    + "-- migrate:verify\nSELECT current_setting('work_mem') <> '77kB';",
            ]),
        MigrationSample(
            "an index that is built concurrently, and a file after it",
            [
                1:
                    "CREATE TABLE things (id int PRIMARY KEY, name text); INSERT INTO things SELECT g FROM generate_series(1, 9) g;",
                2: "-- migrate:no-transaction\nCREATE INDEX CONCURRENTLY things_by_name ON things (name);",
                3: "ALTER TABLE things ADD COLUMN more int;",
            ]),
        MigrationSample(
            "a backfill in portions",
            [
                1: """
                -- migrate:up
                CREATE TABLE items (id int PRIMARY KEY, label text);
                INSERT INTO items SELECT g FROM generate_series(1, 5) g;
                CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$
                DECLARE n int;
                BEGIN
                    FOR n IN SELECT id FROM items ORDER BY id LOOP
                        UPDATE items SET label = 'x' || n WHERE id = n;
                        COMMIT;
                    END LOOP;
                END $$;
                """,
                3: "-- migrate:no-transaction\nCALL fill();\n"
                    + "-- migrate:verify\nSELECT count(*) = 5 FROM items WHERE label IS NOT NULL;",
            ]),
        MigrationSample(
            "C09: blanks and line ends between quotes",
            [
                1:
                    "-- migrate:up\r\nCREATE TABLE texts (body text);\r\nINSERT INTO texts VALUES ($m$a  \r\n\r\nb\t\n$m$),"
                    + " ('c  \nd\r'), (E'e \\\n \r\n');\r\n"
                    + "-- migrate:verify\r\nSELECT array_agg(encode(convert_to(body, 'UTF8'), 'hex') ORDER BY body COLLATE \"C\")"
                    + " = ARRAY['6120200d0a0d0a62090a', '6320200a640d', '65200a200d0a'] FROM texts;\r\n"
            ]),
        MigrationSample(
            "rights that a file hands out",
            [
                1:
                    "CREATE TABLE granted (id int PRIMARY KEY); CREATE FUNCTION one() RETURNS int LANGUAGE sql RETURN 1;\n"
                    + "REVOKE INSERT ON granted FROM PUBLIC;"
            ]),
    ]
}
