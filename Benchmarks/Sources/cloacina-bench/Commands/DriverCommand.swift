import ArgumentParser
import CloacinaPostgres
import Foundation

/// One connection against libpq's own calls.
struct DriverCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "driver", abstract: "One connection: round trips and pipelines against plain libpq.")

    @OptionGroup var options: BenchOptions

    func run() async throws {
        let target = try self.options.target()
        for route in try await Route.all(to: target) {
            try await self.measureRoundTrips(route)
            try await self.measurePipelines(route)
        }
    }

    /// A prepared `SELECT 1`, one after the other.
    private func measureRoundTrips(_ route: Route) async throws {
        let target = route.target
        try await PostgresConnection.withConnection(target.configuration) { connection in
            let pgbench = Pgbench(target: target, script: "SELECT 1;")
            let samples = try await self.options.contest.run(
                "prepared SELECT 1, \(route.name)",
                [
                    .init("async") { slice in
                        try await microsecondsEach(for: slice) { try await Self.selectOne(on: connection) }
                    },
                    .init("on the connection's executor") { slice in
                        try await Self.microsecondsEachIsolated(for: slice, connection)
                    },
                    .init("libpq") { slice in try await Self.libpqSelectOne(target, for: slice) },
                    .init("pgbench") { slice in 1_000_000 / (try await pgbench.transactionsPerSecond(for: slice)) },
                ])
            let pgbenchNote = "pgbench -M prepared, 1 client: \(samples.spread("pgbench"))"
            try samples.figure(
                "driver.select1.\(route.name)", ours: "async", baseline: "libpq", unit: "µs",
                notes: "target ≤ 1.5; \(pgbenchNote)"
            ).print()
            try samples.figure(
                "driver.select1.isolated.\(route.name)", ours: "on the connection's executor", baseline: "libpq",
                unit: "µs", notes: "no hop between threads; \(pgbenchNote)"
            ).print()
        }
    }

    private static func selectOne(on connection: PostgresConnection) async throws {
        let one = try await connection.query("SELECT 1").single(as: Int32.self)
        guard one == 1 else { throw WrongAnswer() }
    }

    /// The same loop, but on the connection's thread.
    private static func microsecondsEachIsolated(
        for slice: Duration, _ connection: isolated PostgresConnection
    ) async throws -> Double {
        let start = ContinuousClock.now
        var count = 0
        var elapsed = Duration.zero
        repeat {
            try await self.selectOne(on: connection)
            count += 1
            elapsed = start.duration(to: .now)
        } while elapsed < slice
        return elapsed.microseconds / Double(count)
    }

    private static func libpqSelectOne(_ target: Target, for slice: Duration) async throws -> Double {
        try await onThread {
            let connection = try BlockingConnection(target)
            try connection.prepare("one", "SELECT 1")
            for _ in 0..<200 { _ = try connection.number(prepared: "one") }
            return try blockingMicrosecondsEach(for: slice) {
                guard try connection.number(prepared: "one") == 1 else { throw WrongAnswer() }
            }
        }
    }

    /// A hundred statements with one sync.
    private func measurePipelines(_ route: Route) async throws {
        let target = route.target
        let numbers = Array(Int64(1)...100)
        try await PostgresConnection.withConnection(target.configuration) { connection in
            let samples = try await self.options.contest.run(
                "100 pipelined statements, \(route.name)",
                [
                    .init("async") { slice in
                        try await microsecondsEach(for: slice) {
                            try Self.check(try await connection.pipeline(numbers.map { "SELECT \($0)" }))
                        }
                    },
                    .init("statements at hand") { slice in
                        let statements = numbers.map { PostgresStatement("SELECT $1", [.int64($0)]) }
                        return try await microsecondsEach(for: slice) {
                            try Self.check(try await connection.pipeline(statements))
                        }
                    },
                    .init("libpq") { slice in
                        try await onThread {
                            let connection = try BlockingConnection(target)
                            try connection.prepare("number", "SELECT $1", types: [20])
                            try connection.enterPipelineMode()
                            for _ in 0..<20 { _ = try connection.sumPipelined(prepared: "number", numbers) }
                            return try blockingMicrosecondsEach(for: slice) {
                                guard try connection.sumPipelined(prepared: "number", numbers) == 5050 else {
                                    throw WrongAnswer()
                                }
                            }
                        }
                    },
                ])
            try samples.figure(
                "driver.pipeline100.\(route.name)", ours: "async", baseline: "libpq", unit: "µs",
                notes:
                    "target ≤ 1.3; one prepared SELECT $1 (int8), binary both ways, one sync; "
                    + "our statements are built anew each time, the same ones again take \(samples.spread("statements at hand"))"
            ).print()
        }
    }

    private static func check(_ answers: [PostgresRows]) throws {
        var sum: Int64 = 0
        for rows in answers { sum += try rows.single(as: Int64.self) }
        guard sum == 5050 else { throw WrongAnswer() }
    }
}

/// The server answered something else than what was asked.
struct WrongAnswer: Error, CustomStringConvertible {
    var description: String { "the server gave a wrong answer" }
}
