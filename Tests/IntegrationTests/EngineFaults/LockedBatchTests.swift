import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Synchronization
import Testing

@testable import Cloacina

extension ServerTests {
    /// Transitions that are written together, of which another session has locked one's pipeline.
    @Suite(.timeLimit(.minutes(40))) struct LockedBatchTests {
        /// A task that is committing holds such a lock until its commit is done, however long that takes.
        @Test func whoIsWrittenTogetherWithALockedPipelineDoesNotWaitForIt() async throws {
            try await EngineFixture.with(connections: 8) { fixture in
                let (isWriting, mayWrite) = (Gate(), Gate())
                let store = WatchedStore(
                    fixture.store,
                    before: { call, number throws(PipelineError) in
                        guard call == .apply, number == 1 else { return }
                        isWriting.open()
                        await mayWrite.wait()
                    })
                _ = try await store.create((0...12).map { StoreConformance.new($0) })
                let writer = WriteBatcher(store, maximumFlushes: 1)
                let ended = Mutex<[Int]>([])
                let write: @Sendable (Int) async throws -> Void = { number in
                    defer { ended.withLock { $0.append(number) } }
                    let outcome = try await writer.apply(StoreConformance.change(number))
                    #expect(outcome == .applied(nil))
                }
                let locked = try await fixture.pool.withConnection(fixture.label) { lease in
                    try await lease.withTransaction { transaction in
                        try await transaction.query(
                            "SELECT id FROM cloacina_pipelines WHERE id = \(StoreConformance.id(1)) FOR SHARE")
                        let first = Task.immediate { try await write(0) }
                        await isWriting.wait()
                        // These gather meanwhile.
                        let locked = Task.immediate { try await write(1) }
                        let others = (2...11).map { number in Task.immediate { try await write(number) } }
                        mayWrite.open()
                        for other in [first] + others { try await other.value }
                        // What comes later doesn't wait either, and goes by the same lane.
                        try await write(12)
                        return locked
                    }
                }
                // It may have waited for as long as the store lets it.
                if await (try? locked.value) == nil { try await write(1) }
                #expect(Set(ended.withLock { $0.prefix(12) }) == Set([0] + Array(2...12)))
                for number in 0...12 {
                    #expect(try await store.load(StoreConformance.id(number))?.revision == 2)
                }
            }
        }
    }
}
