import CloacinaPostgres

/// Schemas for pretended tenants, each with a table of a hundred rows, made and removed with plain SQL.
struct BenchSchemas: Sendable {
    static let prefix = "cloacina_bench_"
    static let rows = 100
    /// How many schemas a transaction makes or drops; each object takes a lock that the server must have room for.
    private static let chunk = 100

    let target: Target
    let count: Int

    /// The name of the tenant with a number, from 0.
    static func name(_ number: Int) -> String { "\(self.prefix)\(number)" }

    /// The labels that stand for the tenants.
    var labels: [PostgresLabel] { (0..<self.count).map { PostgresLabel(schema: Self.name($0)) } }

    /// Makes the schemas, lends them, and drops them again.
    static func with<R>(_ count: Int, on target: Target, _ body: (BenchSchemas) async throws -> R) async throws -> R {
        let schemas = BenchSchemas(target: target, count: count)
        progress("making \(count) schemas")
        try await schemas.drop()
        do {
            try await schemas.make()
            let result = try await body(schemas)
            try await schemas.drop()
            return result
        } catch {
            try? await schemas.drop()
            throw error
        }
    }

    private func make() async throws {
        try await PostgresConnection.withConnection(self.target.configuration) { connection in
            for first in stride(from: 0, to: self.count, by: Self.chunk) {
                let statements = (first..<min(first + Self.chunk, self.count)).map { number in
                    let schema = PostgresIdentifier.quote(Self.name(number))
                    return """
                        CREATE SCHEMA \(schema);
                        CREATE TABLE \(schema).item (id int8 PRIMARY KEY, total int8 NOT NULL);
                        INSERT INTO \(schema).item SELECT id, \(number) FROM generate_series(1, \(Self.rows)) AS id;
                        """
                }
                try await connection.script(statements.joined(separator: "\n"))
            }
            // The plans should not depend on when autovacuum comes by.
            try await connection.script("VACUUM ANALYZE")
        }
    }

    private func drop() async throws {
        try await PostgresConnection.withConnection(self.target.configuration) { connection in
            let found = try await connection.query(
                "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, \(Self.prefix)) ORDER BY oid")
            let names = try found.column("nspname", as: String.self)
            for first in stride(from: 0, to: names.count, by: Self.chunk) {
                let chunk = names[first..<min(first + Self.chunk, names.count)]
                let statements = chunk.map { "DROP SCHEMA \(PostgresIdentifier.quote($0)) CASCADE;" }
                try await connection.script(statements.joined(separator: "\n"))
            }
        }
    }
}

/// The statement that every comparison of tenants runs: one row by its key, under the label's path.
enum PointSelect {
    static func statement(id: Int64) -> PostgresStatement { "SELECT total FROM item WHERE id = \(id)" }

    /// The same for pgbench, with the path set in the same pipeline.
    static func pgbenchPair(schema: String, id: String) -> String {
        """
        \\startpipeline
        SELECT set_config('search_path', \(schema), false);
        SELECT total FROM item WHERE id = \(id);
        \\endpipeline
        """
    }
}
