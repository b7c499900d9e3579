import CloacinaPostgres
import CloacinaSchema
import Synchronization
import Testing

extension ServerTests {
    /// The migration runner against a real server.
    @Suite struct MigrationTests {
        private let target = MigrationTarget(schema: "acme \"x\"")

        private static func migration(_ version: Int, _ text: String) throws -> Migration {
            let digits = String(10_000 + version).dropFirst()
            return try Migration(fileName: "\(digits)_m\(version).tenant.sql", contents: Array(text.utf8))
        }

        private func set(_ texts: String...) throws -> MigrationSet {
            let migrations = try texts.enumerated().map { try Self.migration($0.offset + 1, $0.element) }
            return try MigrationSet(source: "app", lane: .tenant, migrations: migrations)
        }

        private func connect(named name: String = "cloacina") async throws -> PostgresConnection {
            var configuration = try #require(TestDatabase.current).administrator
            configuration.applicationName = name
            return try await PostgresConnection.connect(configuration)
        }

        /// Lends a connection to a database with the target's schema; afterwards it must be idle, unlocked and unchanged.
        private func withSchema<R>(_ body: (PostgresConnection) async throws -> R) async throws -> R {
            let connection = try await self.connect()
            try await connection.query(self.sql("CREATE SCHEMA \(self.quoted)"))
            let result = try await body(connection)
            try await self.expectUntouched(connection)
            await connection.close()
            return result
        }

        private func expectUntouched(_ connection: PostgresConnection) async throws {
            let row = try await connection.query(
                """
                SELECT to_regclass('cloacina.leases') IS NOT NULL AS has_leases, current_user = session_user AS is_self, current_setting('search_path') AS path,
                       current_setting('lock_timeout') AS lock_timeout
                """)[0]
            if try row.value("has_leases") {
                let leases: PostgresStatement = "SELECT count(*) FROM cloacina.leases WHERE pid = pg_backend_pid()"
                #expect(try await connection.query(leases).single() == 0)
            }
            #expect(try row.value("is_self") == true)
            #expect(try row.value("path") == "\"$user\", public")
            #expect(try row.value("lock_timeout") == "0")
        }

        private var quoted: String { PostgresIdentifier.quote(self.target.schema) }

        private func sql(_ text: String) -> PostgresStatement { PostgresStatement(text, prepared: false) }

        private func states(_ connection: PostgresConnection) async throws -> [String] {
            try await connection.query(
                self.sql("SELECT state FROM \(self.quoted).cloacina_migrations ORDER BY version")
            )
            .column("state")
        }

        private func relations(_ connection: PostgresConnection) async throws -> [String] {
            try await connection.query(
                """
                SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE nspname = \(self.target.schema) AND relname NOT LIKE 'cloacina_migrations%' ORDER BY 1
                """
            ).column("relname")
        }

        /// The error that a closure throws, which has to be of a code.
        private func error<R>(
            _ code: MigrationError.Code, _ body: () async throws -> R, location: SourceLocation = #_sourceLocation
        ) async throws -> MigrationError {
            let error = await #expect(throws: MigrationError.self, sourceLocation: location) { _ = try await body() }
            let found = try #require(error, sourceLocation: location)
            #expect(found.code == code, sourceLocation: location)
            return found
        }

        // MARK: Applying

        @Test func appliesInOrderAndOnlyOnce() async throws {
            try await self.withSchema { connection in
                let runner = MigrationRunner(connection: connection)
                let set = try self.set(
                    "-- migrate:up\nCREATE TABLE a (id int);\nINSERT INTO a VALUES (1);\n"
                        + "-- migrate:verify\nSELECT count(*) = 1 FROM a",
                    "-- migrate:up\nALTER TABLE a ADD b int;\r\n")
                #expect(try await runner.status(of: [set], in: self.target)[0].pending.count == 2)
                #expect(try await self.relations(connection).isEmpty)

                let report = try await runner.apply([set], to: self.target)
                #expect(report.applied.map(\.version) == [1, 2])
                #expect(report.versions == ["app": 2])
                #expect(try await runner.apply([set], to: self.target).applied.isEmpty)

                let status = try await runner.status(of: [set], in: self.target)[0]
                #expect(status.isCurrent)
                #expect(status.version == 2)
                #expect(status.records.allSatisfy { $0.state == .applied && $0.duration != nil })
                #expect(status.records.map(\.canonicalChecksum) == set.migrations.map(\.canonicalChecksum))
            }
        }

        @Test func stopsAtTheVersionAskedFor() async throws {
            try await self.withSchema { connection in
                let runner = MigrationRunner(connection: connection)
                let set = try self.set("-- migrate:up\nCREATE TABLE a ()", "-- migrate:up\nCREATE TABLE b ()")
                #expect(try await runner.apply([set], to: self.target, through: 1).versions == ["app": 1])
                #expect(try await self.relations(connection) == ["a"])
            }
        }

        @Test func twoSourcesHaveHistoriesOfTheirOwn() async throws {
            try await self.withSchema { connection in
                let runner = MigrationRunner(connection: connection)
                let first = try self.set("-- migrate:up\nCREATE TABLE a ()")
                let second = try MigrationSet(
                    source: "shop", lane: .tenant, migrations: [Self.migration(1, "-- migrate:up\nCREATE TABLE b ()")])
                let report = try await runner.apply([first, second], to: self.target)
                #expect(report.versions == ["app": 1, "shop": 1])
                #expect(try await self.relations(connection) == ["a", "b"])
            }
        }

        @Test func theOwnerOwnsEverythingAndReadersOnlyReadTheHistory() async throws {
            let owner = TestDatabase.uniqueName("owner")
            let reader = TestDatabase.uniqueName("reader")
            let administrator = try await self.connect()
            let superuser = try await PostgresConnection.connect(try #require(TestDatabase.current).superuser)
            for statement in [
                "CREATE ROLE \(owner)", "CREATE ROLE \(reader)", "GRANT \(owner) TO \(administrator.endpoint.user)",
                "CREATE SCHEMA app AUTHORIZATION \(owner)", "GRANT USAGE ON SCHEMA app TO \(reader)",
                "ALTER DEFAULT PRIVILEGES FOR ROLE \(owner) IN SCHEMA app "
                    + "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO \(reader)",
            ] {
                try await superuser.query(self.sql(statement))
            }
            let runner = MigrationRunner(connection: administrator)
            let set = try self.set(
                "-- migrate:up\nCREATE TABLE a (id int)",
                "-- migrate:no-transaction\nCREATE INDEX CONCURRENTLY by_id ON a (id)")
            let target = MigrationTarget(schema: "app", owner: owner, readers: [reader])
            try await runner.apply([set], to: target)
            try await self.expectUntouched(administrator)

            let owners = try await superuser.query(
                "SELECT DISTINCT relowner::regrole::text AS o FROM pg_class WHERE relnamespace = 'app'::regnamespace"
            ).column("o", as: String.self)
            #expect(owners == [owner])
            let rights = try await superuser.query(
                """
                SELECT string_agg(p, ',' ORDER BY p) FROM unnest(ARRAY['SELECT','INSERT','UPDATE','DELETE','TRUNCATE']) p
                WHERE has_table_privilege(\(reader), 'app.cloacina_migrations', p)
                """
            ).single(as: String.self)
            #expect(rights == "SELECT")
            for role in [owner, reader] { try await superuser.query(self.sql("DROP OWNED BY \(role)")) }
            try await superuser.query(self.sql("DROP ROLE \(owner), \(reader)"))
            await superuser.close()
            await administrator.close()
        }

        @Test func aMissingSchemaIsAnErrorAndNothingIsMade() async throws {
            try await self.withSchema { connection in
                let runner = MigrationRunner(connection: connection)
                let set = try self.set("-- migrate:up\nCREATE TABLE a ()")
                _ = try await self.error(.schemaMissing) {
                    try await runner.apply([set], to: MigrationTarget(schema: "nowhere"))
                }
            }
        }

        // MARK: Failing

        @Test func aFailureLeavesNothingButItsRow() async throws {
            try await self.withSchema { connection in
                let runner = MigrationRunner(connection: connection)
                let bad = try self.set(
                    "-- migrate:up\nCREATE TABLE a ()", "-- migrate:up\nCREATE TABLE b ();\nSELECT 'secret'::int")
                let error = try await self.error(.failedClean) { try await runner.apply([bad], to: self.target) }
                #expect(error.version == 2)
                #expect(error.line == 3)
                #expect(error.sqlState == "22P02")
                #expect(!error.description.contains("secret"))
                #expect(error.debugDescription.contains("secret"))
                #expect(try await self.relations(connection) == ["a"])
                #expect(try await self.states(connection) == ["applied", "failed_clean"])

                let good = try self.set("-- migrate:up\nCREATE TABLE a ()", "-- migrate:up\nCREATE TABLE b ()")
                try await runner.apply([good], to: self.target)
                #expect(try await self.states(connection) == ["applied", "applied"])
            }
        }

        @Test(arguments: [
            "SELECT false", "SELECT NULL::boolean", "SELECT true WHERE false", "SELECT 1", "VALUES (true), (true)",
        ])
        func aVerifyQueryMustBeOneTrueValue(query: String) async throws {
            try await self.withSchema { connection in
                let runner = MigrationRunner(connection: connection)
                let set = try self.set("-- migrate:up\nCREATE TABLE a ();\n-- migrate:verify\n\(query)")
                #expect(
                    try await self.error(.verifyFailed) { try await runner.apply([set], to: self.target) }.line == 4)
                #expect(try await self.relations(connection).isEmpty)
            }
        }

        @Test func anEditedFileIsRefusedAndAReformattedOneIsNot() async throws {
            try await self.withSchema { connection in
                let runner = MigrationRunner(connection: connection)
                try await runner.apply([self.set("-- migrate:up\nCREATE TABLE a ()")], to: self.target)
                _ = try await self.error(.checksumChanged) {
                    try await runner.apply([self.set("-- migrate:up\nCREATE TABLE b ()")], to: self.target)
                }
                let report = try await runner.apply(
                    [self.set("-- migrate:up  \r\nCREATE TABLE a ()\r\n")], to: self.target)
                #expect(report.notes == ["app": [.differsInBlanksOnly(version: 1)]])
            }
        }

        @Test func aNewerDatabaseIsRefusedWithoutALock() async throws {
            try await self.withSchema { connection in
                let runner = MigrationRunner(connection: connection)
                let newer = try self.set("-- migrate:up\nCREATE TABLE a ()", "-- migrate:up\nCREATE TABLE b ()")
                try await runner.apply([newer], to: self.target)
                let older = try self.set("-- migrate:up\nCREATE TABLE a ()")
                #expect(
                    try await self.error(.unknownVersion) { try await runner.apply([older], to: self.target) }.version
                        == 2)
            }
        }

        // MARK: Locks

        @Test func aTableLockedByAnotherIsWaitedForWithBackoffAndThenNamed() async throws {
            try await self.withSchema { connection in
                try await connection.query(self.sql("CREATE TABLE \(self.quoted).busy (id int)"))
                try await connection.query(self.sql("CREATE TABLE \(self.quoted).idle (id int)"))
                let holder = try await self.connect(named: "the holder")
                let waits = Mutex<[Duration]>([])
                var configuration = MigrationRunner.Configuration()
                configuration.lockTimeout = .milliseconds(20)
                configuration.maximumAttempts = 3
                let runner = MigrationRunner(
                    connection: connection, configuration: configuration,
                    pace: MigrationPace(sleep: { wait in waits.withLock { $0.append(wait) } }, random: { 1 }))
                let set = try self.set("-- migrate:up\nCREATE TABLE a ();\nALTER TABLE busy ADD x int")
                try await holder.withTransaction { transaction in
                    try await transaction.query(self.sql("SELECT FROM \(self.quoted).busy"))
                    let error = try await self.error(.lockTimeout) { try await runner.apply([set], to: self.target) }
                    #expect(error.sessions.map(\.pid) == [holder.backendPID])
                    #expect(error.sessions.map(\.applicationName) == ["the holder"])
                    #expect(error.sessions.first?.state == "idle in transaction")
                    #expect(error.line == 3)
                }
                #expect(waits.withLock { $0 } == [.milliseconds(100), .milliseconds(200)])
                #expect(try await self.relations(connection) == ["busy", "idle"])
                await holder.close()
                #expect(try await runner.apply([set], to: self.target).applied.map(\.attempts) == [1])
            }
        }

        @Test func succeedsOnceTheTableIsFree() async throws {
            try await self.withSchema { connection in
                try await connection.query(self.sql("CREATE TABLE \(self.quoted).busy (id int)"))
                let holder = try await self.connect()
                try await holder.script("BEGIN; LOCK TABLE \(self.quoted).busy")
                var configuration = MigrationRunner.Configuration()
                configuration.lockTimeout = .milliseconds(20)
                let runner = MigrationRunner(
                    connection: connection, configuration: configuration,
                    pace: MigrationPace(sleep: { _ in try await holder.script("ROLLBACK") }))
                let report = try await runner.apply(
                    [self.set("-- migrate:up\nALTER TABLE busy ADD x int")], to: self.target)
                #expect(report.applied.map(\.attempts) == [2])
                await holder.close()
            }
        }

        @Test(arguments: [true, false]) func anotherMigrationKeepsUsOut(holdsTheSchema: Bool) async throws {
            try await self.withSchema { connection in
                let holder = try await self.connect(named: "other deployment")
                let lease = holdsTheSchema ? Lease.target(self.target) : .control
                let keeper = LeaseKeeper(connection: holder, schema: "cloacina")
                try await keeper.makeTable()
                _ = try #require(try await keeper.attempt(lease).held)
                var configuration = MigrationRunner.Configuration()
                configuration.lockWait = .zero
                let runner = MigrationRunner(connection: connection, configuration: configuration)
                let set = try self.set("-- migrate:up\nCREATE TABLE a ()")
                let error = try await self.error(.lockBusy) { try await runner.apply([set], to: self.target) }
                #expect(error.sessions.map(\.applicationName) == ["other deployment"])
                #expect(error.sessions.map(\.pid) == [holder.backendPID])
                #expect(try await runner.status(of: [set], in: self.target)[0].pending.count == 1)
                try await self.expectUntouched(connection)

                await holder.close()
                // The lease ends with its session, which is a moment after we closed it.
                configuration.lockWait = .seconds(30)
                let patient = MigrationRunner(connection: connection, configuration: configuration)
                try await patient.apply([set], to: self.target)
                // Nothing pending: no lock is needed, so that newer pods start while an older one migrates.
                let again = try await self.connect()
                let other = LeaseKeeper(connection: again, schema: "cloacina")
                _ = try #require(try await other.attempt(lease).held)
                #expect(try await runner.apply([set], to: self.target).applied.isEmpty)
                await again.close()
            }
        }

        @Test func sixteenAtOnceApplyEachMigrationOnce() async throws {
            try await self.withSchema { connection in
                let set = try self.set(
                    "-- migrate:up\nCREATE TABLE a (id int)", "-- migrate:up\nINSERT INTO a VALUES (1)",
                    "-- migrate:no-transaction\nCREATE INDEX CONCURRENTLY by_id ON a (id)",
                    "-- migrate:up\nINSERT INTO a VALUES (2)")
                // All suites run side by side, and the index waits for every older snapshot.
                var patient = MigrationRunner.Configuration()
                patient.lockWait = .seconds(600)
                let applied = try await withThrowingTaskGroup(of: Int.self) { group in
                    for _ in 0..<16 {
                        group.addTask { [patient] in
                            let connection = try await self.connect()
                            let runner = MigrationRunner(connection: connection, configuration: patient)
                            let report = try await runner.apply([set], to: self.target)
                            await connection.close()
                            return report.applied.count
                        }
                    }
                    return try await group.reduce(0, +)
                }
                #expect(applied == 4)
                let rows = try await connection.query(self.sql("SELECT id FROM \(self.quoted).a ORDER BY 1"))
                #expect(try rows.column("id", as: Int32.self) == [1, 2])
            }
        }

        @Test func cancellationGivesTheLocksBack() async throws {
            try await self.withSchema { connection in
                try await connection.query(self.sql("CREATE TABLE \(self.quoted).busy (id int)"))
                let holder = try await self.connect()
                try await holder.script("BEGIN; LOCK TABLE \(self.quoted).busy")
                var configuration = MigrationRunner.Configuration()
                configuration.lockTimeout = .milliseconds(20)
                let (waiting, announce) = AsyncStream.makeStream(of: Void.self)
                let runner = MigrationRunner(
                    connection: connection, configuration: configuration,
                    pace: MigrationPace(sleep: {
                        announce.yield()
                        try await Task.sleep(for: $0)
                    }))
                let set = try self.set("-- migrate:up\nALTER TABLE busy ADD x int")
                let target = self.target
                let task = Task { try await runner.apply([set], to: target) }
                for await _ in waiting { break }
                task.cancel()
                _ = try await self.error(.cancelled) { try await task.value }
                await holder.close()
            }
        }

        // MARK: Without a transaction

        @Test func anIndexIsBuiltConcurrently() async throws {
            try await self.withSchema { connection in
                let runner = MigrationRunner(connection: connection)
                let set = try self.set(
                    "-- migrate:up\nCREATE TABLE a (id int)",
                    "-- migrate:no-transaction\nCREATE INDEX CONCURRENTLY by_id ON a (id);\n"
                        + "-- migrate:verify\nSELECT to_regclass('by_id') IS NOT NULL",
                    "-- migrate:no-transaction\nDROP INDEX CONCURRENTLY by_id")
                try await runner.apply([set], to: self.target, through: 2)
                #expect(try await self.relations(connection) == ["a", "by_id"])
                try await runner.apply([set], to: self.target)
                #expect(try await self.relations(connection) == ["a"])
                #expect(try await self.states(connection) == ["applied", "applied", "applied"])
            }
        }

        @Test func aFailedBuildLeavesNoInvalidIndex() async throws {
            try await self.withSchema { connection in
                let runner = MigrationRunner(connection: connection)
                let set = try self.set(
                    "-- migrate:up\nCREATE TABLE a (id int); INSERT INTO a VALUES (1), (1)",
                    "-- migrate:no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS by_id ON a (id)")
                let error = try await self.error(.failedClean) { try await runner.apply([set], to: self.target) }
                #expect(error.sqlState == "23505")
                #expect(try await self.relations(connection) == ["a"])
                #expect(try await self.states(connection) == ["applied", "failed_clean"])
                try await connection.query(self.sql("DELETE FROM \(self.quoted).a"))
                try await runner.apply([set], to: self.target)
                #expect(try await self.relations(connection) == ["a", "by_id"])
            }
        }

        @Test(arguments: ["valid", "invalid", "missing"])
        func aBrokenOffBuildIsLookedAt(leftover: String) async throws {
            try await self.withSchema { connection in
                let runner = MigrationRunner(connection: connection)
                let set = try self.set(
                    "-- migrate:up\nCREATE TABLE a (id int)",
                    "-- migrate:no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS by_id ON a (id)")
                try await runner.apply([set], to: self.target)
                let index = "\(self.quoted).by_id"
                switch leftover {
                case "invalid":
                    try await connection.query(self.sql("DROP INDEX \(index)"))
                    try await connection.query(self.sql("INSERT INTO \(self.quoted).a VALUES (1), (1)"))
                    await #expect(throws: PostgresError.self) {
                        try await connection.query(
                            self.sql("CREATE UNIQUE INDEX CONCURRENTLY by_id ON \(self.quoted).a (id)"))
                    }
                    try await connection.query(self.sql("DELETE FROM \(self.quoted).a"))
                case "missing": try await connection.query(self.sql("DROP INDEX \(index)"))
                default: break
                }
                try await connection.query(
                    self.sql("UPDATE \(self.quoted).cloacina_migrations SET state = 'running' WHERE version = 2"))
                try await runner.apply([set], to: self.target)
                #expect(try await self.states(connection) == ["applied", "applied"])
                let isValid = try await connection.query(
                    "SELECT indisvalid FROM pg_index WHERE indexrelid = \(index)::text::regclass")
                #expect(try isValid.single() == true)
            }
        }

        @Test func whatNobodyCanTellWaitsForTheOperator() async throws {
            try await self.withSchema { connection in
                let runner = MigrationRunner(connection: connection)
                let set = try self.set("-- migrate:up\nCREATE TABLE a (id int)", "-- migrate:no-transaction\nVACUUM a")
                try await runner.apply([set], to: self.target)
                let breakOff = self.sql(
                    "UPDATE \(self.quoted).cloacina_migrations SET state = 'failed_unknown' WHERE version = 2")
                try await connection.query(breakOff)
                _ = try await self.error(.needsResolution) { try await runner.apply([set], to: self.target) }
                try await runner.resolve(2, of: "app", in: self.target, as: .applied)
                #expect(try await runner.status(of: [set], in: self.target)[0].isCurrent)
                try await connection.query(breakOff)
                try await runner.resolve(2, of: "app", in: self.target, as: .pending)
                #expect(try await runner.apply([set], to: self.target).applied.map(\.version) == [2])
                _ = try await self.error(.unknownTarget) {
                    try await runner.resolve(2, of: "app", in: self.target, as: .applied)
                }
            }
        }

        @Test func aKilledBackendLeavesARunningRow() async throws {
            try await self.withSchema { connection in
                let victim = try await self.connect()
                let set = try self.set(
                    "-- migrate:up\nCREATE TABLE a (id int)",
                    "-- migrate:no-transaction\nCREATE INDEX CONCURRENTLY by_id ON a (id)")
                try await MigrationRunner(connection: connection).apply([set], to: self.target, through: 1)
                // The build waits for this older transaction, and is killed meanwhile.
                let holder = try await self.connect()
                try await holder.script("BEGIN; INSERT INTO \(self.quoted).a VALUES (1)")
                let target = self.target
                let task = Task { try await MigrationRunner(connection: victim).apply([set], to: target) }
                var isWaiting = false
                while !isWaiting {
                    isWaiting = try await connection.query(
                        """
                        SELECT count(*) = 1 FROM pg_stat_activity
                        WHERE pid = \(victim.backendPID) AND wait_event_type = 'Lock' AND query LIKE 'CREATE INDEX%'
                        """
                    ).single()
                }
                try await connection.query("SELECT pg_terminate_backend(\(victim.backendPID), 10000)")
                _ = try await self.error(.failedUnknown) { try await task.value }
                await holder.close()
                #expect(try await self.states(connection) == ["applied", "running"])
                try await MigrationRunner(connection: connection).apply([set], to: self.target)
                #expect(try await self.states(connection) == ["applied", "applied"])
                await victim.close()
            }
        }

        // MARK: A new schema in the caller's transaction

        @Test func aFreshSchemaIsFilledInOnePipeline() async throws {
            let connection = try await self.connect()
            let set = try self.set(
                "-- migrate:up\nCREATE TABLE a (id int);\n-- migrate:verify\nSELECT to_regclass('a') IS NOT NULL",
                "-- migrate:up\nCREATE TABLE b (id int)",
                "-- migrate:no-transaction\nCREATE INDEX CONCURRENTLY i ON a (id)")
            let fresh = FreshSchema([set], target: self.target, serverVersion: connection.serverVersion)
            #expect(fresh.remaining.map(\.version) == [3])
            #expect(fresh.versions == ["app": 2])
            try await connection.withTransaction { transaction in
                let results = try await transaction.pipeline(
                    [self.sql("CREATE SCHEMA \(self.quoted)")] + fresh.statements)
                try fresh.check(results.dropFirst())
            }
            try await self.expectUntouched(connection)
            #expect(try await self.relations(connection) == ["a", "b"])
            let runner = MigrationRunner(connection: connection)
            #expect(try await runner.status(of: [set], in: self.target)[0].version == 2)
            #expect(try await runner.apply([set], to: self.target).applied.map(\.version) == [3])
            await connection.close()
        }

        @Test func aFreshSchemasFailureNamesTheFilesLine() async throws {
            let connection = try await self.connect()
            let set = try self.set("-- migrate:up\nCREATE TABLE a (id int);\nCREATE TABLE a (id int)")
            let fresh = FreshSchema([set], target: self.target, serverVersion: connection.serverVersion)
            let error = await #expect(throws: PostgresError.self) {
                try await connection.pipeline([self.sql("CREATE SCHEMA \(self.quoted)")] + fresh.statements)
            }
            let failure = try #require(error)
            #expect(fresh.error(failure, at: failure.statementIndex.map { $0 - 1 }).line == 3)
            // Without its schema, nothing may end up in temporary tables.
            await #expect(throws: PostgresError.self) { try await connection.pipeline(fresh.statements) }
            await connection.close()
        }

        @Test func theEmbeddedMigrationsApply() async throws {
            try await self.withSchema { connection in
                let runner = MigrationRunner(connection: connection)
                for lane in [MigrationLane.control, .tenant] {
                    let schema = "lane_\(lane.rawValue)"
                    try await connection.query(self.sql("CREATE SCHEMA \(schema)"))
                    let set = try MigrationSet.embedded(lane)
                    let report = try await runner.apply([set], to: MigrationTarget(schema: schema))
                    #expect(report.applied.count == set.migrations.count)
                }
            }
        }
    }
}
