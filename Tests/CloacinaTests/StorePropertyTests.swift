import EngineTestSupport
import FoundationEssentials
import TestSupport
import Testing

@testable import Cloacina

/// Histories that real runners live in files and in memory. `CLOACINA_TEST_STORE_HISTORIES` sets how many (`admin/test` asks for
/// 5,000, in a run of their own), `CLOACINA_TEST_SEED` the first one's seed.
@Suite(.serialized, .timeLimit(.minutes(20))) struct StorePropertyTests {
    private static let shares = StoreProperty.shares(otherwise: 300)

    @Test(.serialized, arguments: Self.shares)
    func whatAnyoneIsToldOfAHistoryInAFileIsWhatIsStored(share: StoreProperty.Share) async throws {
        try await withTemporaryDirectory { directory in
            var configuration = SQLiteConfiguration()
            configuration.synchronous = .normal
            var files: [[SQLiteWorkflowStore]] = []
            for file in 0..<4 {
                let url = directory.appending(path: "\(file).db")
                // As two processes have it, with connections of their own.
                files.append([
                    try await SQLiteWorkflowStore(opening: url, configuration: configuration),
                    try await SQLiteWorkflowStore(opening: url, configuration: configuration),
                ])
            }
            let (tally, violations) = await StoreProperty.live(share, on: "SQLite") { [files] seed in
                let file = files[Int(seed % 4)]
                // Those who write to one file wait for each other's locks, which takes its time.
                let areApart = seed / 4 % 8 == 0
                return StoreProperty.Stores(reader: file[1]) { process in file[areApart ? process % 2 : 0] }
            }
            self.check(tally, violations)
        }
    }

    @Test(.serialized, arguments: Self.shares)
    func whatAnyoneIsToldOfAHistoryInMemoryIsWhatIsStored(share: StoreProperty.Share) async throws {
        let (tally, violations) = await StoreProperty.live(share, on: "memory") { _ in
            let store = InMemoryWorkflowStore()
            return StoreProperty.Stores(reader: store) { _ in store }
        }
        self.check(tally, violations)
    }

    private func check(_ tally: StoreProperty.Tally, _ violations: [any Error]) {
        for violation in violations { Issue.record("\(violation)") }
        guard tally[.histories] >= 200 else { return }
        for kind in StoreProperty.Tally.Kind.allCases where kind != .ownCommits && kind != .newVersions {
            #expect(tally[kind] > 0, "\(kind): \(tally)")
        }
    }
}
