import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

extension ServerTests {
    /// What processes tell each other of a queue, between which sweeps would be an hour apart.
    @Suite(.timeLimit(.minutes(40))) struct QueueCallTests {
        private static var configuration: RunnerConfiguration {
            var configuration = RunnerConfiguration()
            configuration.sweepInterval = .seconds(3_600)
            return configuration
        }

        /// Serves by a group that listens, as long as a closure runs, which begins when the group has begun to listen and has
        /// swept.
        private func listening(
            _ fixture: EngineFixture, _ runners: DefaultRunner..., body: () async throws -> Void
        ) async throws {
            var connection = fixture.connection
            connection.applicationName = "the group that listens"
            let group = RunnerGroup(runners, listeningOn: connection, drain: .zero)
            let serving = Task { try await group.run() }
            let result: Result<Void, any Error>
            do {
                try await TenantFixture.withSuperuser { try await $0.waitUntil(Self.isListening(not: 0)) }
                result = .success(try await body())
            } catch {
                result = .failure(error)
            }
            serving.cancel()
            _ = await serving.result
            try result.get()
        }

        /// Whether a connection of the group's, but not the one of a process, has nothing to do but to listen.
        private static func isListening(not pid: Int32) -> PostgresStatement {
            """
            SELECT EXISTS (
                SELECT FROM pg_stat_activity WHERE application_name = 'the group that listens' AND state = 'idle'
                    AND (query LIKE 'LISTEN %' OR query LIKE '%pg_is_in_recovery%') AND pid <> \(pid) AND datname = current_database())
            """
        }

        /// A tenant that runs its own runners may lock the word by which they call each other.
        @Test("C1, M2: a lock on the word of a tenant's runners holds up no enqueue, and no shutdown")
        func aLockOnTheWordHoldsUpNobody() async throws {
            try await EngineFixture.with { fixture in
                let (began, signal) = AsyncStream.makeStream(of: Void.self)
                let runner = try fixture.runner(
                    Workflow("w") {
                        WorkflowTask("t") { _ in
                            signal.yield()
                            try await Task.sleep(for: .seconds(3_600))
                        }
                    })
                try await TenantFixture.withSuperuser { tenant in
                    try await tenant.script(
                        "BEGIN; LOCK TABLE \(fixture.label.schema).cloacina_wakeups IN ACCESS EXCLUSIVE MODE")
                    let id = try await runner.enqueue("w").id
                    #expect(try await runner.status(of: id) == .queued)
                    let execution = try await runner.executeAsync("w")
                    for await _ in began { break }
                    await runner.shutDown(drain: .zero)
                    #expect(try await runner.status(of: execution.id) == .queued)
                }
            }
        }

        private func killListener() async throws -> Int32 {
            try await TenantFixture.withSuperuser { connection in
                let pid: Int32 = try await connection.query(
                    """
                    SELECT pid FROM pg_stat_activity
                    WHERE application_name = 'the group that listens' AND datname = current_database()
                    """
                ).single()
                _ = try await connection.query("SELECT pg_terminate_backend(\(pid))")
                return pid
            }
        }

        @Test func whatAnotherProcessEnqueuesBeginsAtItsCall() async throws {
            try await EngineFixture.with { fixture in
                let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                let serving = try fixture.runner(workflow, configuration: Self.configuration)
                try await self.listening(fixture, serving) {
                    try await PostgresPool.withPool(PostgresPoolConfiguration(fixture.connection)) { pool in
                        let sender = try DefaultRunner(pool: pool, label: fixture.label, workflows: [workflow])
                        // The sweep that every group begins with finds nothing, or the first of these.
                        for _ in 0..<3 {
                            #expect(try await sender.result(of: sender.enqueue("w").id).status == .completed)
                        }
                        // Nobody is called for what is put there in a transaction, until somebody rings.
                        let id = try await pool.withConnection(fixture.label) { lease in
                            try await lease.withTransaction { try await sender.enqueue("w", in: $0).id }
                        }
                        await sender.ring()
                        #expect(try await sender.result(of: id).status == .completed)
                        let delayed = try await sender.enqueue(
                            "w", options: ExecutionOptions(delay: .milliseconds(50))
                        ).id
                        #expect(try await sender.result(of: delayed).status == .completed)
                    }
                }
            }
        }

        @Test func healthTellsWhetherCallsAreHeard() async throws {
            try await EngineFixture.with { fixture in
                let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                let serving = try fixture.runner(workflow, configuration: Self.configuration)
                let sender = try fixture.runner(workflow)
                #expect(serving.health.isListening == nil && !serving.health.isServing)
                try await self.listening(fixture, serving) {
                    // The first is found by the sweep that every group begins with, if not by its call.
                    for _ in 0..<3 {
                        let result = try await sender.result(of: sender.enqueue("w").id, within: .seconds(120))
                        #expect(result.status == .completed)
                    }
                    let health = serving.health
                    #expect(health.isListening == true && health.isServing && health.isHealthy)
                    #expect(health.lastSweep != nil && !health.isReadOnly)
                }
                #expect(serving.health.isListening == nil && serving.health.problems == ["the runner was shut down"])
                #expect(sender.health.isHealthy && sender.health.isListening == nil)
            }
        }

        /// What is called for while nobody listens is found when somebody listens again.
        @Test func aListenerThatWasKilledListensAgainAndLooksForWhatItMissed() async throws {
            try await EngineFixture.with { fixture in
                let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                let serving = try fixture.runner(workflow, configuration: Self.configuration)
                let sender = try fixture.runner(workflow)
                try await self.listening(fixture, serving) {
                    #expect(try await sender.result(of: sender.enqueue("w").id).status == .completed)
                    for _ in 0..<2 {
                        let pid = try await self.killListener()
                        #expect(try await sender.result(of: sender.enqueue("w").id).status == .completed)
                        try await TenantFixture.withSuperuser { try await $0.waitUntil(Self.isListening(not: pid)) }
                        #expect(try await sender.result(of: sender.enqueue("w").id).status == .completed)
                    }
                }
            }
        }

        /// S20: a tenant whose schema was restored, or made anew, has another word.
        @Test func anotherWordIsLearntWithTheNextConnection() async throws {
            try await EngineFixture.with { fixture in
                let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                let serving = try fixture.runner(workflow, configuration: Self.configuration)
                let sender = try fixture.runner(workflow)
                try await self.listening(fixture, serving) {
                    #expect(try await sender.result(of: sender.enqueue("w").id).status == .completed)
                    try await TenantFixture.withSuperuser { connection in
                        try await connection.script(
                            """
                            UPDATE \(PostgresIdentifier.quote(fixture.schema)).cloacina_wakeups
                            SET token = gen_random_uuid()::text
                            """)
                    }
                    let pid = try await self.killListener()
                    try await TenantFixture.withSuperuser { try await $0.waitUntil(Self.isListening(not: pid)) }
                    // The first may be found by the look with which a group begins to listen again, the others by their calls only.
                    for _ in 0..<3 {
                        let result = try await sender.result(of: sender.enqueue("w").id, within: .seconds(120))
                        #expect(result.status == .completed)
                    }
                }
            }
        }

        /// Everybody on the server can hear the channel, and call on it (security M5).
        @Test func whoListensLearnsNoNameAndWhoGuessesCallsNobody() async throws {
            try await EngineFixture.with { fixture in
                try await EngineFixture.with { other in
                    let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                    let sender = try fixture.runner(workflow)
                    let token = try #require(await sender.wakeupToken())
                    let otherToken = await (try other.runner(workflow)).wakeupToken()
                    #expect(otherToken != token)
                    let spy = try await PostgresConnection.connect(other.connection)
                    try await spy.listen(on: QueueCall.channel)
                    _ = try await sender.enqueue("w")
                    let payload = try #require(try await spy.notifications.first { _ in true }).payload
                    await spy.close()
                    #expect(payload == "0 \(token)" && !payload.contains(fixture.schema))
                    // The word is in the tenant's schema, which no other tenant may use.
                    let error = await #expect(throws: PostgresError.self) {
                        try await other.pool.withConnection(other.label) { lease in
                            _ = try await lease.query(
                                "SELECT token FROM \(identifier: fixture.schema).cloacina_wakeups")
                        }
                    }
                    #expect(error?.sqlState == "42501")
                }
            }
        }

        /// Calls are heard in the order in which they were made, so one for another tenant says that those before it were.
        @Test func aCallWithoutTheWordIsHeardByNobody() async throws {
            try await EngineFixture.with { fixture in
                try await EngineFixture.with { other in
                    let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                    let serving = try fixture.runner(workflow, configuration: Self.configuration)
                    let servingOther = try other.runner(workflow, configuration: Self.configuration)
                    let (sender, otherSender) = (try fixture.runner(workflow), try other.runner(workflow))
                    try await self.listening(fixture, serving, servingOther) {
                        // The sweep that every group begins with is over then, or finds nothing else.
                        #expect(try await sender.result(of: sender.enqueue("w").id).status == .completed)
                        // A sweep may have found that before its call came, and what comes while the queue is looked at is found
                        // without one.
                        #expect(
                            try await otherSender.result(of: otherSender.enqueue("w").id).status == .completed)
                        while serving.state.withLock({ $0.isPumping }) { await Task.yield() }
                        let id = try await fixture.pool.withConnection(fixture.label) { lease in
                            try await lease.withTransaction { try await sender.enqueue("w", in: $0).id }
                        }
                        for _ in 0..<3 {
                            try await TenantFixture.withSuperuser { stranger in
                                for word in ["", fixture.schema, "w", UUID().uuidString.lowercased()] {
                                    _ = try await stranger.query(
                                        "SELECT pg_notify(\(QueueCall.channel), \("0 " + word))")
                                }
                            }
                            let called = try await otherSender.enqueue("w").id
                            #expect(try await otherSender.result(of: called).status == .completed)
                        }
                        #expect(try await sender.status(of: id) == .queued)
                        await sender.ring()
                        #expect(try await sender.result(of: id).status == .completed)
                    }
                }
            }
        }

        /// The one who resumes it serves the queue, in another version.
        @Test func whatIsResumedIsBegunByTheRunnerThatHasItsVersion() async throws {
            try await EngineFixture.with { fixture in
                let (begun, mayEnd) = (Tally(), Tally())
                let old = try Workflow("w") {
                    WorkflowTask("a") { _ in }
                    WorkflowTask("b", after: "a") { _ in
                        begun.add()
                        await mayEnd.reached(1)
                    }
                    WorkflowTask("c", after: "b") { _ in }
                }
                let other = try fixture.runner(old, configuration: Self.configuration)
                let execution = try await other.executeAsync("w")
                await begun.reached(1)
                try await execution.pause()
                mayEnd.add()
                while try await execution.status() != .paused { await Task.yield() }
                let new = try Workflow("w") { WorkflowTask("z") { _ in } }
                let mine = try fixture.runner(new, configuration: Self.configuration)
                await mine.serveOnce()
                try await self.listening(fixture, other) {
                    try await mine.resume(execution.id)
                    #expect(try await execution.result().status == .completed)
                }
                await mine.shutDown(drain: .zero)
            }
        }

        @Test func whatARunnerReleasesAtItsEndIsBegunByAnother() async throws {
            try await EngineFixture.with { fixture in
                let begun = Tally()
                let workflow = try Workflow("w") {
                    WorkflowTask("t") { _ in
                        begun.add()
                        // Until it is cancelled.
                        if begun.count == 1 { try await Task.sleep(for: .seconds(3_600)) }
                    }
                }
                let leaving = try fixture.runner(workflow, configuration: Self.configuration)
                await leaving.serveOnce()
                let id = try await leaving.enqueue("w").id
                await begun.reached(1)
                let other = try fixture.runner(workflow, configuration: Self.configuration)
                try await self.listening(fixture, other) {
                    await leaving.shutDown(drain: .zero)
                    let result = try await other.result(of: id)
                    #expect(result.status == .completed)
                }
                #expect(begun.count == 2)
            }
        }

        /// A runner that serves, but has its fill, calls the others of its tenant.
        @Test func whatARunnerHasNoRoomForIsBegunByAnother() async throws {
            try await EngineFixture.with { fixture in
                let (begun, mayEnd) = (Tally(), Tally())
                let long = try Workflow("long") {
                    WorkflowTask("t") { _ in
                        begun.add()
                        await mayEnd.reached(1)
                    }
                }
                let short = try Workflow("short") { WorkflowTask("t") { _ in } }
                var configuration = Self.configuration
                configuration.maximumQueuedPipelines = 1
                let full = try fixture.runner(long, short, configuration: configuration)
                await full.serveOnce()
                _ = try await full.enqueue("long")
                await begun.reached(1)
                let other = try fixture.runner(short, configuration: Self.configuration)
                try await self.listening(fixture, other) {
                    for _ in 0..<3 {
                        let result = try await full.result(of: full.enqueue("short").id)
                        #expect(result.status == .completed)
                    }
                }
                // A result is stored a moment before the runner that stored it hears of that.
                #expect(other.writeStatistics.writes == 3)
                mayEnd.add()
                await full.shutDown()
            }
        }
    }
}
