import CloacinaPostgres
import FoundationEssentials
import Testing

extension ServerTests {
    /// The driver against a real server.
    @Suite struct ConnectionTests {
        private func connect() async throws -> PostgresConnection {
            try await PostgresConnection.connect(try #require(TestDatabase.current).administrator)
        }

        @Test func valuesSurviveTheRoundTrip() async throws {
            let connection = try await self.connect()
            let date = Date(timeIntervalSince1970: 1_763_931_661.123456)
            let id = UUID()
            let rows = try await connection.query(
                """
                SELECT \(true) AS b, \(-7) AS i, \(Int32.min) AS i4, \(Int16.max) AS i2, \(2.5) AS f, \(date) AS d, \(id) AS u,
                       \("ü'\"\\")::text AS t, \(PostgresValue.json(#"{"a":[1]}"#)) AS j, \([UInt8](0...255)) AS y,
                       \([1, 2, -3]) AS ia, \(["", "x,y", "\"{}\""]) AS ta, \([id]) AS ua, \([true, false]) AS ba,
                       \(["a", nil] as [String?]) AS na, \([String]()) AS ea, NULL::int AS n
                """)
            let row = rows[0]
            #expect(try row.value("b") == true)
            #expect(try row.value("i") == -7)
            #expect(try row.value("i4") == Int32.min)
            #expect(try row.value("i2") == Int16.max)
            #expect(try row.value("f", as: Double.self) == 2.5)
            #expect(abs(try row.value("d", as: Date.self).timeIntervalSince(date)) < 0.000_001)
            #expect(try row.value("u") == id)
            #expect(try row.value("t") == "ü'\"\\")
            #expect(try row.value("j") == #"{"a": [1]}"#)
            #expect(try row.value("y") == [UInt8](0...255))
            #expect(try row.value("ia") == [1, 2, -3])
            #expect(try row.value("ta") == ["", "x,y", "\"{}\""])
            #expect(try row.value("ua") == [id])
            #expect(try row.value("ba") == [true, false])
            #expect(try row.value("na", as: [String?].self) == ["a", nil])
            #expect(try row.value("ea", as: [String].self).isEmpty)
            #expect(try row.value("n", as: Int?.self) == nil)
            await connection.close()
        }

        @Test func aNULInTextIsRefusedBeforeAnythingIsSent() async throws {
            let connection = try await self.connect()
            await #expect { try await connection.query("SELECT \("a\0b")") } throws: {
                ($0 as? PostgresError)?.code == .invalidValue
            }
            await #expect { try await connection.query("SELECT \(["a\0b"])") } throws: {
                ($0 as? PostgresError)?.code == .invalidValue
            }
            #expect(try await connection.query("SELECT 1").single() == 1)
            await connection.close()
        }

        @Test func aPipelineIsAllOrNothing() async throws {
            let connection = try await self.connect()
            try await connection.query("CREATE TABLE t (a int PRIMARY KEY)")
            let error = await #expect(throws: PostgresError.self) {
                try await connection.pipeline([
                    "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)",
                ])
            }
            #expect(error?.sqlState == "23505")
            #expect(error?.constraint == "t_pkey")
            #expect(error?.statementIndex == 1)
            #expect(try await connection.query("SELECT count(*) FROM t").single() == 0)
            await connection.close()
        }

        @Test func descriptionsHoldNeitherStatementNorValues() async throws {
            let connection = try await self.connect()
            let error = await #expect(throws: PostgresError.self) {
                try await connection.query("SELECT \("geheim")::text::int")
            }
            let text = try #require(error).description
            #expect(!text.contains("geheim"))
            #expect(!text.contains("SELECT"))
            #expect(text.contains("22P02"))
            #expect(try #require(error).debugDescription.contains("ConnectionTests.swift"))
            await connection.close()
        }

        @Test func cancellingTheTaskStopsTheStatementAndKeepsTheConnection() async throws {
            let connection = try await self.connect()
            let watcher = try await self.connect()
            let task = Task { try await connection.query("SELECT pg_sleep(600)") }
            try await watcher.waitUntil(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = \(connection.backendPID) AND wait_event = 'PgSleep')"
            )
            task.cancel()
            let result = await task.result
            #expect { try result.get() } throws: { ($0 as? PostgresError)?.code == .cancelled }
            #expect(try await connection.query("SELECT 2").single() == 2)
            await watcher.close()
            await connection.close()
        }

        @Test func aDeadlineStopsTheStatement() async throws {
            let connection = try await self.connect()
            await #expect {
                try await connection.query("SELECT pg_sleep(600)", deadline: .now.advanced(by: .milliseconds(20)))
            } throws: {
                ($0 as? PostgresError)?.code == .deadlineExceeded
            }
            #expect(try await connection.query("SELECT 3").single() == 3)
            await connection.close()
        }

        @Test func aTerminatedBackendIsReportedAsLost() async throws {
            let connection = try await self.connect()
            try await PostgresConnection.withConnection(try #require(TestDatabase.current).superuser) { superuser in
                try await superuser.query("SELECT pg_terminate_backend(\(connection.backendPID))")
                try await superuser.waitUntil(
                    "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = \(connection.backendPID))")
            }
            await #expect { try await connection.query("SELECT 1") } throws: {
                ($0 as? PostgresError)?.code == .connectionLost
            }
            await #expect { try await connection.query("SELECT 1") } throws: {
                ($0 as? PostgresError)?.code == .connectionClosed
            }
        }

        @Test func aTransactionRollsBackWhenItsClosureThrows() async throws {
            struct Stop: Error {}
            let connection = try await self.connect()
            try await connection.query("CREATE TABLE t (a int)")
            await #expect(throws: Stop.self) {
                try await connection.withTransaction { transaction in
                    try await transaction.query("INSERT INTO t VALUES (1)")
                    throw Stop()
                }
            }
            #expect(try await connection.query("SELECT count(*) FROM t").single() == 0)
            await connection.close()
        }

        @Test func aTransactionWithAHiddenFailureDoesNotPassForCommitted() async throws {
            let connection = try await self.connect()
            await #expect {
                try await connection.withTransaction { transaction in
                    _ = try? await transaction.query("SELECT 1/0")
                }
            } throws: {
                ($0 as? PostgresError)?.code == .transactionAborted
            }
            #expect(try await connection.query("SELECT 4").single() == 4)
            await connection.close()
        }

        @Test func aPlanThatNoLongerFitsIsPreparedAnew() async throws {
            let connection = try await self.connect()
            try await connection.query("CREATE TABLE t (a int)")
            try await connection.query("INSERT INTO t VALUES (1)")
            let select: PostgresStatement = "SELECT * FROM t"
            #expect(try await connection.query(select).columnNames == ["a"])
            try await connection.query("ALTER TABLE t ADD COLUMN b text DEFAULT 'x'")
            #expect(try await connection.query(select).columnNames == ["a", "b"])
            try await connection.query("DEALLOCATE ALL")
            #expect(try await connection.query(select).count == 1)
            await connection.close()
        }

        @Test func theStatementCacheStaysWithinItsCapacity() async throws {
            var configuration = try #require(TestDatabase.current).administrator
            configuration.statementCacheCapacity = 8
            let connection = try await PostgresConnection.connect(configuration)
            for number in 0..<50 {
                #expect(try await connection.query(PostgresStatement("SELECT \(number)")).single() == number)
            }
            let prepared: Int = try await connection.query(
                PostgresStatement("SELECT count(*) FROM pg_prepared_statements", prepared: false)
            ).single()
            #expect(prepared <= 8)
            await connection.close()
        }

        @Test func copyLoadsAllRowsOrNone() async throws {
            let connection = try await self.connect()
            try await connection.query(
                "CREATE TABLE t (i bigint, t text, f float8, b bool, u uuid, d timestamptz, j jsonb, y bytea)")
            let id = UUID()
            let date = Date(timeIntervalSince1970: -1.5)
            let hostile = "tab\t newline\n return\r backslash\\ \\N 'quote'"
            let row: [PostgresValue] = [
                .int64(-1), .text(hostile), .double(.infinity), .bool(true), .uuid(id), .timestamp(date),
                .json(#"{"k":"v"}"#), .bytes([0, 255]),
            ]
            let columns = ["i", "t", "f", "b", "u", "d", "j", "y"]
            let loaded = try await connection.copyIn(
                table: "t", columns: columns, rows: [row, Array(repeating: .null, count: 8)])
            #expect(loaded == 2)
            let back = try await connection.query("SELECT * FROM t WHERE i = -1")[0]
            #expect(try back.value("t") == hostile)
            #expect(try back.value("f") == Double.infinity)
            #expect(try back.value("u") == id)
            #expect(try back.value("d") == date)
            #expect(try back.value("y") == [UInt8]([0, 255]))
            await #expect { try await connection.copyIn(table: "t", columns: ["i", "t"], rows: [row]) } throws: {
                ($0 as? PostgresError)?.code == .invalidValue
            }
            await #expect {
                try await connection.copyIn(table: "t", columns: ["i"], rows: [[.int64(5)], [.text("five")]])
            } throws: {
                ($0 as? PostgresError)?.sqlState == "22P02"
            }
            #expect(try await connection.query("SELECT count(*) FROM t").single() == 2)
            await connection.close()
        }

        @Test func notificationsArriveWhileOtherStatementsRun() async throws {
            let connection = try await self.connect()
            let sender = try await self.connect()
            try await connection.listen(on: "Weird \"channel\"")
            let received = Task { () -> [String] in
                var payloads: [String] = []
                for try await notification in connection.notifications {
                    payloads.append(notification.payload)
                    if payloads.count == 3 { break }
                }
                return payloads
            }
            for number in 1...3 {
                try await sender.query("SELECT pg_notify(\("Weird \"channel\""), \(String(number)))")
                #expect(try await connection.query("SELECT \(number)").single() == number)
            }
            #expect(try await received.value == ["1", "2", "3"])
            let waiting = Task { try await connection.notifications.first { _ in true } }
            waiting.cancel()
            let result = await waiting.result
            #expect(throws: PostgresError.self) { try result.get() }
            #expect(try await connection.query("SELECT 5").single() == 5)
            await sender.close()
            await connection.close()
        }

        @Test func manyConnectionsWaitingDoNotHoldUpTheProcess() async throws {
            let watcher = try await self.connect()
            let configuration = try #require(TestDatabase.current).administrator
            let key = Int64.random(in: 1...Int64.max)
            try await watcher.query("SELECT pg_advisory_lock(\(key))")
            try await withThrowingTaskGroup(of: Int.self) { group in
                for number in 0..<40 {
                    group.addTask {
                        try await PostgresConnection.withConnection(configuration) { connection in
                            try await connection.query("SELECT pg_advisory_lock_shared(\(key))")
                            return number
                        }
                    }
                }
                // All forty are blocked in the server at one time, and this task still runs.
                try await watcher.waitUntil(
                    "SELECT count(*) = 40 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                )
                try await watcher.query("SELECT pg_advisory_unlock(\(key))")
                #expect(try await group.reduce(0) { $0 + $1 } == 780)
            }
            await watcher.close()
        }

        /// Neither the user's name nor what the environment says takes the place of the database that a URL names.
        @Test(arguments: ["plain", "With Capitals", "a/b?c#d&e=f", "%41", "naïve-\u{1F680}", "quo\"te's"])
        func theDatabaseThatAURLNamesIsTheOne(name: String) async throws {
            let database = try #require(TestDatabase.current)
            let unique = name + TestDatabase.uniqueName("")
            try await PostgresConnection.withConnection(database.superuser) { superuser in
                let identifier = PostgresIdentifier.quote(unique)
                try await superuser.query(PostgresStatement("CREATE DATABASE \(identifier)", prepared: false))
                // As a URL has it: the path is the database's name, with whatever is no plain letter encoded.
                let plain = Set("abcdefghijklmnopqrstuvwxyz0123456789".utf8)
                let path = unique.utf8.map { byte in
                    plain.contains(byte)
                        ? String(UnicodeScalar(byte)) : "%" + String(byte, radix: 16, uppercase: true)
                }
                var url = try #require(database.server.superuserURL.split(separator: "?").first)
                url = url[...(try #require(url.lastIndex(of: "/")))]
                let found: Result<String, any Error>
                do {
                    let configuration = PostgresConfiguration(url + path.joined())
                    found = .success(
                        try await PostgresConnection.withConnection(configuration) { connection in
                            try await connection.query("SELECT current_database()").single()
                        })
                } catch {
                    found = .failure(error)
                }
                try await superuser.query(
                    PostgresStatement("DROP DATABASE \(identifier) WITH (FORCE)", prepared: false))
                #expect(try found.get() == unique)
            }
        }

        @Test(arguments: ["postgres://u:p@h:notaport/db", "no equals sign", "postgresql://%zz@h/", "host='unclosed"])
        func aBrokenConnectionStringIsRefusedWithoutRepeatingIt(text: String) async throws {
            let error = await #expect(throws: PostgresError.self) {
                try await PostgresConnection.connect(PostgresConfiguration(text))
            }
            #expect(error?.debugDescription.contains(text) == false)
        }

        @Test func aWrongPasswordFailsWithoutRepeatingIt() async throws {
            var configuration = try #require(TestDatabase.current).administrator
            configuration.password = "s3cret-wrong"
            let error = await #expect(throws: PostgresError.self) {
                try await PostgresConnection.connect(configuration)
            }
            #expect(error?.code == .connectionFailed)
            #expect(error?.sqlState == "28P01")
            #expect(error?.debugDescription.contains("s3cret-wrong") == false)
        }
    }
}

extension PostgresConnection {
    /// Asks until the answer is true. The server is the clock: each question is a round trip.
    func waitUntil(_ statement: PostgresStatement) async throws {
        while try await !self.query(statement).single(as: Bool.self) { await Task.yield() }
    }
}
