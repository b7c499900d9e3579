import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

/// Rows that nobody of this version wrote, in a queue that others wait in.
@Suite(.timeLimit(.minutes(5))) struct UnreadableRowTests {
    private func withStore(_ body: (SQLiteWorkflowStore) async throws -> Void) async throws {
        let place = FileManager.default.temporaryDirectory.appending(path: "unreadable-\(UUID())")
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: place) }
        try await body(SQLiteWorkflowStore(opening: place.appending(path: "p.sqlite")))
    }

    @Test func anUnreadableRowHoldsUpNoOther() async throws {
        try await self.withStore { store in
            for number in 1...3 { _ = try await store.create([StoreConformance.new(number, owner: nil)]) }
            // One has begun once, and its history is damaged.
            let begun = try #require(try await store.claim(StoreConformance.claim(limit: 3)).last)
            var transition = PipelineTransition(expectedRevision: begun.revision)
            transition.status = .queued
            transition.dueAt = begun.createdAt
            let back = PipelineChange(id: begun.id, epoch: begun.epoch, at: begun.createdAt, transition: transition)
            #expect(try await store.apply([back]) == [.applied(nil)])
            for number in [4, 5] { _ = try await store.create([StoreConformance.new(number, owner: nil)]) }
            try await store.database.execute(
                """
                UPDATE cloacina_events SET delta = '[]' WHERE pipeline_id = (
                    SELECT id FROM cloacina_pipelines WHERE state = 'queued' ORDER BY id LIMIT 1);
                UPDATE cloacina_pipelines SET input = '[' WHERE id = (SELECT max(id) FROM cloacina_pipelines)
                """)
            let claimed = try await store.claim(StoreConformance.claim(limit: 10))
            #expect(claimed.map(\.id) == [StoreConformance.id(4)])
            let aside = try await store.list(PipelineQuery(statuses: [.paused]))
            #expect(Set(aside.map(\.id)) == [begun.id, StoreConformance.id(5)])
            #expect(try await store.claim(StoreConformance.claim(limit: 10)).isEmpty)
        }
    }

    @Test func othersTakeThePlaceOfThoseThatCantBeRead() async throws {
        try await self.withStore { store in
            _ = try await store.create((1...12).map { StoreConformance.new($0, owner: nil) })
            try await store.database.execute(
                """
                UPDATE cloacina_pipelines SET input = '['
                WHERE id IN (SELECT id FROM cloacina_pipelines ORDER BY id LIMIT 7)
                """)
            // Seven are in the way of the first three.
            let claimed = try await store.claim(StoreConformance.claim(limit: 3))
            #expect(claimed.map(\.id) == [8, 9, 10].map(StoreConformance.id))
            #expect(try await store.list(PipelineQuery(statuses: [.paused])).count == 7)
            let rest = try await store.claim(StoreConformance.claim(limit: 3))
            #expect(rest.map(\.id) == [11, 12].map(StoreConformance.id))
        }
    }
}
