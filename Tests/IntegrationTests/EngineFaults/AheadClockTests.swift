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
            (
                SystemEngineClock(wall: { Date().addingTimeInterval(-600) }),
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
