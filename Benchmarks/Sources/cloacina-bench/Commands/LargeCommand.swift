import ArgumentParser
import Cloacina
import CloacinaPostgres
import Foundation

/// Workflows of thousands of tasks, and queues with much in them that nobody takes: what grows with the number must grow with it
/// and no faster.
struct LargeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "large", abstract: "Large workflows and long queues: seconds, milliseconds and bytes.")

    @OptionGroup var options: BenchOptions

    @Option(help: "How many tasks the large workflows have.")
    var tasks = 10_000

    @Option(help: "How many pipelines are stranded.")
    var stranded = 1_000_000

    @Option(name: .customLong("only"), help: "Only these: chain, layers, rules, commits, memory, stranded.")
    var only: [String] = []

    func run() async throws {
        let target = try self.options.target()
        try await BenchTenants.with(1, on: target) { tenants in
            var configuration = PostgresPoolConfiguration(tenants.target.configuration)
            configuration.maximumConnections = 4
            try await PostgresPool.withPool(configuration) { pool in
                let place = FileManager.default.temporaryDirectory.appending(path: "cloacina-bench-\(UUID())")
                try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
                defer { try? FileManager.default.removeItem(at: place) }
                try await self.measureShapes(tenants, pool, place)
                if self.wants("commits") { try await self.measureCommits(tenants, pool) }
                if self.wants("memory") { try await self.measureMemory(tenants, pool) }
                if self.wants("stranded") { try await self.measureStranded(tenants, pool) }
            }
        }
    }

    private func wants(_ part: String) -> Bool { self.only.isEmpty || self.only.contains(part) }

    private var count: Int { self.options.quick ? self.tasks / 10 : self.tasks }

    // MARK: Shapes

    private func measureShapes(_ tenants: BenchTenants, _ pool: PostgresPool, _ place: URL) async throws {
        let shapes: [(name: String, target: String, workflow: Workflow)] = [
            ("chain", "≤ 3.5 s for 10,000", try .longChain(self.count)),
            ("layers", "≤ 0.6 s for 10,000", try .layers(self.count)),
            ("rules", "≤ 0.6 s for 3,000", try .rules(self.count * 3 / 10)),
        ]
        let update = 1 / (try await tenants.update(clients: 1).transactionsPerSecond(for: .seconds(2)))
        for shape in shapes where self.wants(shape.name) {
            let onPostgres = try DefaultRunner(pool: pool, label: tenants.labels[0], workflows: [shape.workflow])
            let file = place.appending(path: "\(shape.name).sqlite")
            let onFile = try await DefaultRunner(sqliteAt: file, workflows: [shape.workflow])
            for (database, runner) in [("postgres", onPostgres), ("sqlite", onFile)] {
                let (seconds, id) = try await self.seconds(shape.workflow.name, runner)
                let count = shape.workflow.tasks.count
                try Figure(
                    name: "large.\(shape.name).\(database)", ours: seconds, baseline: update * Double(count), unit: "s",
                    notes: "target \(shape.target); \(count) no-op tasks; baseline: as many UPDATEs of one client"
                ).print()
                var reads: [Double] = []
                for _ in 0..<self.options.contest.rounds {
                    let begin = ContinuousClock.now
                    guard try await runner.result(of: id).tasks.count == count else { throw WrongAnswer() }
                    reads.append(begin.duration(to: .now).seconds * 1_000)
                }
                try Figure(
                    name: "large.\(shape.name).\(database).result", ours: reads.sorted()[reads.count / 2],
                    baseline: update * 1_000, unit: "ms",
                    notes: "target ≤ 50 ms; result(of:) of \(count) tasks; baseline: one UPDATE"
                ).print()
            }
        }
    }

    /// The median of how long some executions take, and one of the pipelines.
    private func seconds(_ workflow: String, _ runner: DefaultRunner) async throws -> (Double, UUID) {
        var samples: [(Double, UUID)] = []
        for _ in 0..<min(3, self.options.contest.rounds) {
            let begin = ContinuousClock.now
            let result = try await runner.execute(workflow)
            guard result.status == .completed else { throw WrongAnswer() }
            samples.append((begin.duration(to: .now).seconds, result.id))
        }
        samples.sort { $0.0 < $1.0 }
        return samples[samples.count / 2]
    }

    // MARK: Own commits

    /// The reading of a history with many completions that tasks committed with their own writes.
    private func measureCommits(_ tenants: BenchTenants, _ pool: PostgresPool) async throws {
        let count = self.count / 2
        let workflow = try Workflow("commits") {
            for number in 0..<count {
                WorkflowTask.transactional("t\(number)") { _, _, transaction in
                    _ = try await transaction.query("SELECT 1")
                }
            }
        }
        let runner = try DefaultRunner(pool: pool, label: tenants.labels[0], workflows: [workflow])
        let begin = ContinuousClock.now
        let result = try await runner.execute("commits")
        guard result.status == .completed else { throw WrongAnswer() }
        let whole = begin.duration(to: .now).seconds
        var reads: [Double] = []
        for _ in 0..<self.options.contest.rounds {
            let begin = ContinuousClock.now
            guard try await runner.history(of: result.id).count > count else { throw WrongAnswer() }
            reads.append(begin.duration(to: .now).seconds * 1_000)
        }
        try Figure(
            name: "large.commits", ours: reads.sorted()[reads.count / 2], baseline: whole * 1_000, unit: "ms",
            notes: "target ≤ 100 ms for 5,000; history(of:) of \(count) transactional tasks; baseline: running them"
        ).print()
    }

    // MARK: Memory

    /// How much memory a runner takes for a queue of large inputs.
    private func measureMemory(_ tenants: BenchTenants, _ pool: PostgresPool) async throws {
        let count = self.options.quick ? 64 : 512
        let name = "large"
        let workflow = try Workflow(name) { WorkflowTask("a") { _ in Workflow.done.count() } }
        let runner = try DefaultRunner(pool: pool, label: tenants.labels[0], workflows: [workflow])
        let input = try Context(["text": .string(String(repeating: "x", count: 1_000_000))])
        for _ in 0..<count { _ = try await runner.enqueue(name, context: input) }
        Workflow.done.set(count)
        try Data("5".utf8).write(to: URL(filePath: "/proc/self/clear_refs"))
        let before = try Self.peakBytes()
        let group = RunnerGroup([runner])
        let serving = Task { try await group.run() }
        await Workflow.done.wait()
        let after = try Self.peakBytes()
        serving.cancel()
        _ = await serving.result
        try Figure(
            name: "large.claim.memory", ours: Double(after - before) / 1_048_576, baseline: Double(count), unit: "MiB",
            notes:
                "target ≤ 64; the growth of the peak while \(count) pipelines of 1 MB leave the queue; baseline: all of them"
        ).print()
    }

    private static func peakBytes() throws -> Int {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        guard let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") }),
            let kilobytes = line.split(whereSeparator: { " \t".contains($0) }).dropFirst().first.flatMap({ Int($0) })
        else { throw WrongAnswer() }
        return kilobytes * 1_024
    }

    // MARK: Stranded

    /// How long a single enqueued pipeline takes to complete behind many that the runner can't take.
    private func measureStranded(_ tenants: BenchTenants, _ pool: PostgresPool) async throws {
        let count = self.options.quick ? self.stranded / 100 : self.stranded
        let label = tenants.labels[0]
        let workflow = try Workflow("short") { WorkflowTask("a") { _ in Workflow.done.count() } }
        let gone = try Workflow("gone") { WorkflowTask("a") { _ in } }
        let runner = try DefaultRunner(pool: pool, label: label, workflows: [workflow])
        let producer = try DefaultRunner(pool: pool, label: label, workflows: [workflow, gone])
        let group = RunnerGroup([runner])
        let serving = Task { try await group.run() }
        let alone = try await self.milliseconds(runner)
        for (kind, name, change) in [
            ("workflow", "gone", #""version": "0""#),
            ("version", "short", #""version": "0", "started_at": "2026-01-01""#),
        ] {
            // Not due, so that nobody takes it before it is copied.
            _ = try await producer.enqueue(name, options: ExecutionOptions(delay: .seconds(864_000)))
            let schema = label.schema
            try await PostgresConnection.withConnection(tenants.target.configuration) { connection in
                try await connection.script(
                    """
                    INSERT INTO "\(schema)".cloacina_pipelines
                    SELECT (jsonb_populate_record(p, '{\(change)}'::jsonb || jsonb_build_object('id', gen_random_uuid(),
                        'due_at', '2026-01-01'::timestamptz + n * interval '1 microsecond', 'revision', 2))).*
                    FROM "\(schema)".cloacina_pipelines AS p, generate_series(1, \(count)) AS n
                    WHERE p.workflow = '\(name)' AND p.due_at > now();
                    DELETE FROM "\(schema)".cloacina_pipelines WHERE due_at > now();
                    """)
                try await connection.script("VACUUM ANALYZE \"\(schema)\".cloacina_pipelines")
            }
            let behind = try await self.milliseconds(runner)
            try Figure(
                name: "large.stranded.\(kind)", ours: behind - alone, baseline: alone, unit: "ms",
                notes:
                    "target ≤ 5; what \(count) pipelines of an unknown \(kind) at the head of the queue cost a single enqueue; "
                    + "baseline: without them"
            ).print()
            try await PostgresConnection.withConnection(tenants.target.configuration) { connection in
                try await connection.script("TRUNCATE \"\(schema)\".cloacina_pipelines")
            }
        }
        serving.cancel()
        _ = await serving.result
    }

    /// The median time from an enqueue to the end, in milliseconds.
    private func milliseconds(_ runner: DefaultRunner) async throws -> Double {
        var samples: [Double] = []
        for _ in 0..<(self.options.quick ? 10 : 60) {
            Workflow.done.set(1)
            let begin = ContinuousClock.now
            _ = try await runner.enqueue("short")
            await Workflow.done.wait()
            samples.append(begin.duration(to: .now).seconds * 1_000)
        }
        return samples.sorted()[samples.count / 2]
    }
}

extension Workflow {
    static func longChain(_ count: Int) throws -> Workflow {
        try Workflow("long") {
            for number in 0..<count {
                if number == 0 {
                    WorkflowTask("t0") { _ in }
                } else {
                    WorkflowTask("t\(number)", after: "t\(number - 1)") { _ in }
                }
            }
        }
    }

    /// A hundred tasks in each layer, each after three of the layer before.
    static func layers(_ count: Int) throws -> Workflow {
        try Workflow("layers") {
            for number in 0..<count {
                let (layer, place) = (number / 100, number % 100)
                if layer == 0 {
                    WorkflowTask("t0-\(place)") { _ in }
                } else {
                    WorkflowTask(
                        "t\(layer)-\(place)", after: "t\(layer - 1)-\(place)", "t\(layer - 1)-\((place + 1) % 100)",
                        "t\(layer - 1)-\((place + 7) % 100)"
                    ) { _ in }
                }
            }
        }
    }

    static func rules(_ count: Int) throws -> Workflow {
        try Workflow("rules") {
            for number in 0..<count {
                if number == 0 {
                    WorkflowTask("t0") { _ in }
                } else {
                    WorkflowTask(
                        "t\(number)", after: "t\(number - 1)", triggerRule: .taskSucceeded("t\(number - 1)")
                    ) { _ in }
                }
            }
        }
    }
}
