import Cloacina
import CloacinaPostgres
import CloacinaTenancy
import Foundation

/// Real tenants in a database of their own, and a table for pgbench beside them; all of it is removed at the end.
struct BenchTenants: Sendable {
    static let rows = 10_000

    let target: Target
    let labels: [PostgresLabel]

    static func with<R>(_ count: Int, on target: Target, _ body: (BenchTenants) async throws -> R) async throws -> R {
        progress("making a database with \(count) tenants")
        return try await BenchDatabase.with(on: target) { database in
            try await body(try await self.make(count, target.inDatabase(database), database))
        }
    }

    private static func make(_ count: Int, _ target: Target, _ database: String) async throws -> BenchTenants {
        let admin = DatabaseAdmin(target.configuration)
        do {
            var options = BootstrapOptions()
            options.serviceRole = "\(database)_service"
            options.tenantsRole = "\(database)_tenants"
            _ = try await admin.bootstrap(options)
            var labels: [PostgresLabel] = []
            for number in 0..<count {
                let name = "\(database)_\(number)"
                _ = try await admin.createTenant(TenantConfig(name: name))
                labels.append(try await admin.tenant(named: name).label(.role))
            }
            try await PostgresConnection.withConnection(target.configuration) { connection in
                try await connection.script(
                    """
                    CREATE SCHEMA bench_baseline;
                    CREATE TABLE bench_baseline.item (id int8 PRIMARY KEY, n int8 NOT NULL) WITH (fillfactor = 70);
                    INSERT INTO bench_baseline.item SELECT id, 0 FROM generate_series(1, \(self.rows)) AS id;
                    """)
                try await connection.script("VACUUM ANALYZE bench_baseline.item")
            }
            await admin.close()
            return BenchTenants(target: target, labels: labels)
        } catch {
            await admin.close()
            throw error
        }
    }

    /// pgbench's prepared single-row UPDATE.
    func update(clients: Int) -> Pgbench {
        Pgbench(
            target: self.target,
            script: """
                \\set id random(1, \(Self.rows))
                UPDATE bench_baseline.item SET n = n + 1 WHERE id = :id;
                """,
            clients: clients, threads: min(2, clients))
    }

    /// How far the server has written its log, in bytes.
    func walPosition() async throws -> Int64 {
        try await PostgresConnection.withConnection(self.target.configuration) { connection in
            try await connection.query("SELECT (pg_current_wal_insert_lsn() - '0/0')::int8").single()
        }
    }
}
