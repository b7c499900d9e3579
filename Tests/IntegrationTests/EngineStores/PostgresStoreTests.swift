import CloacinaPostgres
import EngineTestSupport
import TestSupport
import Testing

@testable import Cloacina

extension ServerTests {
    /// What every store promises, promised by a tenant's schema.
    @Suite(.timeLimit(.minutes(40))) struct PostgresStoreTests {
        /// A cancelled caller is sent back by the pool, unlike by a file.
        private static let promised = StoreConformance.all.filter {
            $0.testDescription != "a cancelled task still writes and reads"
        }

        @Test(arguments: promised) func conforms(to check: StoreConformance.Check) async throws {
            try await EngineFixture.with(connections: 8) { fixture in
                // However slow the machine is: claims begin at the start of the queue.
                try await check.run(
                    PostgresWorkflowStore(pool: fixture.pool, label: fixture.label, slowClaim: .seconds(3_600)))
            }
        }

        @Test func aCancelledCallerIsToldAndChangesNothing() async throws {
            #expect(Self.promised.count == StoreConformance.all.count - 1)
            try await EngineFixture.with { fixture in
                let store = fixture.store
                let isCancelled = Tally()
                let cancelled = Task {
                    await isCancelled.reached(1)
                    return try await store.create([StoreConformance.new(1)])
                }
                cancelled.cancel()
                isCancelled.add()
                let error = await #expect(throws: PipelineError.self) { try await cancelled.value }
                #expect((error?.underlying as? PostgresError)?.code == .cancelled && error?.isTransient == false)
                let stored = try await store.list(PipelineQuery())
                #expect(stored.isEmpty)
            }
        }
    }
}
