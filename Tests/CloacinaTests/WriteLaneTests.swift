import CloacinaPostgres
import EngineTestSupport
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// Who waits for whom on the way into the database, and who fails with whom.
@Suite(.timeLimit(.minutes(5))) struct WriteLaneTests {
    /// A store in which every creation waits until it is let go.
    private final class HoldingStore: ForwardingWorkflowStore {
        let underlying: any WorkflowStore = InMemoryWorkflowStore()
        let begun = Tally()
        let mayCreate = Tally()

        func create(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [Creation] {
            self.begun.add()
            await self.mayCreate.reached(1)
            return try await self.underlying.create(pipelines)
        }
    }

    @Test func aCreationThatIsHeldBackHoldsBackNoTransitionAndBothAreCounted() async throws {
        let store = HoldingStore()
        let recorder = MetricsRecorder()
        let writer = WriteBatcher(store, maximumFlushes: 1, metrics: EngineMetrics(factory: recorder))
        _ = try await store.underlying.create([StoreConformance.new(1)])
        let creation = Task { try await writer.create(StoreConformance.new(2)) }
        await store.begun.reached(1)
        #expect(try await writer.apply(StoreConformance.change(1)) == .applied(nil))
        #expect(writer.statistics == WriteStatistics(writes: 1, commits: 1))
        store.mayCreate.add()
        #expect(try await creation.value == .created)
        #expect(writer.statistics == WriteStatistics(writes: 2, commits: 2))
        #expect(recorder.counts == ["cloacina_writes": 2, "cloacina_commits": 2])
    }

    /// Three writes that go together are refused, and so is one of them alone. What may be the fault of one is tried for each
    /// by itself; what is everybody's, such as a server that shuts down, is told to everybody, and tried again by whoever asked.
    @Test(arguments: [("55P03", true), ("22021", true), ("57P01", false), ("40001", false)])
    func aRefusalThatOneMayHaveCausedIsNotForAll(state: String, mayBeOnes: Bool) async throws {
        let (begun, mayEnd) = (Tally(), Tally())
        let batches = Mutex<[[Int]]>([])
        let lane = WriteLane<Int, Int>(maximumFlushes: 1, metrics: EngineMetrics(factory: MetricsRecorder())) {
            (items: [Int]) async throws(PipelineError) -> [Int] in
            batches.withLock { $0.append(items) }
            begun.add()
            await mayEnd.reached(1)
            guard items.count > 1 || items == [3] else { return items }
            throw PipelineError(.storageFailed, "no", underlying: PostgresError(.rejectedByServer, sqlState: state))
        }
        let first = Task { try await lane.write(1) }
        await begun.reached(1)
        // Each is in the lane before the next one comes.
        let others = [2, 3, 4].map { item in Task.immediate { try await lane.write(item) } }
        mayEnd.add()
        var refused: [Int] = []
        for (item, task) in zip(1..., [first] + others) {
            do {
                #expect(try await task.value == item)
            } catch let error as PipelineError {
                #expect((error.underlying as? PostgresError)?.sqlState == state)
                refused.append(item)
            }
        }
        #expect(refused == (mayBeOnes ? [3] : [2, 3, 4]))
        let tried = batches.withLock { $0 }
        #expect(tried.prefix(2) == [[1], [2, 3, 4]])
        // Nobody waits for another one, so in any order.
        #expect(Set(tried.dropFirst(2)) == (mayBeOnes ? [[2], [3], [4]] : []))
        let stored = mayBeOnes ? 3 : 1
        #expect(lane.statistics == WriteStatistics(writes: stored, commits: stored))
    }
}
