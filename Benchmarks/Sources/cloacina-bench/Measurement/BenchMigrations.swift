import CloacinaPostgres
import CloacinaSchema
import Foundation

/// Small migrations as an application has them, and the same statements for somebody who applies them by hand: in turn a table,
/// an index, a column and some rows, one statement to a file.
struct BenchMigrations: Sendable {
    let set: MigrationSet
    private let statements: [String]

    /// Makes files.
    ///
    /// - Parameters:
    ///   - count: How many.
    ///   - source: The name that their history goes by; their tables' names begin with it.
    init(_ count: Int, source: String) throws {
        self.statements = (0..<count).map { Self.statement($0, of: source) }
        let migrations = try self.statements.enumerated().map { index, statement in
            try Migration(
                fileName: String(format: "%04d_step.tenant.sql", index + 1),
                contents: Array(Self.text(statement).utf8))
        }
        self.set = try MigrationSet(source: source, lane: .tenant, migrations: migrations)
    }

    private static func statement(_ index: Int, of source: String) -> String {
        let table = "\(source)_\(index / 4)"
        return switch index % 4 {
        case 0:
            "CREATE TABLE \(table) (id bigint PRIMARY KEY, name text NOT NULL, at timestamptz NOT NULL DEFAULT now())"
        case 1: "CREATE INDEX \(table)_name ON \(table) (name)"
        case 2: "ALTER TABLE \(table) ADD COLUMN total bigint NOT NULL DEFAULT 0"
        default: "INSERT INTO \(table) (id, name) SELECT n, 'name ' || n FROM generate_series(1, 10) AS n"
        }
    }

    private static func text(_ statement: String) -> String {
        "-- A step of the benchmark's.\n-- migrate:up\n\(statement);\n"
    }

    /// The transactions that apply all files to a schema by hand, each with a row of the history that is there.
    func transactions(schema: String, owner: String) -> [[String]] {
        zip(self.set.migrations, self.statements).map { migration, statement in
            let row = [
                "'\(self.set.source)'", "\(migration.version)", "'\(migration.title)'",
                "'\(migration.canonicalChecksum)'", "'\(migration.rawChecksum)'", "0", "session_user",
                "clock_timestamp()", "'applied'",
            ]
            return [
                "BEGIN", "SET LOCAL ROLE \(PostgresIdentifier.quote(owner))",
                "SET LOCAL search_path TO \(PostgresIdentifier.quote(schema)), pg_temp", statement,
                """
                INSERT INTO cloacina_migrations
                    (source, version, title, canonical_checksum, raw_checksum, duration_ms, applied_by, applied_at, state)
                VALUES (\(row.joined(separator: ", ")))
                """,
                "COMMIT",
            ]
        }
    }

    /// Lends a directory that holds the files.
    func withDirectory<R>(_ body: (URL) async throws -> R) async throws -> R {
        let place = FileManager.default.temporaryDirectory.appending(path: "cloacina-bench-\(UUID())")
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: place) }
        for (migration, statement) in zip(self.set.migrations, self.statements) {
            try Data(Self.text(statement).utf8).write(to: place.appending(path: migration.fileName))
        }
        return try await body(place)
    }
}
