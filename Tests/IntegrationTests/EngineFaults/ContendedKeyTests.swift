import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// An idempotency key whose pipeline another session has stored and not yet committed.
    @Suite(.timeLimit(.minutes(40))) struct ContendedKeyTests {
        private static let contended = ExecutionOptions(idempotencyKey: "order '7'")

        @Test func aCreationGivesUpAndNoOtherWriteWaitsForIt() async throws {
            try await EngineFixture.with { fixture in
                let store = fixture.store
                let (mine, others) = (StoreConformance.new(1, options: Self.contended), StoreConformance.new(2))
                let late = StoreConformance.new(3, options: Self.contended)
                try await fixture.pool.withConnection(fixture.label) { lease in
                    try await lease.withTransaction { transaction in
                        _ = try await transaction.query(PostgresWorkflowQueries.create([mine]))
                        let error = await #expect(throws: PipelineError.self) { try await store.create([late]) }
                        #expect(error?.isContention == true && error?.isTransient == true)
                        // Nothing of a batch is stored when one of it has to wait.
                        await #expect { try await store.create([others, late]) } throws: {
                            ($0 as? PipelineError)?.isContention == true
                        }
                        #expect(try await store.create([others]) == [.created])
                        #expect(try await store.apply([StoreConformance.change(2)]) == [.applied(nil)])
                    }
                }
                #expect(try await store.create([late]) == [.exists(mine.id)])
            }
        }

        @Test func aRunnerThatWaitsForAKeyWorksOnAndIsGivenItsPipeline() async throws {
            try await EngineFixture.with { fixture in
                let log = AttemptLog()
                let store = WatchedStore(fixture.store)
                var configuration = EngineFixture.configuration
                configuration.databasePatience = .seconds(3_600)
                let runner = try fixture.runner(EngineFixture.chain(log), store: store, configuration: configuration)
                let (existing, waiting) = try await fixture.pool.withConnection(fixture.label) { lease in
                    try await lease.withTransaction { transaction in
                        let existing = try await runner.enqueue("chain", options: Self.contended, in: transaction).id
                        let waiting = Task { try await runner.enqueue("chain", options: Self.contended).id }
                        while store.failed(.create) == 0 { await Task.yield() }
                        #expect(try await runner.execute("chain").status == .completed)
                        return (existing, waiting)
                    }
                }
                #expect(try await waiting.value == existing)
                #expect(try await runner.list().count == 2)
                try await PipelineAudit.check(log, in: fixture.schema)
                await runner.shutDown(drain: .zero)
            }
        }
    }
}
