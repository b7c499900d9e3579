import EngineTestSupport
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// What is older than its retention goes, and nothing else. What stores promise of it is in ``StoreConformance/aging``.
@Suite(.timeLimit(.minutes(5))) struct RetentionTests {
    /// A store that says it has so many old pipelines, and remembers what it was asked to delete.
    private final class CrowdedStore: ForwardingWorkflowStore {
        let underlying: any WorkflowStore = InMemoryWorkflowStore()
        private let left: Mutex<Int>
        private let asked = Mutex<[(time: Date, bound: UUID)]>([])

        init(_ count: Int) { self.left = Mutex(count) }

        var count: Int { self.left.withLock { $0 } }
        var calls: [(time: Date, bound: UUID)] { self.asked.withLock { $0 } }

        func prune(endedBefore time: Date, below bound: UUID, limit: Int) async throws(PipelineError) -> Int {
            self.asked.withLock { $0.append((time, bound)) }
            return self.left.withLock { left in
                let pruned = min(limit, left)
                left -= pruned
                return pruned
            }
        }
    }

    private static func sweep(_ store: CrowdedStore, retention: Duration?) async throws {
        var configuration = RunnerConfiguration()
        configuration.retention = retention
        let clock = WatchedClock(at: StoreConformance.start)
        let runner = try DefaultRunner(store: store, configuration: configuration, clock: clock)
        await runner.serveOnce()
        await runner.shutDown(drain: .zero)
    }

    @Test func oneSweepDeletesAllThatIsOld() async throws {
        let store = CrowdedStore(2_500)
        try await Self.sweep(store, retention: .seconds(60))
        #expect(store.count == 0 && store.calls.count == 3)
        for (time, bound) in store.calls {
            #expect(time == StoreConformance.at(-60))
            // What began long after that time can't have ended before it, whatever the clock of who created it said.
            #expect(bound.uuidString > UUID.version7(at: StoreConformance.at(600)).uuidString)
            #expect(bound.uuidString < UUID.version7(at: StoreConformance.at(7_200)).uuidString)
        }
    }

    @Test func withoutARetentionEverythingIsKept() async throws {
        let store = CrowdedStore(1)
        try await Self.sweep(store, retention: nil)
        #expect(store.calls.isEmpty)
    }

    @Test func aChildIsKeptUntilItsParentHasEnded() async throws {
        let (begun, mayEnd) = (Tally(), Tally())
        let child = try Workflow("child") { WorkflowTask("t") { _ in } }
        let parent = try Workflow("parent") {
            WorkflowTask("p") { _, scope in
                try await scope.execute("child").completed()
                begun.add()
                await mayEnd.reached(1)
            }
        }
        let runner = try DefaultRunner(store: InMemoryWorkflowStore(), workflows: [child, parent])
        let execution = try await runner.executeAsync("parent")
        await begun.reached(1)
        let future = Date().addingTimeInterval(3_600)
        #expect(try await runner.prune(endedBefore: future) == 0)
        #expect(try await runner.list(PipelineQuery(workflow: "child")).map(\.status) == [.completed])
        mayEnd.add()
        try await execution.result().completed()
        #expect(try await runner.prune(endedBefore: future) == 2)
    }

    @Test func aFileIsReadOnlyAsFarAsItIsOld() async throws {
        try await withTemporaryDirectory { directory in
            let store = try await SQLiteWorkflowStore(opening: directory.appending(path: "p.db"))
            let steps = try await store.database.plan(of: SQLiteQueries.ended).filter { $0.hasPrefix("S") }
            // By the key, in its order; the parent by its key.
            #expect(steps.count == 2)
            #expect(steps.allSatisfy { $0.hasPrefix("SEARCH") && $0.contains("(id") }, "\(steps)")
        }
    }

    /// The lines of what is old go in parts, each in a transaction of its own, and the pipelines with the last of them.
    @Test func aFilesVeryLongHistoriesAreDeletedInParts() async throws {
        try await withTemporaryDirectory { directory in
            let store = try await SQLiteWorkflowStore(opening: directory.appending(path: "p.db"), linesPerDeletion: 100)
            try await StoreConformance.fillHistories(of: 3, lines: 250, in: store)
            // From some line on none can be deleted.
            try await store.database.execute(
                """
                CREATE TRIGGER refuse BEFORE DELETE ON cloacina_events
                WHEN (SELECT count(*) FROM cloacina_events) <= 330 BEGIN SELECT RAISE(ABORT, 'enough'); END
                """)
            await #expect(throws: PipelineError.self) { try await StoreConformance.pruneAll(in: store) }
            // What was deleted before stays so, and a pipeline goes with the last of its lines.
            let left = try await store.events(EventQuery(limit: 10_000)).count
            #expect((331...450).contains(left), "\(left)")
            let pipelines = try await store.list(PipelineQuery()).map(\.id)
            #expect(pipelines == [3, 2].map(StoreConformance.id))
            try await store.database.execute("DROP TRIGGER refuse")
            #expect(try await StoreConformance.pruneAll(in: store) == 2)
            #expect(try await store.events(EventQuery()).isEmpty)
            #expect(try await store.list(PipelineQuery()).isEmpty)
        }
    }
}
