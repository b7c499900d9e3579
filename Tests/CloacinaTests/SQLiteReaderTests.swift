import Dispatch
import EngineTestSupport
import FoundationEssentials
import TestSupport
import Testing

@testable import Cloacina

/// What the settings of a file promise has to hold on each of its connections, not only on the first.
@Suite(.timeLimit(.minutes(5))) struct SQLiteReaderTests {
    @Test(arguments: SQLiteConfiguration.Synchronous.allCases)
    func readersAtTheSameTimeAllHaveTheSettings(synchronous: SQLiteConfiguration.Synchronous) async throws {
        try await withTemporaryDirectory { directory in
            var configuration = SQLiteConfiguration()
            configuration.synchronous = synchronous
            configuration.busyTimeout = .milliseconds(1_234)
            configuration.maximumReaders = 3
            let store = try await SQLiteWorkflowStore(
                opening: directory.appending(path: "p.db"), configuration: configuration)
            // Reads block threads of the connections' own, so these may wait for each other.
            let arrived = DispatchSemaphore(value: 0)
            let mayLeave = DispatchSemaphore(value: 0)
            let pragmas = [
                "synchronous", "foreign_keys", "busy_timeout", "trusted_schema", "cell_size_check",
                "journal_size_limit",
            ]
            let read = { @Sendable () async throws -> [Int] in
                try await store.database.read { database in
                    var settings: [Int] = []
                    for pragma in pragmas {
                        settings += try database.rows("PRAGMA \(pragma)") { try $0.value(Int.self) }
                    }
                    arrived.signal()
                    mayLeave.wait()
                    return settings
                }
            }
            async let first = read()
            async let second = read()
            async let third = read()
            // None leaves before all have come: each has a connection of its own.
            let all = await Self.outside { (0..<3).allSatisfy { _ in arrived.wait(timeout: .now() + 60) == .success } }
            for _ in 0..<3 { mayLeave.signal() }
            let found = try await [first, second, third]
            #expect(all, "the readers had to wait for each other")
            let level = synchronous == .full ? 2 : 1
            #expect(found == Array(repeating: [level, 1, 1_234, 0, 1, 16_777_216], count: 3))
        }
    }

    @Test func readersAtTheSameTimeSeeWhatIsCommitted() async throws {
        try await withTemporaryDirectory { directory in
            let store = try await SQLiteWorkflowStore(opening: directory.appending(path: "p.db"))
            let news = (1...20).map { StoreConformance.new($0) }
            _ = try await store.create(news)
            let found = try await withThrowingTaskGroup(of: Int?.self) { group in
                for new in news { group.addTask { try await store.load(new.id)?.events.count } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(found == Array(repeating: 1, count: 20))
        }
    }

    /// Waits on a thread that may be blocked.
    private static func outside(_ body: @escaping @Sendable () -> Bool) async -> Bool {
        await withCheckedContinuation { continuation in
            DispatchQueue(label: "test").async { continuation.resume(returning: body()) }
        }
    }
}
