import CloacinaSchema
import EngineTestSupport
import FoundationEssentials
import GRDB
import TestSupport
import Testing

@testable import Cloacina

/// Files that hold pipelines and an application's own tables, brought up to date by a later version of this library.
@Suite(.timeLimit(.minutes(5))) struct SQLiteUpgradeTests {
    /// What a later version may do to the tables.
    struct Change: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let sql: String
    }

    private static let addsAColumn = Change(
        testDescription: "adds a column and an index",
        sql: """
            ALTER TABLE cloacina_pipelines ADD COLUMN note TEXT NOT NULL DEFAULT 'none';
            CREATE INDEX cloacina_pipelines_note ON cloacina_pipelines (note);
            UPDATE cloacina_pipelines SET note = 'old';
            """)

    /// SQLite can't change a column otherwise.
    private static let rebuildsTheHistory = Change(
        testDescription: "makes a table anew",
        sql: """
            CREATE TABLE cloacina_events_new (
                pipeline_id BLOB NOT NULL, revision INTEGER NOT NULL, position INTEGER NOT NULL, kind TEXT NOT NULL,
                task TEXT, attempt INTEGER NOT NULL DEFAULT 0, worker BLOB, started_at INTEGER, at INTEGER NOT NULL,
                due_at INTEGER, reason TEXT, detail TEXT, delta TEXT, note TEXT NOT NULL DEFAULT 'old',
                PRIMARY KEY (pipeline_id, revision, position)
            ) STRICT, WITHOUT ROWID;
            INSERT INTO cloacina_events_new (pipeline_id, revision, position, kind, task, attempt, worker, started_at, at,
                due_at, detail, delta)
            SELECT pipeline_id, revision, position, kind, task, attempt, worker, started_at, at, due_at, detail, delta
            FROM cloacina_events;
            DROP TABLE cloacina_events;
            ALTER TABLE cloacina_events_new RENAME TO cloacina_events;
            """)

    @Test(arguments: [addsAColumn, rebuildsTheHistory])
    func rowsAndForeignKeysOutliveAnUpgrade(change: Change) async throws {
        try await withTemporaryDirectory { directory in
            let url = directory.appending(path: "p.db")
            let before = try await Self.fill(url)
            let queue = try Self.open(url)
            let set = try Self.set(change.sql)
            try await queue.writeWithoutTransaction { try SQLiteMigrations.migrate($0, to: set) }
            // Once more changes nothing.
            try await queue.writeWithoutTransaction { try SQLiteMigrations.migrate($0, to: set) }
            try await queue.read { database in
                #expect(try Row.fetchAll(database, sql: "PRAGMA foreign_key_check").isEmpty)
                #expect(try String.fetchOne(database, sql: "PRAGMA integrity_check") == "ok")
                #expect(try Int.fetchOne(database, sql: "SELECT count(*) FROM app_invoices") == 3)
                #expect(
                    try Int.fetchAll(database, sql: "SELECT version FROM cloacina_migrations ORDER BY version")
                        == [1, 2])
                for new in before {
                    var pipeline = try #require(try database.pipeline(new.id))
                    pipeline.events = try database.history(of: new.id)
                    #expect(pipeline.workflow == new.workflow && pipeline.events == new.events)
                    #expect(pipeline.input == new.input && pipeline.status == new.status)
                }
            }
            let orphan = await #expect(throws: DatabaseError.self) {
                try await queue.write { try $0.execute(sql: "INSERT INTO app_invoices VALUES (9, x'00')") }
            }
            #expect(orphan?.resultCode == .SQLITE_CONSTRAINT)
            // The key still leads to the table, whatever its name was meanwhile.
            let taken = await #expect(throws: DatabaseError.self) {
                try await queue.write { try $0.execute(sql: "DELETE FROM cloacina_pipelines") }
            }
            #expect(taken?.resultCode == .SQLITE_CONSTRAINT)
            try queue.close()
        }
    }

    /// A column's rule can't be changed otherwise, as for a state that only the later version knows.
    @Test(arguments: ["", "ON DELETE CASCADE", "ON DELETE SET NULL", "DEFERRABLE INITIALLY DEFERRED"])
    func aTableThatAnApplicationPointsToCanBeMadeAnew(clause: String) async throws {
        try await withTemporaryDirectory { directory in
            let url = directory.appending(path: "p.db")
            let before = try await Self.fill(url, clause: clause)
            let queue = try Self.open(url)
            let columns = """
                id, workflow, version, state, revision, epoch, recoveries, priority, owner, due_at, created_at, started_at,
                ended_at, timeout_ms, request, idempotency_key, input, format, depth
                """
            let table = try await queue.read { database in
                try String.fetchOne(database, sql: "SELECT sql FROM sqlite_schema WHERE name = 'cloacina_pipelines'")
            }
            let made = try #require(table).replacing("cloacina_pipelines", with: "cloacina_pipelines_new")
                .replacing("'queued',", with: "'queued', 'archived',")
            let set = try Self.set(
                """
                \(made);
                INSERT INTO cloacina_pipelines_new (\(columns)) SELECT \(columns) FROM cloacina_pipelines;
                DROP TABLE cloacina_pipelines;
                ALTER TABLE cloacina_pipelines_new RENAME TO cloacina_pipelines;
                CREATE INDEX cloacina_pipelines_due ON cloacina_pipelines (
                    format, (CASE WHEN started_at IS NULL THEN '' ELSE version END || ' ' || workflow), priority, due_at, id
                ) WHERE due_at IS NOT NULL;
                CREATE UNIQUE INDEX cloacina_pipelines_key ON cloacina_pipelines (idempotency_key)
                WHERE idempotency_key IS NOT NULL;
                """)
            try await queue.writeWithoutTransaction { try SQLiteMigrations.migrate($0, to: set) }
            try await queue.read { database in
                #expect(try Row.fetchAll(database, sql: "PRAGMA foreign_key_check").isEmpty)
                #expect(try Int.fetchOne(database, sql: "PRAGMA foreign_keys") == 1)
                let invoiced = try Optional<UUID>.fetchAll(
                    database, sql: "SELECT pipeline FROM app_invoices ORDER BY number")
                #expect(invoiced == before.map(\.id))
                for new in before { #expect(try database.pipeline(new.id)?.input == new.input) }
            }
            try queue.close()
        }
    }

    @Test(arguments: [
        "INSERT INTO app_invoices VALUES (10, x'00');", "DELETE FROM cloacina_pipelines;", "SELECT * FROM nowhere;",
    ])
    func anUpgradeThatFailsChangesNothing(sql: String) async throws {
        try await withTemporaryDirectory { directory in
            let url = directory.appending(path: "p.db")
            let before = try await Self.fill(url)
            let set = try Self.set(Self.addsAColumn.sql + "\n" + sql)
            let queue = try Self.open(url)
            let error = await #expect(throws: MigrationError.self) {
                try await queue.writeWithoutTransaction { try SQLiteMigrations.migrate($0, to: set) }
            }
            #expect(error?.source == MigrationSet.embeddedSource)
            try queue.close()
            // This version still opens it, as it was.
            let store = try await SQLiteWorkflowStore(opening: url)
            for new in before {
                let pipeline = try #require(try await store.load(new.id))
                #expect(pipeline.events == new.events && pipeline.input == new.input)
            }
            #expect(try await store.database.texts("SELECT count(*) FROM app_invoices") == ["3"])
        }
    }

    /// Three pipelines, and an invoice of the application's for each.
    private static func fill(_ url: URL, clause: String = "") async throws -> [StoredPipeline] {
        let store = try await SQLiteWorkflowStore(opening: url)
        let input = try Context(["ü": "\u{0}", "n": 1])
        let news = (1...3).map {
            StoreConformance.new($0, owner: $0 == 1 ? nil : StoreConformance.runner, input: input)
        }
        _ = try await store.create(news)
        let event = PipelineEvent(
            .taskCompleted, task: "t", attempt: 1, at: StoreConformance.at(1), delta: ContextDelta(["a": .set(1)]))
        _ = try await store.apply([StoreConformance.change(3, status: .completed, events: [event])])
        try await store.database.execute(
            """
            CREATE TABLE app_invoices (
                number INTEGER PRIMARY KEY, pipeline BLOB REFERENCES cloacina_pipelines (id) \(clause));
            INSERT INTO app_invoices SELECT row_number() OVER (), id FROM cloacina_pipelines;
            """)
        var stored: [StoredPipeline] = []
        for new in news { stored.append(try #require(try await store.load(new.id))) }
        return stored
    }

    /// Opens a file with the settings that it always has.
    private static func open(_ url: URL) throws -> DatabaseQueue {
        var settings = Configuration()
        settings.prepareDatabase { try $0.execute(sql: SQLiteQueries.settings(SQLiteConfiguration())) }
        let queue = try DatabaseQueue(path: url.path(percentEncoded: false), configuration: settings)
        #expect(try queue.read { try Int.fetchOne($0, sql: "PRAGMA foreign_keys") } == 1)
        return queue
    }

    /// This library's steps, and one more.
    private static func set(_ sql: String) throws -> MigrationSet {
        let text = "-- Later.\n-- migrate:up\n\(sql)\n"
        let later = try Migration(fileName: "0002_later.sqlite.sql", contents: Array(text.utf8))
        return try MigrationSet(
            source: MigrationSet.embeddedSource, lane: .sqlite,
            migrations: MigrationSet.embedded(.sqlite).migrations + [later])
    }
}
