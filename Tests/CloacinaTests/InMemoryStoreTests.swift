import EngineTestSupport
import Testing

@testable import Cloacina

@Suite(.timeLimit(.minutes(5))) struct InMemoryStoreTests {
    @Test(arguments: StoreConformance.all) func conforms(to check: StoreConformance.Check) async throws {
        try await check.run(InMemoryWorkflowStore())
    }

    /// Whoever gives a pipeline back may have read it just before a task of it committed itself.
    @Test func aPipelineWhoseTaskCommittedMeanwhileHasBegun() async throws {
        let store = InMemoryWorkflowStore()
        _ = try await store.create([StoreConformance.new(1), StoreConformance.new(2)])
        let event = PipelineEvent(.taskCompleted, task: "t", attempt: 1, at: StoreConformance.at(1))
        #expect(store.commit(event, of: StoreConformance.id(1), epoch: 1))
        for number in 1...2 {
            var change = StoreConformance.change(number, status: .queued, dueAt: StoreConformance.at(1))
            (change.transition.foldsEverything, change.transition.isUntouched) = (true, true)
            #expect(try await store.apply([change]) == [.applied(nil)])
        }
        #expect(try await store.load(StoreConformance.id(1))?.startedAt == StoreConformance.start)
        #expect(try await store.load(StoreConformance.id(2))?.startedAt == nil)
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
