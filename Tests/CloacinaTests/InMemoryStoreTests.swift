import EngineTestSupport
import Testing

@testable import Cloacina

@Suite(.timeLimit(.minutes(5))) struct InMemoryStoreTests {
    @Test(arguments: StoreConformance.all) func conforms(to check: StoreConformance.Check) async throws {
        try await check.run(InMemoryWorkflowStore())
    }

    @Test func agreesWithItself() async throws {
        for seed in 1...20 as ClosedRange<UInt64> {
            var duel = StoreDuel(seed: seed, on: [InMemoryWorkflowStore()])
            try await duel.run()
        }
    }

    /// A duel that finds nothing must be one that could.
    @Test func aDuelFindsAStoreThatForgets() async throws {
        let error = await #expect(throws: StoreDuel.Difference.self) {
            for seed in 1...20 as ClosedRange<UInt64> {
                var duel = StoreDuel(seed: seed, on: [InMemoryWorkflowStore(), InMemoryWorkflowStore()])
                try await duel.run()
            }
        }
        #expect(error?.description.contains("seed") == true)
    }
}
