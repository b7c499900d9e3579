import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Synchronization
import Testing

@testable import Cloacina

extension ServerTests {
    /// Tasks whose own writes commit with their completion, when that is the moment at which things go wrong.
    @Suite(.timeLimit(.minutes(40))) struct OwnCommitTests {
        /// A tenant with a table whose transactions wait, when they commit, for a lock that the test holds.
        private struct Setting {
            let pool: PostgresPool
            let label: PostgresLabel
            let proxy: FaultyProxy
            let superuser: PostgresConnection

            /// Waits until the commit of a task waits.
            func commitIsWaiting() async throws {
                let waiting: PostgresStatement = """
                    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                    """
                while try await self.superuser.query(waiting).single(as: Int.self) == 0 { await Task.yield() }
            }

            func letCommit() async throws { try await self.superuser.query("SELECT pg_advisory_unlock(77)") }

            func payments() async throws -> Int {
                try await self.superuser.query("SELECT count(*) FROM \(identifier: self.label.schema).account").single()
            }
        }

        private func withSetting<R>(_ body: (Setting) async throws -> R) async throws -> R {
            try await TenantFixture.withAdmin { admin in
                let name = TenantFixture.name()
                _ = try await admin.createTenant(TenantConfig(name: name))
                let label = try await admin.tenant(named: name).label(.role)
                let role = try #require(label.role)
                return try await PostgresConnection.withConnection(try #require(TestDatabase.current).superuser) {
                    superuser in
                    try await superuser.script(
                        """
                        CREATE TABLE \(label.schema).account (cents int8 NOT NULL);
                        GRANT SELECT, INSERT ON \(label.schema).account TO \(role);
                        CREATE FUNCTION \(label.schema).hold() RETURNS trigger LANGUAGE plpgsql AS
                            $$ BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(77); RETURN NULL; END $$;
                        CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON \(label.schema).account
                            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION \(label.schema).hold();
                        """)
                    try await superuser.query("SELECT pg_advisory_lock(77)")
                    return try await FaultyProxy.with(superuser: true) { proxy, configuration in
                        var configuration = PostgresPoolConfiguration(configuration)
                        configuration.maximumConnections = 4
                        return try await PostgresPool.withPool(configuration) { pool in
                            try await body(
                                Setting(pool: pool, label: label, proxy: proxy, superuser: superuser))
                        }
                    }
                }
            }
        }

        private static func pay(timeout: Duration? = nil, told: Told) -> WorkflowTask {
            .transactional(
                "pay", timeout: timeout, onSuccess: { _, context in told.succeeded(context.values) },
                onFailure: { _, failure in told.failed(failure) }
            ) { context, _, transaction in
                _ = try await transaction.query("INSERT INTO account (cents) VALUES (500)")
                try context.set("paid", to: true)
            }
        }

        @Test func aCommitWhoseAnswerIsLostIsFoundAndCounts() async throws {
            try await self.withSetting { setting in
                let told = Told()
                let workflow = try Workflow("w") {
                    Self.pay(told: told)
                    WorkflowTask("after", after: "pay") { context in try context.set("after", to: true) }
                }
                let runner = try DefaultRunner(pool: setting.pool, label: setting.label, workflows: [workflow])
                let events = Mutex<[PipelineEvent.Kind]>([])
                let execution = try await runner.executeAsync(
                    "w",
                    observe: { event in
                        events.withLock { $0.append(event.kind) }
                    })
                try await setting.commitIsWaiting()
                setting.proxy.mode = .cut
                setting.proxy.mode = .pass
                try await setting.letCommit()
                let result = try await execution.result()
                #expect(result.status == .completed, "\(result)")
                #expect(result.task("pay")?.attempts.map(\.succeeded) == [true])
                #expect(result.finalContext.values == ["paid": true, "after": true])
                #expect(try await setting.payments() == 1)
                #expect(told.all == ["succeeded [\"paid\": true]"])
                #expect(events.withLock { $0.filter { $0 == .taskCompleted }.count } == 2)
                #expect(try await runner.snapshot(of: result.id).status == .completed)
            }
        }

        @Test func aCommitThatFailedWithItsConnectionFailsTheAttempt() async throws {
            try await self.withSetting { setting in
                let told = Told()
                let workflow = try Workflow("w") { Self.pay(told: told) }
                let runner = try DefaultRunner(pool: setting.pool, label: setting.label, workflows: [workflow])
                let execution = try await runner.executeAsync("w")
                try await setting.commitIsWaiting()
                try await setting.superuser.query(
                    """
                    SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                    """)
                let result = try await execution.result()
                #expect(result.status == .failed)
                #expect(try await setting.payments() == 0)
                #expect(told.all.count == 1 && told.all[0].hasPrefix("failed"))
            }
        }

        /// The time of the task or of the pipeline runs out while the task commits, or the pipeline is cancelled.
        @Test(arguments: ["task", "pipeline", "cancel"])
        func whatIsBeingCommittedWhenItsTimeRunsOutHasCompleted(whose: String) async throws {
            try await self.withSetting { setting in
                let told = Told()
                let clock = HeldClock(of: .seconds(3600))
                let workflow = try Workflow("w") {
                    Self.pay(timeout: whose == "task" ? .seconds(3600) : nil, told: told)
                    WorkflowTask("after", after: "pay") { context in try context.set("after", to: true) }
                }
                var configuration = RunnerConfiguration()
                configuration.cancellationGrace = .seconds(3600)
                let runner = try DefaultRunner(
                    store: PostgresWorkflowStore(pool: setting.pool, label: setting.label),
                    database: TenantDatabase(pool: setting.pool, label: setting.label), workflows: [workflow],
                    configuration: configuration, logger: nil, clock: clock)
                var options = ExecutionOptions()
                if whose == "pipeline" { options.timeout = .seconds(3600) }
                let execution = try await runner.executeAsync("w", options: options)
                try await setting.commitIsWaiting()
                if whose == "cancel" { try await execution.cancel() } else { await clock.letGo() }
                try await setting.letCommit()
                let result = try await execution.result()
                let isWhole = whose == "task"
                #expect(result.status == (isWhole ? .completed : whose == "cancel" ? .cancelled : .failed))
                #expect(result.task("pay")?.status == .completed, "\(result)")
                #expect(result.task("after")?.status == (isWhole ? .completed : .skipped))
                #expect(try await setting.payments() == 1)
                #expect(told.all == ["succeeded [\"paid\": true]"])
            }
        }

        /// Somebody holds a lock that the commit needs, such as that of a key that is checked at the end, and never lets it go.
        @Test(arguments: ["task", "pipeline", "cancel", "shutdown"])
        func aCommitThatNeverEndsIsCancelledAfterTheGrace(whose: String) async throws {
            try await self.withSetting { setting in
                let told = Told()
                let workflow = try Workflow("w") {
                    Self.pay(timeout: whose == "task" ? .milliseconds(50) : nil, told: told)
                }
                var configuration = RunnerConfiguration()
                configuration.cancellationGrace = .milliseconds(50)
                let runner = try DefaultRunner(
                    pool: setting.pool, label: setting.label, workflows: [workflow], configuration: configuration)
                var options = ExecutionOptions()
                if whose == "pipeline" { options.timeout = .milliseconds(50) }
                let execution = try await runner.executeAsync("w", options: options)
                if ["cancel", "shutdown"].contains(whose) { try await setting.commitIsWaiting() }
                if whose == "cancel" { try await execution.cancel() }
                if whose == "shutdown" {
                    await runner.shutDown(drain: .zero)
                    #expect(try await runner.snapshot(of: execution.id).status == .queued)
                } else {
                    #expect(try await execution.result().status == (whose == "cancel" ? .cancelled : .failed))
                }
                #expect(try await setting.payments() == 0)
                #expect(told.all.allSatisfy { $0.hasPrefix("failed") })
            }
        }

        @Test func cancellingAParentCancelsItsChildOnAServerToo() async throws {
            try await EngineFixture.with { fixture in
                let (began, signal) = AsyncStream.makeStream(of: UUID.self)
                let child = try Workflow("child") {
                    WorkflowTask("t") { _, scope in
                        signal.yield(scope.executionID)
                        try await Task.sleep(for: .seconds(3_600))
                    }
                    WorkflowTask("u", after: "t") { _ in }
                }
                let parent = try Workflow("parent") {
                    WorkflowTask("p") { _, scope in _ = try await scope.execute("child") }
                }
                let runner = try fixture.runner(child, parent)
                let execution = try await runner.executeAsync("parent")
                let id = try #require(await began.first { _ in true })
                try await execution.cancel()
                #expect(try await execution.result().status == .cancelled)
                #expect(try await runner.result(of: id).status == .cancelled)
            }
        }
    }
}

/// What handlers were told.
private final class Told: Sendable {
    private let lines = Mutex<[String]>([])

    var all: [String] { self.lines.withLock { $0 } }

    func succeeded(_ values: [String: JSONValue]) { self.lines.withLock { $0.append("succeeded \(values)") } }

    func failed(_ failure: TaskFailure) { self.lines.withLock { $0.append("failed \(failure.text)") } }
}

/// The system's clock, but waits of one length last until they are let go.
private final class HeldClock: EngineClock {
    private let system = SystemEngineClock()
    private let held: Duration
    private let (gates, opener) = AsyncStream.makeStream(of: Void.self)
    private let waits = Mutex(0)

    init(of duration: Duration) { self.held = duration }

    func now() -> Date { self.system.now() }

    func sleep(for duration: Duration) async throws {
        guard duration > self.held / 2, duration <= self.held else { return try await self.system.sleep(for: duration) }
        self.waits.withLock { $0 += 1 }
        for await _ in self.gates { break }
        try Task.checkCancellation()
    }

    /// Ends the wait, once somebody waits, and leaves the runner time to act on it.
    func letGo() async {
        while self.waits.withLock({ $0 }) == 0 { await Task.yield() }
        self.opener.yield()
        for _ in 0..<1_000 { await Task.yield() }
    }
}
