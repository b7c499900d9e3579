import Testing

@testable import Cloacina

/// The number of pipelines that a recovery puts back at a time (S19).
@Suite struct RecoveryBatchTests {
    @Test func whatTookTooLongIsHalvedAndGrowsAgain() {
        let batch = RecoveryBatch(atMost: 100)
        #expect(batch.limit == 100)
        batch.tookTooLong()
        batch.tookTooLong()
        #expect(batch.limit == 25)
        // Fewer than the limit tell nothing about more.
        batch.wasDone(24)
        #expect(batch.limit == 25)
        batch.wasDone(25)
        #expect(batch.limit == 50)
        for _ in 0..<3 { batch.wasDone(1_000) }
        #expect(batch.limit == 100)
        for _ in 0..<20 { batch.tookTooLong() }
        #expect(batch.limit == 1)
    }

    @Test(arguments: [0, -1, Int.min]) func oneIsAlwaysPutBack(largest: Int) {
        let batch = RecoveryBatch(atMost: largest)
        batch.tookTooLong()
        #expect(batch.limit == 1)
        batch.wasDone(.max)
        #expect(batch.limit == 1)
    }
}
