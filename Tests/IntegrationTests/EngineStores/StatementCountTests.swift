import CloacinaPostgres
import EngineTestSupport
import Foundation
import Synchronization
import Testing

@testable import Cloacina

extension ServerTests {
    /// How many statements the server is sent, as its own log has them: none is sent for what is known already, and none for
    /// each of many where one does for all.
    @Suite(.timeLimit(.minutes(40))) struct StatementCountTests {
        private struct Broken: Error {}

        /// Each task looks at what the one before it has changed: in code, and in a rule.
        private static func chain(_ count: Int) throws -> Workflow {
            try Workflow(
                "chain",
                tasks: (0..<count).map { number in
                    let last = "t\(number - 1)"
                    return WorkflowTask(
                        "t\(number)", dependencies: number == 0 ? [] : [last],
                        triggerRule: number == 0 ? nil : .contextValue(ContextPath(key: last), .equals, true)
                    ) { context, _ in
                        #expect(number == 0 || context[last] == true)
                        try context.set("t\(number)", to: true)
                    }
                })
        }

        /// Each write ends a task and begins the next one, which needs nothing of the database.
        @Test(arguments: [1, 3, 40]) func aTaskIsOneStatementAndReadsNothing(count: Int) async throws {
            try await EngineFixture.with { fixture in
                let log = try await StatementLog.begin(fixture)
                let statements = try await log.during {
                    let runner = try fixture.runner(Self.chain(count), configuration: RunnerConfiguration())
                    #expect(try await runner.execute("chain").status == .completed)
                }
                #expect(statements.writes.count == 1 + count)
                #expect(statements.reads.first == nil)
            }
        }

        /// What depends on many is decided by what the runner knows of them.
        @Test(arguments: [2, 60]) func manyTasksSideBySideReadNothing(count: Int) async throws {
            try await EngineFixture.with { fixture in
                let names = (0..<count).map { "t\($0)" }
                let workflow = try Workflow("w") {
                    for name in names { WorkflowTask(name) { context in try context.set(name, to: true) } }
                    WorkflowTask("last", dependencies: names, triggerRule: .all(names.map { .taskSucceeded($0) })) {
                        context, _ in #expect(context.keys == names.sorted())
                    }
                }
                let log = try await StatementLog.begin(fixture)
                let statements = try await log.during {
                    let runner = try fixture.runner(workflow, configuration: RunnerConfiguration())
                    #expect(try await runner.execute("w").status == .completed)
                }
                #expect((3...count + 2).contains(statements.writes.count))
                #expect(statements.reads.first == nil)
            }
        }

        @Test(arguments: [2, 200]) func whatAFailureSkipsIsWrittenWithIt(count: Int) async throws {
            try await EngineFixture.with { fixture in
                let workflow = try Workflow("w") {
                    WorkflowTask("bad") { _ in throw Broken() }
                    for number in 0..<count { WorkflowTask("t\(number)", after: "bad") { _ in } }
                }
                let log = try await StatementLog.begin(fixture)
                let statements = try await log.during {
                    let runner = try fixture.runner(workflow, configuration: RunnerConfiguration())
                    #expect(try await runner.execute("w").tasks.count { $0.status == .skipped } == count)
                }
                #expect(statements.writes.count == 2)
                #expect(statements.reads.first == nil)
            }
        }

        /// With room for all of them the queue is looked at a few times, without it when one has ended; never for a task. No
        /// history is read of what begins.
        @Test(arguments: [(256, 0), (4, 1)])
        func aBacklogIsReadByThePipelineAndNotByTheTask(places: Int, looksForEach: Int) async throws {
            let (pipelines, tasks) = (40, 12)
            try await EngineFixture.with { fixture in
                let log = try await StatementLog.begin(fixture)
                let (ends, end) = AsyncStream.makeStream(of: Void.self)
                let workflow = try Workflow(
                    "w",
                    tasks: (0..<tasks).map { number in
                        let isLast = number == tasks - 1
                        return WorkflowTask(
                            "t\(number)", dependencies: number == 0 ? [] : ["t\(number - 1)"],
                            onSuccess: { _, _ in if isLast { end.yield() } }
                        ) { _, _ in }
                    })
                var configuration = RunnerConfiguration()
                configuration.maximumQueuedPipelines = places
                let runner = try fixture.runner(workflow, configuration: configuration)
                _ = try await fixture.enqueue(pipelines, "w", by: runner)
                let statements = try await log.during {
                    try await fixture.serving(runner) {
                        var missing = pipelines
                        for await _ in ends {
                            missing -= 1
                            if missing == 0 { break }
                        }
                    }
                }
                // The few are what begins, what finds nothing more, and what a sweep asks.
                let few = 10
                #expect((1...pipelines * looksForEach + few).contains(statements.claims.count))
                #expect((1...pipelines * tasks).contains(statements.writes.count))
                #expect(statements.reads.count <= few)
                #expect(!statements.reads.contains { $0.contains("cloacina_events") })
            }
        }

        @Test(arguments: [1, 250]) func aRunIsReadByThreeStatementsHoweverLongItWas(count: Int) async throws {
            try await EngineFixture.with { fixture in
                let log = try await StatementLog.begin(fixture)
                let runner = try fixture.runner(Self.chain(count), configuration: RunnerConfiguration())
                let id = try await runner.execute("chain").id
                let snapshot = try await log.during {
                    let result = try await runner.snapshot(of: id)
                    #expect(result.tasks.count == count)
                }
                // The own commits that stand apart, the pipeline, and its history.
                #expect(snapshot.reads.count == 3 && snapshot.writes.isEmpty)
                let list = try await log.during {
                    let page = try await runner.list()
                    #expect(page.map(\.id) == [id])
                }
                #expect(list.reads.count == 1)
            }
        }

        /// Whatever a store does to many pipelines at a time takes as many statements as for two.
        @Test(arguments: [2, 300]) func manyPipelinesAreOneStatement(count: Int) async throws {
            try await EngineFixture.with { fixture in
                let store = PostgresWorkflowStore(pool: fixture.pool, label: fixture.label, slowClaim: .seconds(3_600))
                let log = try await StatementLog.begin(fixture)
                func expect(
                    _ number: Int, _ what: String, sourceLocation: SourceLocation = #_sourceLocation,
                    _ body: () async throws -> Void
                ) async throws {
                    let all = try await log.during(body).all
                    #expect(all.count == number, "\(what): \(all)", sourceLocation: sourceLocation)
                }
                let numbers = Array(1...count)
                try await expect(1, "create") {
                    let created = try await store.create(numbers.map { StoreConformance.new($0) })
                    #expect(created.allSatisfy { $0 == .created })
                }
                try await expect(1, "status") {
                    let status = try await store.status(of: StoreConformance.id(1))
                    #expect(status == .running)
                }
                try await expect(1, "apply") {
                    let event = PipelineEvent(.taskCompleted, task: "t", attempt: 1, at: StoreConformance.at(1))
                    let changes = numbers.map { StoreConformance.change($0, events: [event]) }
                    let outcomes = try await store.apply(changes)
                    #expect(outcomes.allSatisfy { $0 == .applied(nil) })
                }
                try await expect(2, "beat") {
                    let ids = numbers.map(StoreConformance.id)
                    let answer = try await store.beat(
                        StoreConformance.runner, number: 1, pipelines: ids, at: StoreConformance.at(1))
                    #expect(answer.held.count == count)
                }
                // They are taken from their owner first, and then put back.
                try await expect(2, "recover") {
                    let recovered = try await store.recover(
                        StoreConformance.runner, beats: 1, by: StoreConformance.other, at: StoreConformance.at(2))
                    #expect(recovered == count)
                }
                try await expect(2, "survey") {
                    let survey = try await store.survey(everyOwner: true, at: StoreConformance.at(3))
                    #expect(survey.isDue)
                }
                // With the histories of all of them.
                try await expect(3, "claim") {
                    let claimed = try await store.claim(StoreConformance.claim(limit: count + 1))
                    #expect(claimed.count == count && claimed.allSatisfy { $0.events.count == 4 })
                }
                try await expect(1, "claims") {
                    let claims = try await store.claims(of: StoreConformance.other)
                    #expect(claims.count == count)
                }
                try await expect(1, "list") {
                    let page = try await store.list(PipelineQuery(limit: count))
                    #expect(page.count == count)
                }
                try await expect(1, "events") {
                    let page = try await store.events(EventQuery(limit: 4 * count))
                    #expect(page.count == 4 * count)
                }
                _ = try await store.apply(
                    numbers.map { StoreConformance.change($0, revision: 4, epoch: 3, status: .completed) })
                // Half of the keys are somebody's, and one pipeline is there itself.
                let keyed = { (first: Int, number: Int) in
                    StoreConformance.new(first + number, options: ExecutionOptions(idempotencyKey: "k\(number)"))
                }
                _ = try await store.create(numbers.prefix(count / 2).map { keyed(10_000, $0) })
                try await expect(2, "create again") {
                    let created = try await store.create(numbers.map { keyed(20_000, $0) } + [StoreConformance.new(1)])
                    let existing = numbers.prefix(count / 2).map { Creation.exists(StoreConformance.id(10_000 + $0)) }
                    let new = Array(repeating: Creation.created, count: count - count / 2)
                    #expect(created == existing + new + [.exists(StoreConformance.id(1))])
                }
                try await expect(1, "prune") {
                    let pruned = try await store.prune(
                        endedBefore: StoreConformance.at(9), below: StoreConformance.id(9_999), limit: count)
                    #expect(pruned == count)
                }
            }
        }
    }
}

/// What the server has logged of the sessions of a fixture's pool, which no other test has.
private struct StatementLog {
    struct Statements {
        /// Those that name one of the engine's tables.
        let all: [String]

        /// Without the signs of life, which time decides about.
        private var counted: [String] {
            self.all.filter {
                !$0.hasPrefix("INSERT INTO cloacina_runners") && !$0.hasPrefix("DELETE FROM cloacina_runners")
                    && !$0.hasPrefix("SELECT id, request FROM cloacina_pipelines WHERE id = ANY")
            }
        }
        var claims: [String] { self.counted.filter { $0.contains("claimed AS (") } }
        var writes: [String] {
            self.counted.filter { $0.contains("INSERT INTO cloacina_events") && !$0.contains("claimed AS (") }
        }
        var reads: [String] { self.counted.filter { !$0.contains("INSERT INTO cloacina_events") } }
    }

    private let fixture: EngineFixture
    private let file: String

    /// Has the server log whatever the fixture's pool sends; before that has connected.
    static func begin(_ fixture: EngineFixture) async throws -> StatementLog {
        let server = try #require(TestDatabase.current).server
        try #require(!server.directory.isEmpty, "needs the server's log: CLOACINA_TEST_SERVER_DIRECTORY")
        let log = StatementLog(fixture: fixture, file: server.directory + "/server.log")
        try #require(try await log.sessions().isEmpty)
        try await TenantFixture.withSuperuser {
            try await $0.script("ALTER ROLE \(fixture.login) SET log_statement = 'all'")
        }
        return log
    }

    /// What is executed while a closure runs. A statement is in the log before it runs.
    func during(_ body: () async throws -> Void) async throws -> Statements {
        let log = try FileHandle(forReadingFrom: URL(filePath: self.file))
        defer { try? log.close() }
        try log.seekToEnd()
        try await body()
        let sessions = try await self.sessions()
        try #require(!sessions.isEmpty)
        let lines = (try log.readToEnd() ?? Data()).split(separator: UInt8(ascii: "\n"))
        let statements = Self.statements(in: lines.map { String(decoding: $0, as: UTF8.self) }, of: sessions)
        return Statements(all: statements.filter { $0.contains("cloacina_") })
    }

    /// The servers' processes that serve the pool.
    private func sessions() async throws -> Set<String> {
        try await TenantFixture.withSuperuser { connection in
            let rows = try await connection.query(
                "SELECT pid::text AS pid FROM pg_stat_activity WHERE usename = \(self.fixture.login)")
            return Set(try rows.column("pid", as: String.self))
        }
    }

    /// A statement's first line follows on `[pid] LOG:  execute name: ` or `[pid] LOG:  statement: `; its others begin with a
    /// tab.
    private static func statements(in lines: [String], of sessions: Set<String>) -> [String] {
        var statements: [String] = []
        var isOpen = false
        for line in lines {
            if line.hasPrefix("\t") {
                if isOpen { statements[statements.count - 1] += "\n" + line.dropFirst() }
                continue
            }
            isOpen = false
            guard let begin = line.firstIndex(of: "["), let end = line[begin...].firstIndex(of: "]"),
                sessions.contains(String(line[line.index(after: begin)..<end]))
            else { continue }
            let message = line[end...].drop { $0 != ":" }.dropFirst(3)
            guard message.hasPrefix("statement: ") || message.hasPrefix("execute ") else { continue }
            statements.append(String(message.drop { $0 != ":" }.dropFirst(2)))
            isOpen = true
        }
        return statements
    }
}
