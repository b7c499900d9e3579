import CloacinaPostgres

/// A database of its own, removed at the end with every role whose name begins with its own.
enum BenchDatabase {
    /// The number of roles that a statement drops; each takes a lock that the server must have room for.
    private static let chunk = 100

    /// Makes the database, lends its name, and removes it.
    static func with<R>(on target: Target, _ body: (String) async throws -> R) async throws -> R {
        let name = "cloacina_bench_\(UInt32.random(in: .min ... .max))"
        return try await PostgresConnection.withConnection(target.configuration) { server in
            try await server.query(PostgresStatement("CREATE DATABASE \(name)", prepared: false))
            let result: Result<R, any Error>
            do { result = .success(try await body(name)) } catch { result = .failure(error) }
            try await server.query(PostgresStatement("DROP DATABASE \(name) WITH (FORCE)", prepared: false))
            // The newest first: who made the others goes last.
            let roles: [String] = try await server.query(
                "SELECT rolname::text AS r FROM pg_roles WHERE starts_with(rolname, \(name)) ORDER BY oid DESC"
            ).column("r")
            for first in stride(from: 0, to: roles.count, by: Self.chunk) {
                let names = roles[first..<min(first + Self.chunk, roles.count)].map(PostgresIdentifier.quote)
                try await server.query(
                    PostgresStatement("DROP ROLE \(names.joined(separator: ", "))", prepared: false))
            }
            return try result.get()
        }
    }
}
