import CloacinaSchema
import FoundationEssentials
import GRDB

/// Brings a file's tables up to date, and refuses a file that another version of this library has changed.
///
/// All pending steps are one transaction that has the file to itself, together with their lines in the history, so there is
/// no state in between and whoever opens the file at the same time finds it before or after.
enum SQLiteMigrations {
    /// - Throws: `MigrationError` when the history isn't one of this program's, or a step fails; nothing has changed then.
    static func migrate(_ database: Database, to set: MigrationSet? = nil) throws {
        let set = try set ?? MigrationSet.embedded(.sqlite)
        guard try !self.pending(set, in: database).isEmpty else { return }
        // A step that makes a table anew drops the old one: rows of the application's that point to it must neither go with it
        // nor stand in the way. What they point to is checked in the end. Inside a transaction this setting has no effect.
        try database.execute(sql: "PRAGMA foreign_keys = OFF")
        defer { try? database.execute(sql: "PRAGMA foreign_keys = ON") }
        try database.inTransaction(.exclusive) {
            try database.execute(sql: self.createHistory)
            // Somebody else may have been faster.
            let pending = try self.pending(set, in: database)
            let orphans = try self.orphans(in: database)
            for migration in pending { try self.apply(migration, of: set, in: database) }
            guard try self.orphans(in: database).isSubset(of: orphans) else {
                throw MigrationError(
                    .failedClean, source: set.source, version: pending.last?.version ?? 0,
                    reason: "rows would be left that point to nothing")
            }
            return .commit
        }
    }

    /// The rows that point to nothing: which table, and which row.
    private static func orphans(in database: Database) throws -> Set<[DatabaseValue]> {
        let rows = try Row.fetchAll(database, sql: "SELECT \"table\", rowid, parent FROM pragma_foreign_key_check")
        return Set(rows.map { Array($0.databaseValues) })
    }

    private static func pending(_ set: MigrationSet, in database: Database) throws -> [Migration] {
        let history = try database.tableExists("cloacina_migrations") ? self.history(database) : []
        let plan = MigrationPlanner().plan(set, history: history)
        if let problem = plan.problems.first { throw problem.error(source: set.source, schema: nil) }
        return plan.steps.map(\.migration)
    }

    private static func apply(_ migration: Migration, of set: MigrationSet, in database: Database) throws {
        let begin = ContinuousClock.now
        for statement in migration.up {
            try self.blaming(migration, of: set, statement) { try database.execute(sql: statement.text) }
        }
        for query in migration.verify {
            let isTrue = try self.blaming(migration, of: set, query) {
                try Bool.fetchOne(database, sql: query.text) ?? false
            }
            guard isTrue else {
                throw MigrationError(
                    .verifyFailed, line: query.line, source: set.source, version: migration.version,
                    statement: query.text)
            }
        }
        try database.execute(
            sql: self.record,
            arguments: [
                set.source, migration.version, migration.title, migration.canonicalChecksum, migration.rawChecksum,
                (ContinuousClock.now - begin).wholeMilliseconds, Date().sqliteMicroseconds,
            ])
    }

    /// Says which step failed, unless it only has to wait.
    private static func blaming<Value>(
        _ migration: Migration, of set: MigrationSet, _ statement: SQLStatement, _ body: () throws -> Value
    ) throws -> Value {
        do {
            return try body()
        } catch {
            let error = SQLiteError(error)
            if error.isTransient { throw error }
            throw MigrationError(
                .failedClean, line: statement.line, source: set.source, version: migration.version,
                reason: "\(error)", statement: statement.text, underlying: error)
        }
    }

    private static func history(_ database: Database) throws -> [MigrationRecord] {
        try database.rows(self.read) { row in
            MigrationRecord(
                source: try row.value(), version: try row.value(), title: try row.value(),
                canonicalChecksum: try row.value(), rawChecksum: try row.value(),
                // can't trap: an integer
                duration: .milliseconds(try row.value(Int64.self)), appliedAt: try row.date())
        }
    }

    private static let createHistory = """
        CREATE TABLE IF NOT EXISTS cloacina_migrations (
            source TEXT NOT NULL,
            version INTEGER NOT NULL,
            title TEXT NOT NULL,
            canonical_checksum TEXT NOT NULL,
            raw_checksum TEXT NOT NULL,
            duration_ms INTEGER NOT NULL,
            applied_at INTEGER NOT NULL,
            PRIMARY KEY (source, version)
        ) STRICT, WITHOUT ROWID
        """

    private static let read = """
        SELECT source, version, title, canonical_checksum, raw_checksum, duration_ms, applied_at FROM cloacina_migrations
        """

    private static let record = """
        INSERT INTO cloacina_migrations
            (source, version, title, canonical_checksum, raw_checksum, duration_ms, applied_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        """
}
