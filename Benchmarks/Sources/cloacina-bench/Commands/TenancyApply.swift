import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import Foundation

/// The first apply of an application's files to tenants that exist, against one psql that runs the same statements on tenants
/// of another database.
struct TenancyApply {
    let target: Target
    let count: Int
    let files: Int
    let rounds: Int

    func run() async throws {
        let samples = try await TenancyDatabase.with(on: self.target) { ours in
            try await ours.createTenants(self.count)
            return try await TenancyDatabase.with(on: self.target) { theirs in
                try await theirs.createTenants(self.count)
                return try await self.measure(ours, theirs)
            }
        }
        try samples.figure(
            "tenancy.apply", ours: "migrate", baseline: "psql", unit: "ms",
            notes: """
                target ≤ 1.6; \(self.count) tenants that get \(self.files) files of one statement each, other files in each \
                round; ours: survey, leases, registry, audit and rights included; psql: one script, for each tenant and file \
                BEGIN, owner's role, path, the file, its history row, COMMIT
                """
        ).print()
    }

    private func measure(_ ours: TenancyDatabase, _ theirs: TenancyDatabase) async throws -> Samples {
        let psql = try PsqlSession(target: theirs.target, database: theirs.name)
        defer { psql.end() }
        try psql.run("SET client_min_messages TO error;\n")
        var samples = Samples(rounds: self.rounds)
        var sets: [MigrationSet] = []
        for round in 0..<self.rounds {
            let migrations = try BenchMigrations(self.files, source: "round\(round)")
            sets.append(migrations.set)
            let script = FileManager.default.temporaryDirectory.appending(path: "cloacina-bench-\(UUID()).sql")
            defer { try? FileManager.default.removeItem(at: script) }
            try Data(self.script(migrations, theirs).utf8).write(to: script)
            for isOurs in round.isMultiple(of: 2) ? [true, false] : [false, true] {
                progress("round \(round + 1) of \(self.rounds): \(isOurs ? "migrate" : "psql")")
                if isOurs {
                    samples.add(try await self.migrate(ours, sets), "migrate")
                } else {
                    samples.add(try await milliseconds { try psql.run("\\i '\(script.path)'\n") }, "psql")
                }
            }
        }
        return samples
    }

    /// Brings all tenants up, over a connection that is open already.
    private func migrate(_ database: TenancyDatabase, _ sets: [MigrationSet]) async throws -> Double {
        try await database.withAdmin { admin in
            _ = try await admin.endpoint()
            return try await milliseconds {
                let report = try await admin.migrate(sets: sets)
                guard report.results.count == self.count, report.results.allSatisfy({ $0.outcome == .migrated }) else {
                    throw WrongAnswer()
                }
            }
        }
    }

    private func script(_ migrations: BenchMigrations, _ database: TenancyDatabase) -> String {
        (0..<self.count).map { number in
            let tenant = database.tenant(number)
            return migrations.transactions(schema: tenant, owner: "\(tenant)_owner").joined()
                .map { $0 + ";\n" }.joined()
        }.joined()
    }
}
