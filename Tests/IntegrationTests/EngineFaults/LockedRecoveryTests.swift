import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// Locks of another session's on what runners that go round have to read and write.
    @Suite(.timeLimit(.minutes(40))) struct LockedRecoveryTests {
        /// Lends the tenant of a runner that has died with three pipelines, the first of which another session has locked as
        /// long as a closure runs.
        private static func withLockedPipeline(
            _ body: (EngineFixture) async throws -> Void, then end: (EngineFixture) async throws -> Void
        ) async throws {
            try await EngineFixture.with { fixture in
                _ = try await fixture.store.create((1...3).map { StoreConformance.new($0) })
                _ = try await fixture.store.beat(StoreConformance.runner, number: 5, pipelines: [], at: Date())
                try await fixture.pool.withConnection(fixture.label) { lease in
                    try await lease.withTransaction { transaction in
                        try await transaction.query(
                            "SELECT id FROM cloacina_pipelines WHERE id = \(StoreConformance.id(1)) FOR UPDATE")
                        try await body(fixture)
                    }
                }
                try await end(fixture)
            }
        }

        @Test func aLockedPipelineIsLeftToALaterLook() async throws {
            let dead = StoreConformance.runner
            try await Self.withLockedPipeline { fixture in
                let recovered = try await fixture.store.recover(dead, beats: 5, by: UUID(), at: Date())
                #expect(recovered == 2)
                #expect(try await fixture.store.recover(dead, beats: 0, by: UUID(), at: Date()) == 0)
                #expect(try await fixture.store.load(StoreConformance.id(1))?.owner == dead)
            } then: { fixture in
                // Its owner is one that never said anything.
                #expect(try await fixture.store.beats(everyOwner: false).isEmpty)
                #expect(try await fixture.store.beats(everyOwner: true) == [dead: 0])
                #expect(try await fixture.store.recover(dead, beats: 0, by: UUID(), at: Date()) == 1)
                for number in 1...3 {
                    let stored = try #require(try await fixture.store.load(StoreConformance.id(number)))
                    #expect(stored.status == .queued && stored.recoveries == 1 && stored.epoch == 2)
                }
            }
        }

        @Test func aRunnerThatGoesRoundTakesWhatIsFreeAndLaterTheRest() async throws {
            try await Self.withLockedPipeline { fixture in
                let recovered = try await Self.recover(2, fixture)
                #expect(recovered == 2)
            } then: { fixture in
                let recovered = try await Self.recover(1, fixture)
                #expect(recovered == 1)
            }
        }

        /// Goes round until so many pipelines were taken over.
        private static func recover(_ count: Int, _ fixture: EngineFixture) async throws -> Int {
            let store = WatchedStore(fixture.store)
            var configuration = EngineFixture.configuration
            configuration.leaseDuration = .nanoseconds(1)
            let runner = try fixture.runner(store: store, configuration: configuration)
            while store.recovered < count { await runner.serveOnce() }
            await runner.shutDown(drain: .zero)
            return store.recovered
        }

        /// Takes as long as the store is patient.
        @Test func nobodyWaitsForEverForALockedTable() async throws {
            try await EngineFixture.with(connections: 16) { fixture in
                let (store, runner) = (fixture.store, StoreConformance.runner)
                let calls: [@Sendable () async throws -> Void] = [
                    { _ = try await store.create([StoreConformance.new(1)]) },
                    { _ = try await store.apply([StoreConformance.change(1)]) },
                    { _ = try await store.claim(StoreConformance.claim()) },
                    { try await store.ask(.cancel, of: runner) },
                    { _ = try await store.load(runner) }, { _ = try await store.list(PipelineQuery()) },
                    { _ = try await store.survey(everyOwner: false, at: Date()) },
                    { _ = try await store.beat(runner, number: 1, pipelines: [runner], at: Date()) },
                    { _ = try await store.recover(runner, beats: 0, by: UUID(), at: Date()) },
                    { _ = try await store.prune(endedBefore: Date(), below: runner, limit: 1) },
                    { _ = try await store.claims(of: runner) }, { try await store.leave(runner) },
                ]
                try await TenantFixture.withSuperuser { other in
                    try await other.withTransaction { transaction in
                        for table in ["cloacina_pipelines", "cloacina_runners"] {
                            try await transaction.query("LOCK \(identifier: fixture.schema).\(identifier: table)")
                        }
                        await withTaskGroup(of: Void.self) { group in
                            for call in calls {
                                group.addTask {
                                    let error = await #expect(throws: PipelineError.self) { try await call() }
                                    let cause = error?.underlying as? PostgresError
                                    #expect(cause?.sqlState == "55P03" && error?.isTransient == true)
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
