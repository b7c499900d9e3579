import ArgumentParser
import CloacinaPostgres
import Foundation

/// The pool: lending without a query, and changing the label.
struct PoolCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pool", abstract: "The pool: check-out and check-in, and relabelling against pgbench.")

    @OptionGroup var options: BenchOptions

    func run() async throws {
        let target = try self.options.target()
        try await BenchSchemas.with(2, on: target) { schemas in
            try await self.measureLending(schemas)
            for route in try await Route.all(to: target) {
                try await self.measureRelabelling(schemas, route)
            }
        }
    }

    /// Check-out and check-in of a connection that already has the label.
    private func measureLending(_ schemas: BenchSchemas) async throws {
        var configuration = PostgresPoolConfiguration(schemas.target.configuration)
        configuration.maximumConnections = 2
        try await PostgresPool.withPool(configuration) { pool in
            let label = schemas.labels[0]
            try await pool.withConnection(label) { lease in
                _ = try await lease.query(PointSelect.statement(id: 1))
            }
            let samples = try await self.options.contest.run(
                "check-out and check-in",
                [
                    .init("lease") { slice in
                        try await microsecondsEach(for: slice) { try await pool.withConnection(label) { _ in } }
                    }
                ])
            try Figure(
                name: "pool.lease", ours: samples.median("lease"), baseline: 5, unit: "µs",
                notes: "\(samples.rounds) rounds of \(samples.slice): \(samples.spread("lease")); "
                    + "same label, warm, one task, no query; the baseline is the limit of 5 µs"
            ).print()
        }
    }

    /// A lease of another tenant each time, on one connection: the label travels with the statement.
    private func measureRelabelling(_ schemas: BenchSchemas, _ route: Route) async throws {
        var configuration = PostgresPoolConfiguration(route.target.configuration)
        configuration.maximumConnections = 1
        let script = (0..<2).map { PointSelect.pgbenchPair(schema: "'\(BenchSchemas.name($0)), pg_temp'", id: ":id") }
        let pgbench = Pgbench(
            target: route.target, script: "\\set id random(1, \(BenchSchemas.rows))\n" + script.joined(separator: "\n"),
            searchPath: BenchSchemas.name(0))
        try await PostgresPool.withPool(configuration) { pool in
            let labels = schemas.labels
            let samples = try await self.options.contest.run(
                "relabel and point SELECT, \(route.name)",
                [
                    .init("lease") { slice in
                        try await microsecondsEach(for: slice) {
                            for (number, label) in labels.enumerated() {
                                try await Self.selectPoint(pool, label, expecting: number)
                            }
                        } / 2
                    },
                    .init("same label") { slice in
                        try await microsecondsEach(for: slice) {
                            try await Self.selectPoint(pool, labels[0], expecting: 0)
                        }
                    },
                    .init("pgbench") { slice in 500_000 / (try await pgbench.transactionsPerSecond(for: slice)) },
                ])
            let relabels = pool.statistics.relabels
            try samples.figure(
                "pool.relabel.\(route.name)", ours: "lease", baseline: "pgbench", unit: "µs",
                notes:
                    "target ≤ 1.3; two labels in turn on one connection, a lease for each SELECT (\(relabels) relabels); "
                    + "pgbench: set_config and SELECT in one pipeline, -M prepared, 1 client; "
                    + "without a change of label ours takes \(samples.spread("same label"))"
            ).print()
        }
    }

    private static func selectPoint(_ pool: PostgresPool, _ label: PostgresLabel, expecting number: Int) async throws {
        let id = Int64.random(in: 1...Int64(BenchSchemas.rows))
        let total = try await pool.withConnection(label) { lease in
            try await lease.query(PointSelect.statement(id: id)).single(as: Int.self)
        }
        guard total == number else { throw WrongAnswer() }
    }
}
