import CloacinaPostgres
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// Claims that don't begin at the start of the queue, because another session makes that slow.
    @Suite(.timeLimit(.minutes(40))) struct OldSnapshotTests {
        private static func new(_ priority: Int, _ age: Double) -> NewPipeline {
            NewPipeline(
                id: .version7(), workflow: "w", version: "v", input: Context(),
                options: ExecutionOptions(priority: priority), owner: nil, at: Date().addingTimeInterval(-age))
        }

        private static func claim(_ limit: Int) -> QueueClaim {
            QueueClaim(runner: UUID(), workflows: ["w": "v"], limit: limit, at: Date())
        }

        @Test func whatComesBeforeTheLastPlaceIsFoundInTheEnd() async throws {
            try await EngineFixture.with { fixture in
                // Every claim from the start counts as slow.
                let store = PostgresWorkflowStore(pool: fixture.pool, label: fixture.label, slowClaim: .zero)
                var all = (0..<20).map { Self.new(0, 100 - Double($0)) }
                _ = try await store.create(all)
                var claimed = try await store.claim(Self.claim(4)).map(\.id)
                #expect(claimed == all.prefix(4).map(\.id))
                // One that is older, one that is more urgent, one that is less so.
                let late = [Self.new(0, 200), Self.new(5, 10), Self.new(-5, 10)]
                _ = try await store.create(late)
                all += late
                while true {
                    let more = try await store.claim(Self.claim(4))
                    if more.isEmpty { break }
                    claimed += more.map(\.id)
                }
                #expect(claimed.count == all.count && Set(claimed) == Set(all.map(\.id)))
            }
        }

        @Test func aClaimAfterAPlaceWalksOverNothingThatWasTakenBefore() async throws {
            try await EngineFixture.with { fixture in
                let store = PostgresWorkflowStore(pool: fixture.pool, label: fixture.label, slowClaim: .zero)
                let all = (0..<2_000).map { Self.new(0, 10_000 - Double($0)) }
                try await PostgresConnection.withConnection(try #require(TestDatabase.current).superuser) { other in
                    _ = try await other.query("BEGIN ISOLATION LEVEL REPEATABLE READ")
                    _ = try await other.query("SELECT count(*) FROM pg_class")
                    _ = try await store.create(all)
                    var claimed: [UUID] = []
                    for _ in 0..<19 { claimed += try await store.claim(Self.claim(100)).map(\.id) }
                    #expect(claimed == all.prefix(1_900).map(\.id))
                    let last = all[1_899]
                    let position = QueueCursor.Position(priority: 0, dueAt: try #require(last.dueAt), id: last.id)
                    var read: [Int] = []
                    for after in [nil, position] {
                        read.append(
                            try await fixture.queueEntriesRead(
                                by: PostgresWorkflowQueries.claim(Self.claim(1), after: after)))
                    }
                    // From the start, over everything that was taken; after the place, over next to nothing.
                    #expect(read[0] > 1_900 && read[1] < 50, "\(read)")
                    _ = try await other.query("COMMIT")
                }
            }
        }
    }
}
