import CloacinaPostgres
import FoundationEssentials
import Testing

extension ServerTests {
    /// Types beyond those that the engine uses.
    @Suite struct DriverTypesTests {
        @Test func everyUsualTypeIsReadExactlyOrAsText() async throws {
            let superuser = try await PostgresConnection.connect(try #require(TestDatabase.current).superuser)
            try await superuser.script(
                """
                CREATE TYPE invoice_state AS ENUM ('draft', 'sent');
                CREATE DOMAIN price AS numeric(12, 2);
                CREATE TABLE invoices (id int, cents bigint, price price, due date, made timestamp, state invoice_state,
                    term interval, days tsrange, states invoice_state[], prices numeric[], dues date[], at time);
                INSERT INTO invoices VALUES (1, 1999, 19.99, '2024-02-29', '2024-01-31 12:00', 'sent', '30 days', NULL,
                    '{sent,NULL}', '{19.99,-1}', '{2024-02-29}', '04:05:06.7')
                """)
            let row = try await superuser.query("SELECT *, sum(cents) OVER () AS total FROM invoices")[0]
            #expect(try row.value("total") == 1999)
            #expect(try row.value("price") == Decimal(string: "19.99"))
            #expect(try row.value("price") == "19.99")
            #expect(try row.value("due") == "2024-02-29")
            #expect(try row.value("due") == Date(timeIntervalSince1970: 1_709_164_800))
            #expect(try row.value("made") == "2024-01-31 12:00:00")
            #expect(try row.value("state") == "sent")
            #expect(try row.value("term") == "P30D")
            #expect(try row.value("at") == "04:05:06.7")
            #expect(try row.value("states", as: [String?].self) == ["sent", nil])
            #expect(try row.value("prices", as: [String].self) == ["19.99", "-1"])
            #expect(try row.value("prices", as: [Decimal].self) == [Decimal(string: "19.99"), Decimal(-1)])
            #expect(try row.value("dues", as: [Date].self).count == 1)
            await superuser.close()
        }

        @Test func whatCannotBeReadNamesColumnTypeAndCast() async throws {
            let connection = try await PostgresConnection.connect(try #require(TestDatabase.current).administrator)
            for sql: PostgresStatement in [
                "SELECT 1 AS one, NULL::aclitem AS never_looked_at",
                PostgresStatement("SELECT 1 AS one, NULL::aclitem AS never_looked_at", prepared: false),
            ] {
                let error = try #require(
                    await #expect(throws: PostgresError.self) { try await connection.query(sql) })
                for part in ["never_looked_at", "aclitem", "1033", "never_looked_at::text"] {
                    #expect(error.description.contains(part))
                }
            }
            let row = try await connection.query("SELECT '[2024-01-01,2024-02-01)'::tsrange AS days")[0]
            let error = try #require(#expect(throws: PostgresError.self) { try row.value("days", as: String.self) })
            for part in ["column days", "tsrange", "days::text"] { #expect(error.description.contains(part)) }
            // A function that is missing is still just that.
            let missing = await #expect(throws: PostgresError.self) { try await connection.query("SELECT no_such()") }
            #expect(missing?.sqlState == "42883" && missing?.advice == nil)
            await connection.close()
        }

        @Test func typesOfExtensionsAreTextOrNamed() async throws {
            let superuser = try await PostgresConnection.connect(try #require(TestDatabase.current).superuser)
            let available: Int = try await superuser.query(
                "SELECT count(*) FROM pg_available_extensions WHERE name IN ('citext', 'hstore')"
            ).single()
            if available == 2 {
                try await superuser.script("CREATE EXTENSION citext; CREATE EXTENSION hstore")
                let row = try await superuser.query(
                    "SELECT 'Ab'::citext AS c, ARRAY['Ab'::citext] AS cs, 'a=>1'::hstore AS h")[0]
                #expect(try row.value("c") == "Ab")
                #expect(try row.value("cs", as: [String].self) == ["Ab"])
                let error = try #require(#expect(throws: PostgresError.self) { try row.value("h", as: String.self) })
                for part in ["column h", "hstore", "h::text"] { #expect(error.description.contains(part)) }
            }
            await superuser.close()
        }
    }
}
