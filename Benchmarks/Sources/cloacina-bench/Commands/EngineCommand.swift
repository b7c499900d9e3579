import ArgumentParser
import Cloacina
import CloacinaPostgres
import Foundation
import Glibc
import Synchronization

/// Pipelines on PostgreSQL, against pgbench's prepared single-row UPDATE on the same server.
struct EngineCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "engine", abstract: "Pipelines: latency, throughput and tenants, against pgbench.")

    @OptionGroup var options: BenchOptions

    @Option(help: "How many connections the pool may have.")
    var connections = 4

    @Option(help: "How many pipelines run at a time where that is measured.")
    var inFlight = 256

    @Option(help: "How many tenants take turns.")
    var tenants = 1000

    @Option(help: "How many connections the pool has where many tenants take turns.")
    var tenantConnections = 8

    @Option(help: "How many pipelines the backlog has in each round.")
    var backlog = 20_000

    @Option(help: "How many pipelines the large backlog has.")
    var largeBacklog = 1_000_000

    @Option(
        name: .customLong("only"), help: "Only these: chain, drain, flight, backlog, shapes, sqlite, tenants, idle.")
    var only: [String] = []

    func run() async throws {
        let target = try self.options.target()
        func wants(_ part: String) -> Bool { self.only.isEmpty || self.only.contains(part) }
        try await BenchTenants.with(1, on: target) { tenants in
            var configuration = PostgresPoolConfiguration(tenants.target.configuration)
            configuration.maximumConnections = self.connections
            try await PostgresPool.withPool(configuration) { pool in
                if wants("chain") { try await self.measureChain(tenants, pool) }
                if wants("drain") { try await self.measureDrain(tenants, pool) }
                if wants("flight") { try await self.measureInFlight(tenants, pool) }
                if wants("backlog") { try await self.measureBacklog(tenants, pool) }
                if wants("shapes") { try await self.measureShapes(tenants, pool) }
            }
        }
        if wants("sqlite") { try await self.measureSQLite() }
        if wants("tenants") { try await self.measureTenants(target) }
        if wants("idle") {
            try await IdleTenants(target: target, count: self.options.quick ? 50 : self.tenants).run(
                for: self.options.quick ? .seconds(3) : .seconds(20))
        }
    }

    private func runner(
        _ pool: PostgresPool, _ label: PostgresLabel, _ workflows: Workflow...
    ) throws -> DefaultRunner {
        var configuration = RunnerConfiguration()
        configuration.maximumConcurrentTasks = self.inFlight
        configuration.maximumQueuedPipelines = 2 * self.inFlight
        return try DefaultRunner(pool: pool, label: label, workflows: workflows, configuration: configuration)
    }

    // MARK: Latency

    /// Three tasks in a row, one pipeline at a time, from submission to the observed end.
    private func measureChain(_ tenants: BenchTenants, _ pool: PostgresPool) async throws {
        let runner = try self.runner(pool, tenants.labels[0], .chain())
        let update = tenants.update(clients: 1)
        let samples = try await self.options.contest.run(
            "chain of three when idle",
            [
                .init("p50 of a chain") { try await Self.latencies(runner, "chain", for: $0).percentile(0.5) },
                .init("p99 of a chain") { try await Self.latencies(runner, "chain", for: $0).percentile(0.99) },
                .init("UPDATE") { 1_000 / (try await update.transactionsPerSecond(for: $0)) },
            ])
        try samples.figure(
            "engine.chain.idle", ours: "p50 of a chain", baseline: "UPDATE", unit: "ms",
            notes: "target ≤ 12; three no-op tasks, four commits; p99 \(samples.spread("p99 of a chain")) ms"
        ).print()
    }

    private static func latencies(
        _ runner: DefaultRunner, _ workflow: String, for slice: Duration
    ) async throws -> [Double] {
        let start = ContinuousClock.now
        var latencies: [Double] = []
        repeat {
            let begin = ContinuousClock.now
            guard try await runner.execute(workflow).status == .completed else { throw WrongAnswer() }
            latencies.append(begin.duration(to: .now).microseconds / 1_000)
        } while start.duration(to: .now) < slice
        return latencies
    }

    // MARK: Throughput

    /// A backlog of pipelines of one no-op task, drained by one runner.
    private func measureDrain(_ tenants: BenchTenants, _ pool: PostgresPool) async throws {
        let count = self.options.quick ? self.backlog / 10 : self.backlog
        let update = tenants.update(clients: 16)
        var facts: [String] = []
        let samples = try await self.options.contest.run(
            "drain of \(count)",
            [
                .init("tasks/s") { slice in
                    let runner = try self.runner(pool, tenants.labels[0], .single())
                    try await Self.fill(runner, slice < self.options.contest.slice ? count / 10 : count)
                    let wal = try await tenants.walPosition()
                    let cpu = Self.cpuSeconds
                    let commits = runner.writeStatistics.commits
                    let (rate, tasks) = try await self.drain(
                        runner, slice < self.options.contest.slice ? count / 10 : count)
                    let perTask = Double(try await tenants.walPosition() - wal) / Double(tasks)
                    facts.append(
                        String(
                            format: "%.3f commits beside the claims, %.0f B of WAL, %.0f µs of our CPU per task",
                            Double(runner.writeStatistics.commits - commits) / Double(tasks), perTask,
                            (Self.cpuSeconds - cpu) / Double(tasks) * 1e6))
                    return rate
                },
                .init("UPDATE") { try await update.transactionsPerSecond(for: $0) },
            ])
        try samples.figure(
            "engine.drain", ours: "tasks/s", baseline: "UPDATE", unit: "tasks/s",
            notes: "target ≥ 1.0; pgbench with 16 clients; last round: \(facts.last ?? "")"
        ).print()
    }

    private static func fill(_ runner: DefaultRunner, _ count: Int) async throws {
        let next = Counter()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<512 {
                group.addTask { while next.next() < count { try await runner.enqueue("single") } }
            }
            try await group.waitForAll()
        }
    }

    /// Serves the queue until it is empty.
    private func drain(_ runner: DefaultRunner, _ count: Int) async throws -> (Double, Int) {
        Workflow.done.set(count)
        let begin = ContinuousClock.now
        let serving = Task { try await RunnerGroup([runner], drain: .zero).run() }
        await Workflow.done.wait()
        let seconds = begin.duration(to: .now).seconds
        serving.cancel()
        _ = await serving.result
        return (Double(count) / seconds, count)
    }

    /// A large backlog, tenth by tenth; once alone, and once while another session holds an old snapshot.
    private func measureBacklog(_ tenants: BenchTenants, _ pool: PostgresPool) async throws {
        let count = self.options.quick ? 20_000 : self.largeBacklog
        for isHeld in [false, true] {
            let runner = try self.runner(pool, tenants.labels[0], .single())
            try await PostgresConnection.withConnection(tenants.target.configuration) { other in
                if isHeld {
                    _ = try await other.query(
                        PostgresStatement("BEGIN ISOLATION LEVEL REPEATABLE READ", prepared: false))
                    _ = try await other.query("SELECT count(*) FROM pg_class")
                }
                progress("filling a backlog of \(count)\(isHeld ? ", with an old snapshot held" : "")")
                try await Self.fill(runner, count)
                progress("draining it")
                let tenths = try await self.tenths(runner, count)
                try Figure(
                    name: isHeld ? "engine.backlog.snapshot" : "engine.backlog", ours: tenths[9], baseline: tenths[0],
                    unit: "tasks/s",
                    notes:
                        "target ≥ 0.8; \(count) pipelines of one task, ours: the last tenth, baseline: the first; all: "
                        + tenths.map { String(format: "%.0f", $0) }.joined(separator: ", ")
                ).print()
                if isHeld { _ = try await other.query(PostgresStatement("COMMIT", prepared: false)) }
            }
        }
    }

    /// The rate of each tenth of a backlog.
    private func tenths(_ runner: DefaultRunner, _ count: Int) async throws -> [Double] {
        Workflow.done.set(count)
        var last = ContinuousClock.now
        let serving = Task { try await RunnerGroup([runner], drain: .zero).run() }
        var rates: [Double] = []
        for tenth in 1...10 {
            await Workflow.done.wait(for: count - count / 10 * tenth)
            let now = ContinuousClock.now
            rates.append(Double(count / 10) / last.duration(to: now).seconds)
            last = now
        }
        serving.cancel()
        _ = await serving.result
        return rates
    }

    /// Chains of three with many in flight.
    private func measureInFlight(_ tenants: BenchTenants, _ pool: PostgresPool) async throws {
        let runner = try self.runner(pool, tenants.labels[0], .chain())
        let update = tenants.update(clients: 16)
        let samples = try await self.options.contest.run(
            "chains of three, \(self.inFlight) in flight",
            [
                .init("tasks/s") { try await Self.rate(runner, "chain", self.inFlight, for: $0) * 3 },
                .init("UPDATE") { try await update.transactionsPerSecond(for: $0) },
            ])
        let statistics = runner.writeStatistics
        try samples.figure(
            "engine.chains", ours: "tasks/s", baseline: "UPDATE", unit: "tasks/s",
            notes: "target ≥ 0.5; pgbench with 16 clients; "
                + String(
                    format: "%.3f commits per task", Double(statistics.commits) / Double(statistics.writes) * 4 / 3)
        ).print()
    }

    /// Pipelines ended in a second.
    private static func rate(
        _ runner: DefaultRunner, _ workflow: String, _ inFlight: Int, for slice: Duration,
        noting latencies: Latencies? = nil
    ) async throws -> Double {
        let start = ContinuousClock.now
        let ended = Counter()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<inFlight {
                group.addTask {
                    while start.duration(to: .now) < slice {
                        let begin = ContinuousClock.now
                        guard try await runner.execute(workflow).status == .completed else { throw WrongAnswer() }
                        latencies?.note(begin.duration(to: .now))
                        _ = ended.next()
                    }
                }
            }
            try await group.waitForAll()
        }
        return Double(ended.count) / start.duration(to: .now).seconds
    }

    // MARK: SQLite

    /// The same backlog in an SQLite file, against a plain loop with GRDB that claims and completes in batches of 100.
    private func measureSQLite() async throws {
        let count = self.options.quick ? self.backlog / 10 : self.backlog
        let place = FileManager.default.temporaryDirectory.appending(path: "cloacina-bench-\(UUID())")
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: place) }
        var configuration = RunnerConfiguration()
        configuration.maximumConcurrentTasks = self.inFlight
        configuration.maximumQueuedPipelines = 2 * self.inFlight
        let settings = configuration
        var commits = 0.0
        let samples = try await self.options.contest.run(
            "drain of \(count) in SQLite",
            [
                .init("tasks/s") { slice in
                    let count = slice < self.options.contest.slice ? count / 10 : count
                    let runner = try await DefaultRunner(
                        sqliteAt: place.appending(path: "\(UUID()).sqlite"), workflows: [.single()],
                        configuration: settings)
                    try await Self.fill(runner, count)
                    let before = runner.writeStatistics.commits
                    let rate = try await self.drain(runner, count).0
                    commits = Double(runner.writeStatistics.commits - before) / Double(count)
                    return rate
                },
                .init("GRDB") { slice in
                    let count = slice < self.options.contest.slice ? count / 10 : count
                    let path = place.appending(path: "\(UUID()).sqlite").path
                    return try await onThread { try PlainSQLite(path: path).tasksPerSecond(count) }
                },
            ])
        try samples.figure(
            "engine.sqlite.drain", ours: "tasks/s", baseline: "GRDB", unit: "tasks/s",
            notes: "target ≥ 0.25; WAL, synchronous FULL; GRDB: two transactions for each hundred rows of one table; "
                + String(format: "%.3f commits per task beside the claims", commits)
        ).print()
    }

    // MARK: Shapes

    /// The original's three shapes, on both databases, with how long each workflow took.
    private func measureShapes(_ tenants: BenchTenants, _ pool: PostgresPool) async throws {
        let place = FileManager.default.temporaryDirectory.appending(path: "cloacina-bench-\(UUID())")
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: place) }
        let workflows = try [Workflow.single(), .chain(), .diamond()]
        var configuration = RunnerConfiguration()
        configuration.maximumConcurrentTasks = self.inFlight
        let runners = [
            "postgres": try DefaultRunner(
                pool: pool, label: tenants.labels[0], workflows: workflows, configuration: configuration),
            "sqlite": try await DefaultRunner(
                sqliteAt: place.appending(path: "shapes.sqlite"), workflows: workflows, configuration: configuration),
        ]
        let update = tenants.update(clients: 16)
        for (shape, tasks) in [("single", 1), ("chain", 3), ("diamond", 5)] {
            for concurrency in [1, 8, 32, 256] {
                let latencies = Dictionary(uniqueKeysWithValues: runners.keys.map { ($0, Latencies()) })
                let sides = runners.sorted { $0.key < $1.key }.map { database, runner in
                    Contest.Side(database) { slice in
                        try await Self.rate(runner, shape, concurrency, for: slice, noting: latencies[database])
                    }
                }
                let samples = try await self.options.contest.run(
                    "\(shape), \(concurrency) at a time",
                    sides + [.init("UPDATE") { try await update.transactionsPerSecond(for: $0) }])
                for database in runners.keys.sorted() {
                    let times = latencies[database]?.all ?? []
                    try samples.figure(
                        "engine.shape.\(database).\(shape).\(concurrency)", ours: database, baseline: "UPDATE",
                        unit: "workflows/s",
                        notes: "\(tasks) no-op tasks each; p50 \(String(format: "%.2f", times.percentile(0.5))) ms, "
                            + "p99 \(String(format: "%.2f", times.percentile(0.99))) ms; pgbench with 16 clients"
                    ).print()
                }
            }
        }
    }

    // MARK: Tenants

    /// Many tenants in turn, against one.
    private func measureTenants(_ target: Target) async throws {
        let count = self.options.quick ? min(20, self.tenants) : self.tenants
        try await BenchTenants.with(count, on: target) { tenants in
            var configuration = PostgresPoolConfiguration(tenants.target.configuration)
            configuration.maximumConnections = self.tenantConnections
            try await PostgresPool.withPool(configuration) { pool in
                let runners = try tenants.labels.map { try self.runner(pool, $0, .chain()) }
                let samples = try await self.options.contest.run(
                    "\(count) tenants in turn",
                    [
                        .init("bursts") { try await self.turns(runners, burst: 64, for: $0) * 3 },
                        .init("single") { try await self.turns(runners, burst: 1, for: $0) * 3 },
                        .init("one") { try await Self.rate(runners[0], "chain", self.inFlight, for: $0) * 3 },
                    ])
                for (name, side, turn) in [
                    ("engine.tenants", "bursts", "each turn 64 chains of one tenant"),
                    ("engine.tenants.single", "single", "each turn one chain"),
                ] {
                    try samples.figure(
                        name, ours: side, baseline: "one", unit: "tasks/s",
                        notes: "target ≥ 0.5; chains of three, \(self.inFlight) in flight, \(turn); "
                            + "\(self.tenantConnections) connections"
                    ).print()
                }
            }
        }
    }

    /// Pipelines ended in a second when the tenants take turns of so many pipelines each.
    private func turns(_ runners: [DefaultRunner], burst: Int, for slice: Duration) async throws -> Double {
        let start = ContinuousClock.now
        let next = Counter()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<(self.inFlight / burst) {
                group.addTask {
                    while start.duration(to: .now) < slice {
                        let runner = runners[next.next() % runners.count]
                        try await withThrowingTaskGroup(of: Void.self) { turn in
                            for _ in 0..<burst { turn.addTask { try await runner.execute("chain").completed() } }
                            try await turn.waitForAll()
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        return Double(next.count * burst) / start.duration(to: .now).seconds
    }

    /// The processor time this process has used.
    static var cpuSeconds: Double {
        var usage = rusage()
        unsafe getrusage(RUSAGE_SELF.rawValue, &usage)
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }
}

extension Workflow {
    /// Counts the single tasks that have run.
    static let done = Countdown()

    static func single() throws -> Workflow {
        try Workflow("single") { WorkflowTask("a") { _ in Self.done.count() } }
    }

    static func chain() throws -> Workflow {
        try Workflow("chain") {
            WorkflowTask("a") { _ in }
            WorkflowTask("b", after: "a") { _ in }
            WorkflowTask("c", after: "b") { _ in }
        }
    }

    /// One, three side by side, and one that merges.
    static func diamond() throws -> Workflow {
        try Workflow("diamond") {
            WorkflowTask("a") { _ in }
            WorkflowTask("b1", after: "a") { _ in }
            WorkflowTask("b2", after: "a") { _ in }
            WorkflowTask("b3", after: "a") { _ in }
            WorkflowTask("c", after: "b1", "b2", "b3") { _ in }
        }
    }
}

/// Wakes one waiter when as much has been counted as it waits for.
final class Countdown: Sendable {
    private struct State {
        var left = 0
        var limit = 0
        var waiter: CheckedContinuation<Void, Never>?
    }
    private let state = Mutex(State())

    func set(_ count: Int) { self.state.withLock { $0.left = count } }

    func count() {
        let waiter = self.state.withLock { state -> CheckedContinuation<Void, Never>? in
            state.left -= 1
            return state.left <= state.limit ? state.waiter.take() : nil
        }
        waiter?.resume()
    }

    /// Waits until no more than so much is left.
    func wait(for limit: Int = 0) async {
        await withCheckedContinuation { continuation in
            let isOver = self.state.withLock { state in
                state.limit = limit
                if state.left > limit { state.waiter = continuation }
                return state.left <= limit
            }
            if isOver { continuation.resume() }
        }
    }
}

/// How long single things took, noted by many at the same time.
final class Latencies: Sendable {
    private let milliseconds = Mutex<[Double]>([])

    func note(_ duration: Duration) { self.milliseconds.withLock { $0.append(duration.microseconds / 1_000) } }

    var all: [Double] { self.milliseconds.withLock { $0 } }
}

extension [Double] {
    func percentile(_ share: Double) -> Double {
        guard !self.isEmpty else { return 0 }
        let sorted = self.sorted()
        return sorted[Swift.min(sorted.count - 1, Int(Double(sorted.count) * share))]
    }
}
