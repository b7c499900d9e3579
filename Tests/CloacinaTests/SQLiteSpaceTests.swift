import Dispatch
import EngineTestSupport
import FoundationEssentials
import GRDB
import TestSupport
import Testing

@testable import Cloacina

/// A file that was large gives back what it no longer needs.
@Suite(.timeLimit(.minutes(5))) struct SQLiteSpaceTests {
    private static let count = 40
    /// Every tenth goes on.
    private static func goesOn(_ number: Int) -> Bool { number.isMultiple(of: 10) }
    private static let future = StoreConformance.at(3_600)

    /// A file, and what is asked of it.
    private struct File {
        let url: URL

        init(in directory: URL) { self.url = directory.appending(path: "p.db") }

        func store() async throws -> SQLiteWorkflowStore {
            var configuration = SQLiteConfiguration()
            configuration.synchronous = .normal
            return try await SQLiteWorkflowStore(opening: self.url, configuration: configuration)
        }

        var size: Int { get throws { try Data(contentsOf: self.url).count } }
    }

    /// Fills a file with some 24 MB of large values. Most of the pipelines have ended.
    private static func fill(_ store: SQLiteWorkflowStore) async throws {
        let value = try Context(["large": .string(String(repeating: "x", count: 60_000))])
        let delta = ContextDelta(from: Context(), to: value)
        let events = (0..<10).map {
            PipelineEvent(.taskCompleted, task: "t\($0)", attempt: 1, at: StoreConformance.at(1), delta: delta)
        }
        for number in 1...Self.count {
            _ = try await store.create([StoreConformance.new(number)])
            let status = Self.goesOn(number) ? PipelineStatus.running : .completed
            let change = StoreConformance.change(number, status: status, events: events)
            #expect(try await store.apply([change]) == [.applied(nil)])
        }
        try await store.database.execute("PRAGMA wal_checkpoint(PASSIVE)")
    }

    private static func freePages(_ store: SQLiteWorkflowStore) async throws -> Int {
        try #require(Int(try await store.database.texts("PRAGMA freelist_count")[0]))
    }

    /// Checks that what goes on is as it was, and the file sound.
    private static func check(_ store: SQLiteWorkflowStore) async throws {
        for number in 1...Self.count {
            let stored = try await store.load(StoreConformance.id(number))
            #expect(stored.map(\.events.count) == (Self.goesOn(number) ? 11 : nil))
            #expect(stored?.events.dropFirst().allSatisfy { $0.delta?.jsonText.utf8.count ?? 0 > 60_000 } ?? true)
        }
        for ofReader in [false, true] {
            #expect(try await store.database.texts("PRAGMA integrity_check", ofReader: ofReader) == ["ok"])
        }
    }

    @Test(arguments: [true, false]) func aFileShrinksWhenPipelinesAreDeleted(isSweep: Bool) async throws {
        try await withTemporaryDirectory { directory in
            let file = File(in: directory)
            let store = try await file.store()
            // Another process has it open, and has read it before.
            let other = try await file.store()
            try await Self.fill(store)
            #expect(try await other.load(StoreConformance.id(1))?.events.count == 11)
            let grown = try file.size
            #expect(grown > 20 << 20)
            var configuration = RunnerConfiguration()
            configuration.retention = .seconds(60)
            let runner = try DefaultRunner(
                store: store, configuration: configuration, clock: WatchedClock(at: Self.future))
            if isSweep {
                await runner.serveOnce()
            } else {
                #expect(try await runner.prune(endedBefore: Self.future) == 36)
            }
            await runner.shutDown(drain: .zero)
            #expect(try file.size < grown / 2)
            try await Self.check(other)
            try await Self.check(store)
        }
    }

    /// What comes and goes all the time finds its place without the file's end being cut and grown again.
    @Test func aLittleFreeSpaceIsKept() async throws {
        try await withTemporaryDirectory { directory in
            let store = try await File(in: directory).store()
            try await Self.fill(store)
            let few = Self.future
            #expect(try await store.prune(endedBefore: few, below: StoreConformance.id(99), limit: 5) == 5)
            // Each had 160 pages and more.
            #expect(try await Self.freePages(store) > 700)
            #expect(try await store.prune(endedBefore: few, below: StoreConformance.id(99), limit: 99) == 31)
            #expect((1_024..<1_280).contains(try await Self.freePages(store)))
            #expect(try await store.prune(endedBefore: few, below: StoreConformance.id(99), limit: 99) == 0)
            #expect((1_024..<1_280).contains(try await Self.freePages(store)))
        }
    }

    @Test func othersWriteAndReadWhileAFileShrinks() async throws {
        try await withTemporaryDirectory { directory in
            let file = File(in: directory)
            let (store, other) = (try await file.store(), try await file.store())
            try await Self.fill(store)
            async let pruned: Int = {
                var pruned = 0
                for _ in 0..<9 {
                    pruned += try await store.prune(
                        endedBefore: Self.future, below: StoreConformance.id(99), limit: 4)
                }
                return pruned
            }()
            for number in 1_000..<1_100 {
                #expect(try await other.create([StoreConformance.new(number)]) == [.created])
                #expect(try await other.load(StoreConformance.id(10))?.events.count == 11)
            }
            #expect(try await pruned == 36)
            try await Self.check(other)
            #expect(try await store.list(PipelineQuery(limit: 1_000)).count == 104)
            // Whoever read last may have held the end of it up.
            #expect(try await store.prune(endedBefore: Self.future, below: StoreConformance.id(99), limit: 4) == 0)
            try await store.database.execute("PRAGMA wal_checkpoint(PASSIVE)")
            #expect(try file.size < 12 << 20)
        }
    }

    @Test func whoReadsWhatWasBeforeHoldsNobodyUp() async throws {
        try await withTemporaryDirectory { directory in
            let file = File(in: directory)
            let (store, other) = (try await file.store(), try await file.store())
            try await Self.fill(store)
            let (begun, begin) = AsyncStream<Void>.makeStream()
            let end = DispatchSemaphore(value: 0)
            async let reading: [Int] = other.database.read { database in
                let count = { try database.rows("SELECT count(*) FROM cloacina_events") { try $0.value(Int.self) }[0] }
                let before = try count()
                begin.yield()
                end.wait()
                return [before, try count()]
            }
            for await _ in begun { break }
            #expect(
                try await store.prune(endedBefore: Self.future, below: StoreConformance.id(99), limit: 99) == 36)
            end.signal()
            #expect(try await reading == [440, 440])
            try await Self.check(other)
        }
    }

    /// An application's file, which was there before.
    @Test func aFileOfAnotherProgramKeepsItsSizeUntilItIsCompacted() async throws {
        try await withTemporaryDirectory { directory in
            let file = File(in: directory)
            let queue = try DatabaseQueue(path: file.url.path(percentEncoded: false))
            try await queue.write { try $0.execute(sql: "CREATE TABLE app (id INTEGER PRIMARY KEY)") }
            try queue.close()
            let (store, other) = (try await file.store(), try await file.store())
            try await Self.fill(store)
            let grown = try file.size
            let all = StoreConformance.id(99)
            #expect(try await store.prune(endedBefore: Self.future, below: all, limit: 99) == 36)
            #expect(try file.size >= grown)
            try await Self.check(other)
            let runner = try DefaultRunner(store: store)
            try await runner.compact()
            #expect(try file.size < grown / 2)
            try await Self.check(other)
            // From now on it goes by itself, whoever deletes.
            for number in (1...Self.count).filter(Self.goesOn) {
                let change = StoreConformance.change(number, revision: 2, status: .completed)
                #expect(try await store.apply([change]) == [.applied(nil)])
            }
            for number in 101...140 {
                _ = try await store.create([StoreConformance.new(number)])
                let detail = String(repeating: "x", count: 500_000)
                let event = PipelineEvent(
                    .taskFailed, task: "t", attempt: 1, at: StoreConformance.at(1), detail: detail)
                _ = try await store.apply([StoreConformance.change(number, status: .failed, events: [event])])
            }
            #expect(try await other.prune(endedBefore: Self.future, below: StoreConformance.id(999), limit: 99) == 44)
            #expect(try file.size < 8 << 20)
            #expect(try await store.database.texts("PRAGMA integrity_check") == ["ok"])
        }
    }

    @Test func onlyAFileCanBeCompacted() async throws {
        let runner = try DefaultRunner(store: InMemoryWorkflowStore())
        let error = await #expect(throws: PipelineError.self) { try await runner.compact() }
        #expect(error?.code == .notPossible)
    }
}
