import CloacinaPostgres
import CloacinaTenancy
import Foundation

/// Removing a tenant with very many large objects, against a libpq connection that only unlinks as many of another role's.
struct TenancyRemoval {
    let target: Target
    let count: Int
    let rounds: Int

    /// The number of large objects that a transaction makes or unlinks; each takes a lock that the server must have room for.
    private static let batch = 1_000
    /// The bytes of each; one page of a large object takes up to 2 KB.
    private static let bytes = 1_000

    func run() async throws {
        let samples = try await TenancyDatabase.with(on: self.target) { database in
            var samples = Samples(rounds: self.rounds)
            for round in 0..<self.rounds {
                for isOurs in round.isMultiple(of: 2) ? [true, false] : [false, true] {
                    progress("round \(round + 1) of \(self.rounds): \(isOurs ? "removeTenant" : "libpq")")
                    samples.add(
                        try await isOurs ? self.removeTenant(database) : self.unlink(database),
                        isOurs ? "removeTenant" : "libpq")
                }
            }
            return samples
        }
        try samples.figure(
            "tenancy.removal", ours: "removeTenant", baseline: "libpq", unit: "ms",
            notes: """
                target ≤ 10 s for 60,000; a tenant whose login owns \(self.count) large objects of \(Self.bytes) bytes; baseline: \
                lo_unlink alone, \(Self.batch) to a transaction
                """
        ).print()
    }

    private func removeTenant(_ database: TenancyDatabase) async throws -> Double {
        try await database.withAdmin { admin in
            let name = database.tenant(0)
            let credentials = try await admin.createTenant(TenantConfig(name: name))
            _ = try await self.makeLargeObjects(ofRole: credentials.username, database)
            return try await milliseconds {
                let report = try await admin.removeTenant(named: name, patience: .seconds(600))
                guard report.unlinkedLargeObjects == self.count else { throw WrongAnswer() }
            }
        }
    }

    private func unlink(_ database: TenancyDatabase) async throws -> Double {
        let role = "\(database.name)_plain"
        try await PostgresConnection.withConnection(database.superuser.configuration) { connection in
            try await connection.script("CREATE ROLE \(role)")
        }
        let objects = try await self.makeLargeObjects(ofRole: role, database)
        let libpq = try BlockingConnection(database.superuser)
        let elapsed = try await milliseconds {
            for first in stride(from: 0, to: objects.count, by: Self.batch) {
                let list = objects[first..<min(first + Self.batch, objects.count)].map(String.init)
                try libpq.execute(
                    "SELECT count(lo_unlink(o)) FROM unnest('{\(list.joined(separator: ","))}'::oid[]) AS o")
            }
        }
        try libpq.execute("DROP ROLE \(role)")
        return elapsed
    }

    /// Has a role make large objects, and leaves them as they are after a checkpoint.
    ///
    /// - Returns: Their OIDs.
    private func makeLargeObjects(ofRole role: String, _ database: TenancyDatabase) async throws -> [Int64] {
        try await PostgresConnection.withConnection(database.superuser.configuration) { connection in
            for first in stride(from: 0, to: self.count, by: Self.batch) {
                let part = min(Self.batch, self.count - first)
                try await connection.script(
                    """
                    BEGIN;
                    SET LOCAL ROLE \(PostgresIdentifier.quote(role));
                    SELECT count(lo_from_bytea(0, convert_to(repeat('x', \(Self.bytes)), 'UTF8')))
                    FROM generate_series(1, \(part));
                    COMMIT;
                    """)
            }
            try await connection.script("VACUUM ANALYZE")
            try await connection.script("CHECKPOINT")
            let objects: [Int64] = try await connection.query(
                "SELECT oid::int8 AS o FROM pg_largeobject_metadata WHERE lomowner = to_regrole(\(role)) ORDER BY oid"
            ).column("o")
            guard objects.count == self.count else { throw WrongAnswer() }
            return objects
        }
    }
}
