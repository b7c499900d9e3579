import Synchronization
import Testing

@testable import CloacinaPostgres

@Suite struct SerialGateTests {
    private final class Counter: Sendable {
        let inside = Atomic(0)
    }

    @Test func onlyOneIsInsideAtATime() async throws {
        let gate = SerialGate()
        let counter = Counter()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<100 {
                group.addTask {
                    try await gate.withTurn {
                        #expect(counter.inside.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue == 1)
                        await Task.yield()
                        counter.inside.wrappingSubtract(1, ordering: .sequentiallyConsistent)
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    @Test func aCancelledWaiterLeavesTheQueue() async throws {
        let gate = SerialGate()
        try await gate.withTurn {
            let waiting = Task { try await gate.withTurn { Issue.record("it was cancelled") } }
            waiting.cancel()
            let result = await waiting.result
            #expect(throws: CancellationError.self) { try result.get() }
        }
        try await gate.withTurn {}
    }

    @Test func theTurnEndsWhenTheClosureThrows() async throws {
        struct Stop: Error {}
        let gate = SerialGate()
        await #expect(throws: Stop.self) { try await gate.withTurn { throw Stop() } }
        try await gate.withTurn {}
    }
}
