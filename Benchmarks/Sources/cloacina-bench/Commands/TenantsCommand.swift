import ArgumentParser
import CloacinaPostgres
import Foundation
import Synchronization

/// A thousand tenants on few connections.
struct TenantsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tenants", abstract: "Many tenants on few connections: throughput against pgbench, and memory.")

    @OptionGroup var options: BenchOptions

    @Option(help: "How many tenants.")
    var tenants = 1000

    @Option(help: "The pool's budget, and pgbench's clients.")
    var connections = 8

    func validate() throws {
        guard self.tenants > 0, self.connections > 0 else {
            throw ValidationError("Tenants and connections must be positive.")
        }
    }

    func run() async throws {
        let target = try self.options.target()
        try await BenchSchemas.with(self.options.quick ? min(self.tenants, 100) : self.tenants, on: target) { schemas in
            for route in try await Route.all(to: target) {
                try await self.measureThroughput(schemas, route)
            }
            try await self.measureMemory(schemas)
        }
    }

    // MARK: Throughput

    /// Point SELECTs of all tenants in turn, by as many tasks as connections.
    private func measureThroughput(_ schemas: BenchSchemas, _ route: Route) async throws {
        var recycling = PostgresPoolConfiguration(route.target.configuration)
        recycling.maximumConnections = self.connections
        var unlimited = recycling
        unlimited.maximumTenantsPerConnection = .max
        let pgbench = Pgbench(
            target: route.target,
            script: """
                \\set tenant random(0, \(schemas.count - 1))
                \\set id random(1, \(BenchSchemas.rows))
                \(PointSelect.pgbenchPair(schema: "'\(BenchSchemas.prefix)' || :tenant || ', pg_temp'", id: ":id"))
                """,
            clients: self.connections, threads: 2, searchPath: BenchSchemas.name(0))
        try await PostgresPool.withPool(recycling) { pool in
            try await PostgresPool.withPool(unlimited) { unlimitedPool in
                let samples = try await self.options.contest.run(
                    "\(schemas.count) tenants in turn, \(route.name)",
                    [
                        .init("pool") { try await self.leasesPerSecond(pool, schemas, for: $0) },
                        .init("pool without recycling") {
                            try await self.leasesPerSecond(unlimitedPool, schemas, for: $0)
                        },
                        .init("pgbench") { try await pgbench.transactionsPerSecond(for: $0) },
                    ])
                let settings = """
                    target ≥ 0.8; \(schemas.count) tenants in turn, \(self.connections) connections and tasks, every lease a \
                    relabel; pgbench: \(self.connections) clients, 2 threads, a random tenant each, path and SELECT in one \
                    pipeline, -M prepared
                    """
                try samples.figure(
                    "tenants.throughput.\(route.name)", ours: "pool", baseline: "pgbench", unit: "leases/s",
                    notes:
                        "\(settings); a connection is replaced after \(recycling.maximumTenantsPerConnection) tenants "
                        + "(\(pool.statistics.recycled) were)"
                ).print()
                try samples.figure(
                    "tenants.throughput.unlimited.\(route.name)", ours: "pool without recycling", baseline: "pgbench",
                    unit: "leases/s", notes: "\(settings); connections are never replaced"
                ).print()
            }
        }
    }

    @concurrent
    private func leasesPerSecond(
        _ pool: PostgresPool, _ schemas: BenchSchemas, for slice: Duration
    ) async throws -> Double {
        let labels = schemas.labels
        let next = Counter()
        let start = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<self.connections {
                group.addTask {
                    while start.duration(to: .now) < slice {
                        let number = next.next() % labels.count
                        let id = Int64.random(in: 1...Int64(BenchSchemas.rows))
                        let total = try await pool.withConnection(labels[number]) { lease in
                            try await lease.query(PointSelect.statement(id: id)).single(as: Int.self)
                        }
                        guard total == number else { throw WrongAnswer() }
                    }
                }
            }
            try await group.waitForAll()
        }
        return Double(next.count) / start.duration(to: .now).seconds
    }

    // MARK: Memory

    /// One connection serves tenant after tenant; its backend's memory after each quarter, with and without recycling.
    private func measureMemory(_ schemas: BenchSchemas) async throws {
        progress("memory of a backend that serves \(schemas.count) tenants")
        var recycling = PostgresPoolConfiguration(schemas.target.configuration)
        recycling.maximumConnections = 1
        var unlimited = recycling
        unlimited.maximumTenantsPerConnection = .max
        let points = Set((1...8).map { max(1, schemas.count * $0 / 8) })
        let bounded = try await self.memoryCurve(recycling, schemas, points)
        let unbounded = try await self.memoryCurve(unlimited, schemas, points)
        for (point, (ours, baseline)) in zip(points.sorted(), zip(bounded, unbounded)) {
            try Figure(
                name: "tenants.memory.\(point)", ours: ours, baseline: baseline, unit: "MB",
                notes: "the largest that a backend had got to once \(point) tenants were served on one connection, as "
                    + "pg_backend_memory_contexts counts; ours: replaced after \(recycling.maximumTenantsPerConnection) "
                    + "tenants; baseline: never replaced; one table per tenant, one statement"
            ).print()
        }
    }

    private func memoryCurve(
        _ configuration: PostgresPoolConfiguration, _ schemas: BenchSchemas, _ points: Set<Int>
    ) async throws -> [Double] {
        try await PostgresPool.withPool(configuration) { pool in
            var curve: [Double] = []
            var largest = 0.0
            for (number, label) in schemas.labels.enumerated() {
                // Asking costs a prepared statement per tenant, so ask now and then only.
                let asks = number % 10 == 9 || points.contains(number + 1)
                let bytes = try await pool.withConnection(label) { lease in
                    _ = try await lease.query(PointSelect.statement(id: 1))
                    guard asks else { return 0.0 }
                    let memory = PostgresStatement(
                        "SELECT sum(total_bytes)::float8 FROM pg_backend_memory_contexts", prepared: false)
                    return try await lease.query(memory).single(as: Double.self)
                }
                largest = max(largest, bytes / 1_000_000)
                if points.contains(number + 1) { curve.append(largest) }
            }
            return curve
        }
    }
}

/// Hands out numbers from 0.
final class Counter: Sendable {
    private let value = Atomic<Int>(0)

    var count: Int { self.value.load(ordering: .relaxed) }

    func next() -> Int { self.value.wrappingAdd(1, ordering: .relaxed).oldValue }
}
