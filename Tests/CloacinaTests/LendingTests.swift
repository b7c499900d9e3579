import Synchronization
import Testing

@testable import Cloacina

@Suite struct LendingTests {
    @Test func onlyTheFirstAndTheLastWhoWaitsAreToldAndNobodyAfterTheEnd() {
        let notes = Mutex<[Bool]>([])
        let lending = Lending { isWaiting in notes.withLock { $0.append(isWaiting) } }
        for _ in 0..<2 { lending.begin() }
        for _ in 0..<2 { lending.end() }
        #expect(notes.withLock { $0 } == [true, false])
        // A task's code may wait on when its pipeline has ended long ago.
        lending.begin()
        lending.close()
        lending.close()
        lending.end()
        lending.begin()
        #expect(notes.withLock { $0 } == [true, false, true, false])
    }
}
