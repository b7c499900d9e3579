import EngineTestSupport
import FoundationEssentials
import TestSupport
import Testing

/// `CLOACINA_TEST_HISTORIES` sets how many lives are lived (`admin/test` asks for 100,000, in a run of their own),
/// `CLOACINA_TEST_SEED` the first one's seed.
@Suite struct ReplayPropertyTests {
    private static let environment = ProcessInfo.processInfo.environment
    private static let histories = Int(Self.environment["CLOACINA_TEST_HISTORIES"] ?? "") ?? 2_000
    private static let seed = UInt64(Self.environment["CLOACINA_TEST_SEED"] ?? "") ?? .random(in: 0...(.max >> 1))

    @Test(arguments: 0..<2) func theLiveMachineEqualsItsReplayAtEveryRevision(part: Int) async throws {
        print("replay property: part \(part) of \(Self.histories) lives from seed \(Self.seed)")
        for life in stride(from: part, to: Self.histories, by: 2) {
            var property = try ReplayProperty(seed: Self.seed &+ UInt64(life))
            try property.run()
            // The other tests need the threads too.
            await Task.yield()
        }
    }

    @Test(arguments: [UInt64]()) func aLifeThatOnceWentWrongGoesRight(seed: UInt64) throws {
        var property = try ReplayProperty(seed: seed)
        try property.run()
    }
}
