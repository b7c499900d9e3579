import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// Hosts whose clocks are an hour ahead of everybody else's, or behind them (engine fault A4): what is due at once is so for
    /// everybody.
    @Suite(.timeLimit(.minutes(40))) struct AheadClockTests {
        private static func ahead() -> Date { Date().addingTimeInterval(3_600) }

        /// The clock of a host that is ten minutes behind, and its store.
        private static func behind(_ fixture: EngineFixture) -> (SystemEngineClock, PostgresWorkflowStore) {
            self.host(fixture, off: -600)
        }

        /// A host's clock that shows a time so many seconds from the server's, and its store.
        private static func host(
            _ fixture: EngineFixture, off seconds: Double
        ) -> (SystemEngineClock, PostgresWorkflowStore) {
            (
                SystemEngineClock(wall: { Date().addingTimeInterval(seconds) }),
                PostgresWorkflowStore(pool: fixture.pool, label: fixture.label, followsServersClock: true)
            )
        }

        private static func isDue(_ number: Int, in fixture: EngineFixture) async throws -> Bool {
            let stored = try #require(try await fixture.store.load(StoreConformance.id(number)))
            return try #require(stored.dueAt) <= Date()
        }

        @Test func whatAHostThatIsAheadEnqueuesBeginsElsewhereAtOnce() async throws {
            try await EngineFixture.with { fixture in
                let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                let ahead = try fixture.runner(workflow, clock: SystemEngineClock(wall: { Self.ahead() }))
                let other = try fixture.runner(workflow)
                let id = try await ahead.enqueue("w").id
                let delayed = try await ahead.enqueue("w", options: ExecutionOptions(delay: .seconds(60))).id
                await other.serveOnce()
                #expect(try await other.result(of: id).status == .completed)
                // A delay goes by the clock of who asked for it.
                #expect(try await other.status(of: delayed) == .queued)
                let transacted = try await fixture.pool.withConnection(fixture.label) { lease in
                    try await lease.withTransaction { try await ahead.enqueue("w", in: $0).id }
                }
                await other.serveOnce()
                #expect(try await other.result(of: transacted).status == .completed)
            }
        }

        /// The other way round: a host that is ten minutes behind begins what others enqueue at once, and not ten minutes later.
        @Test func aHostThatIsBehindBeginsAtOnceWhatOthersEnqueue() async throws {
            try await EngineFixture.with { fixture in
                let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                let (clock, store) = Self.behind(fixture)
                let behind = try fixture.runner(workflow, store: store, clock: clock)
                let other = try fixture.runner(workflow)
                let id = try await other.enqueue("w").id
                let delayed = try await other.enqueue("w", options: ExecutionOptions(delay: .seconds(60))).id
                await behind.serveOnce()
                #expect(try await behind.result(of: id).status == .completed)
                #expect(try await other.status(of: delayed) == .queued)
            }
        }

        /// Its own delays included: they end by the server's clock, and begin by it.
        @Test func aDelayAskedForByAHostThatIsBehindIsADelay() async throws {
            try await EngineFixture.with { fixture in
                let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                let (clock, store) = Self.behind(fixture)
                let behind = try fixture.runner(workflow, store: store, clock: clock)
                let id = try await behind.enqueue("w", options: ExecutionOptions(delay: .seconds(300))).id
                let transacted = try await fixture.pool.withConnection(fixture.label) { lease in
                    try await lease.withTransaction {
                        try await behind.enqueue("w", options: ExecutionOptions(delay: .seconds(300)), in: $0).id
                    }
                }
                for id in [id, transacted] {
                    let stored = try #require(try await fixture.store.load(id))
                    #expect(try #require(stored.dueAt) > Date().addingTimeInterval(200))
                }
                // Given back, alone and together with others, one waits for the time of its retry by the same clock.
                let now = clock.now()
                _ = try await store.create((1...3).map { StoreConformance.new($0, at: now) })
                let later = now.addingTimeInterval(300)
                let changes = (1...3).map { StoreConformance.change($0, status: .queued, dueAt: later, at: now) }
                #expect(try await store.apply([changes[0]]) == [.applied(nil)])
                #expect(try await store.apply(Array(changes[1...])) == [.applied(nil), .applied(nil)])
                for number in 1...3 {
                    let stored = try #require(try await store.load(StoreConformance.id(number)))
                    #expect(try #require(stored.dueAt) > Date().addingTimeInterval(200))
                }
            }
        }

        /// Neither its own nor another host's: a delay ends by the server's clock, and whoever is ahead wakes up then.
        @Test func aHostThatIsAheadBeginsNothingBeforeItsTime() async throws {
            try await EngineFixture.with { fixture in
                let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                let (clock, store) = Self.host(fixture, off: 3_600)
                let ahead = try fixture.runner(workflow, store: store, clock: clock)
                let (otherClock, otherStore) = Self.host(fixture, off: 0)
                let other = try fixture.runner(workflow, store: otherStore, clock: otherClock)
                var ids: [UUID] = []
                for runner in [ahead, other] {
                    ids.append(try await runner.enqueue("w", options: ExecutionOptions(delay: .seconds(1_800))).id)
                }
                await ahead.serveOnce()
                for id in ids {
                    #expect(try await other.status(of: id) == .queued)
                    let due = try #require(try await store.load(id)?.dueAt)
                    #expect(abs(due.timeIntervalSinceNow - 1_800) < 300)
                }
                let survey = try await store.survey(everyOwner: false, at: clock.now())
                let next = try #require(survey.nextDue)
                #expect(!survey.isDue && abs(next.timeIntervalSince(clock.now()) - 1_800) < 300)
            }
        }

        /// A day has 24 hours, whatever the session's time zone makes of the night between two of them.
        @Test func aDelayIsAsLongInEveryTimeZone() async throws {
            try await EngineFixture.with { fixture in
                let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                let (clock, store) = Self.host(fixture, off: 0)
                let runner = try fixture.runner(workflow, store: store, clock: clock)
                // Some of them end in the other half of the year.
                for days in stride(from: 30, through: 330, by: 60) {
                    let id = try await fixture.pool.withConnection(fixture.label) { lease in
                        try await lease.withTransaction { transaction in
                            try await transaction.query("SET LOCAL TIME ZONE 'Europe/Berlin'")
                            let delay = Duration.seconds(days * 86_400)
                            return try await runner.enqueue(
                                "w", options: ExecutionOptions(delay: delay), in: transaction
                            ).id
                        }
                    }
                    let due = try #require(try await store.load(id)?.dueAt)
                    #expect(abs(due.timeIntervalSinceNow - Double(days) * 86_400) < 300)
                }
            }
        }

        @Test func anEndlessDelayIsACentury() async throws {
            try await EngineFixture.with { fixture in
                let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                let (clock, store) = Self.host(fixture, off: 0)
                let runner = try fixture.runner(workflow, store: store, clock: clock)
                let id = try await runner.enqueue("w", options: ExecutionOptions(delay: .seconds(Int64.max))).id
                let due = try #require(try await store.load(id)?.dueAt)
                #expect(abs(due.timeIntervalSinceNow / 86_400 - 36_525) < 1)
                // Also where somebody wrote a time that no clock shows.
                try await fixture.pool.withConnection(fixture.label) {
                    _ = try await $0.query("UPDATE cloacina_pipelines SET due_at = 'infinity'")
                }
                let survey = try await store.survey(everyOwner: false, at: clock.now())
                #expect(!survey.isDue)
                #expect(try #require(survey.nextDue) > clock.now())
            }
        }

        /// A pipeline that goes on with another version, or is told anything else, waits for as long as it did.
        @Test(arguments: [-600.0, 3_600]) func aTimeThatIsKeptIsNotMoved(off: Double) async throws {
            try await EngineFixture.with { fixture in
                let (clock, store) = Self.host(fixture, off: off)
                let now = clock.now()
                _ = try await store.create((1...3).map { StoreConformance.new($0, at: now) })
                let later = now.addingTimeInterval(300)
                let ids = (1...3).map(StoreConformance.id)
                for number in 1...3 {
                    _ = try await store.apply([StoreConformance.change(number, status: .queued, dueAt: later, at: now)])
                }
                var due: [Date] = []
                for id in ids { due.append(try #require(try await store.load(id)?.dueAt)) }
                let changes = zip(1...3, due).map {
                    var change = StoreConformance.change($0, revision: 2, status: .queued, dueAt: $1, at: now)
                    change.transition.keepsDueAt = true
                    return change
                }
                #expect(try await store.apply([changes[0]]) == [.applied(nil)])
                #expect(try await store.apply(Array(changes[1...])) == [.applied(nil), .applied(nil)])
                for (id, due) in zip(ids, due) { #expect(try await store.load(id)?.dueAt == due) }
                // So does a delay that a pause has interrupted.
                let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
                let runner = try fixture.runner(workflow, store: store, clock: clock)
                let delayed = try await runner.enqueue("w", options: ExecutionOptions(delay: .seconds(1_800))).id
                let first = try #require(try await store.load(delayed)?.dueAt)
                try await runner.pause(delayed)
                try await runner.resume(delayed)
                #expect(try await store.load(delayed)?.dueAt == first)
            }
        }

        /// By itself, and together with others, of which one waits for the time of a retry.
        @Test(arguments: [1, 3]) func whatAHostThatIsAheadGivesBackIsDueAtOnce(count: Int) async throws {
            try await EngineFixture.with { fixture in
                let ahead = Self.ahead()
                _ = try await fixture.store.create((0...count).map { StoreConformance.new($0, at: ahead) })
                var changes = (1...count).map {
                    StoreConformance.change($0, status: .queued, dueAt: ahead, at: ahead)
                }
                if count > 1 {
                    let later = ahead.addingTimeInterval(60)
                    changes.append(StoreConformance.change(0, status: .queued, dueAt: later, at: ahead))
                }
                #expect(try await fixture.store.apply(changes).allSatisfy { $0 == .applied(nil) })
                for number in 1...count { #expect(try await Self.isDue(number, in: fixture)) }
                if count > 1 { #expect(try await !Self.isDue(0, in: fixture)) }
            }
        }

        @Test func whatAHostThatIsAheadTakesFromTheDeadIsDueAtOnce() async throws {
            try await EngineFixture.with { fixture in
                let ahead = Self.ahead()
                _ = try await fixture.store.create([StoreConformance.new(1, at: ahead)])
                let recovered = try await fixture.store.recover(
                    StoreConformance.runner, beats: 0, by: StoreConformance.other, at: ahead)
                #expect(recovered == 1)
                #expect(try await Self.isDue(1, in: fixture))
            }
        }
    }
}
