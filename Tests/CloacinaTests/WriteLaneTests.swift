import CloacinaPostgres
import CloacinaWorkflow
import EngineTestSupport
import FoundationEssentials
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

    /// A server and this process hold of one commit several times what is stored.
    @Test func whatGoesTogetherIsBoundedInBytes() async throws {
        let (begun, mayEnd) = (Tally(), Tally())
        let batches = Mutex<[[Int]]>([])
        let lane = WriteLane<Int, Int>(
            maximumFlushes: 1, metrics: EngineMetrics(factory: MetricsRecorder()), size: { $0 << 20 }
        ) { (items: [Int]) async throws(PipelineError) -> [Int] in
            batches.withLock { $0.append(items) }
            begun.add()
            await mayEnd.reached(1)
            return items
        }
        let first = Task { try await lane.write(1) }
        await begun.reached(1)
        let others = [7, 7, 7, 20, 1, 14].map { item in Task.immediate { try await lane.write(item) } }
        mayEnd.add()
        for task in [first] + others { _ = try await task.value }
        #expect(batches.withLock { $0 } == [[1], [7, 7], [7], [20], [1, 14]])
    }

    @Test func theSizeOfAChangeIsThatOfItsTexts() throws {
        let delta = ContextDelta(["a": .set(.string(String(repeating: "x", count: 5_000)))])
        var change = StoreConformance.change(
            1, events: [PipelineEvent(.taskCompleted, task: "t", at: StoreConformance.at(1), delta: delta)])
        change.transition.output = String(repeating: "y", count: 700)
        #expect((5_700...5_800).contains(change.writtenBytes))
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

    /// One of several has to wait for somebody's lock: those that are tried by themselves then don't wait for it.
    @Test func whoIsTriedAloneWaitsForNobody() async throws {
        let (clock, mayEnd) = (HandClock(), [Tally(), Tally()])
        let batches = Mutex<[[Int]]>([])
        let lane = WriteLane<Int, Int>(
            maximumFlushes: 1, executor: clock.executor, metrics: EngineMetrics(factory: MetricsRecorder())
        ) { (items: [Int]) async throws(PipelineError) -> [Int] in
            batches.withLock { $0.append(items) }
            if items.count > 1 { throw Self.contention }
            await mayEnd[items == [0] ? 0 : 1].reached(1)
            return items
        }
        let first = clock.begin { try await lane.write(0) }
        await clock.settle()
        let others = (1...4).map { item in clock.begin { try await lane.write(item) } }
        await clock.settle()
        #expect(batches.withLock { $0 } == [[0]])
        mayEnd[0].add()
        await clock.settle()
        let tried = batches.withLock { $0 }
        #expect(tried.prefix(2) == [[0], [1, 2, 3, 4]])
        // None of them has been answered yet.
        #expect(Set(tried.dropFirst(2)) == [[1], [2], [3], [4]])
        mayEnd[1].add()
        for (item, task) in zip(0..., [first] + others) { #expect(try await task.value == item) }
        #expect(batches.withLock { $0.count } == 6)
    }

    /// One of several waits for somebody's lock for long: what comes later goes its way.
    @Test func whoHasToWaitAloneHoldsUpNobodyWhoComesLater() async throws {
        let (clock, mayBegin, mayEnd) = (HandClock(), Tally(), Tally())
        let lane = WriteLane<Int, Int>(
            maximumFlushes: 1, executor: clock.executor, metrics: EngineMetrics(factory: MetricsRecorder())
        ) { (items: [Int]) async throws(PipelineError) -> [Int] in
            if items == [0] { await mayBegin.reached(1) }
            if items.contains(3), items.count > 1 { throw Self.contention }
            if items == [3] { await mayEnd.reached(1) }
            return items
        }
        let first = clock.begin { try await lane.write(0) }
        await clock.settle()
        let ended = Mutex<[Int]>([])
        let others = (1...4).map { item in
            clock.begin {
                let item = try await lane.write(item)
                ended.withLock { $0.append(item) }
            }
        }
        await clock.settle()
        mayBegin.add()
        await clock.settle()
        #expect(ended.withLock { $0.sorted() } == [1, 2, 4])
        #expect(try await lane.write(5) == 5)
        #expect(ended.withLock { $0.count } == 3)
        mayEnd.add()
        for task in others { try await task.value }
        #expect(try await first.value == 0)
    }

    private static let contention = PipelineError(
        .storageFailed, "on demand", underlying: PostgresError(.rejectedByServer, sqlState: "55P03"))

    /// A store in which somebody else holds the key "k", and others' creations wait until they are let go.
    private final class ContendedStore: ForwardingWorkflowStore {
        let underlying: any WorkflowStore = InMemoryWorkflowStore()
        /// How often the key was tried, and how many creations of others have begun.
        let (tries, others) = (Tally(), Tally())
        let mayCreate = Tally()
        private let state = Mutex((isHeld: true, sizes: [Int](), isTriedWithOthers: false))

        /// How many of others' were created at a time.
        var sizes: [Int] { self.state.withLock { $0.sizes } }
        /// Whether the key was tried together with others.
        var isTriedWithOthers: Bool { self.state.withLock { $0.isTriedWithOthers } }

        func letKeyGo() { self.state.withLock { $0.isHeld = false } }

        func create(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [Creation] {
            if pipelines.contains(where: { $0.options.idempotencyKey == "k" }) {
                let isHeld = self.state.withLock { state in
                    state.isTriedWithOthers = state.isTriedWithOthers || pipelines.count > 1
                    return state.isHeld
                }
                self.tries.add()
                if isHeld { throw WriteLaneTests.contention }
            } else {
                self.state.withLock { $0.sizes.append(pipelines.count) }
                self.others.add()
                await self.mayCreate.reached(1)
            }
            return try await self.underlying.create(pipelines)
        }
    }

    @Test func aKeyThatIsHeldIsTriedAgainWithoutTheOthers() async throws {
        let store = ContendedStore()
        var configuration = RunnerConfiguration()
        configuration.databasePatience = .seconds(3_600)
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
        let runner = try DefaultRunner(store: store, workflows: [workflow], configuration: configuration)
        let waiting = Task { try await runner.enqueue("w", options: ExecutionOptions(idempotencyKey: "k")).id }
        await store.tries.reached(1)
        // Two are on their way, one after the other, and the next ones wait for a place.
        var sent: [Task<UUID, any Error>] = []
        for number in 1...2 {
            sent.append(Task { try await runner.enqueue("w").id })
            await store.others.reached(number)
        }
        sent += (0..<5).map { _ in Task.immediate { try await runner.enqueue("w").id } }
        // The key is tried all the same, and goes into no batch.
        await store.tries.reached(store.tries.count + 2)
        store.mayCreate.add()
        var ids: Set<UUID> = []
        for task in sent { ids.insert(try await task.value) }
        #expect(ids.count == 7)
        #expect(store.sizes == [1, 1, 5])
        #expect(!store.isTriedWithOthers)
        #expect(runner.writeStatistics == WriteStatistics(writes: 7, commits: 3))
        store.letKeyGo()
        ids.insert(try await waiting.value)
        #expect(try await Set(runner.list().map(\.id)) == ids)
        await runner.shutDown(drain: .zero)
    }
}
