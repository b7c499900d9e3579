import Synchronization

/// Remembers how many of a dead runner's pipelines a server puts back in the time that one statement may take.
///
/// A recovery that takes too long is rolled back as a whole, and would be again with the next sweep. So the next one is half as
/// large; each that is done in time is followed by one that may be twice as large.
final class RecoveryBatch: Sendable {
    private let largest: Int
    private let current: Mutex<Int>

    /// - Parameter largest: How many are put back at a time where nothing took too long yet.
    init(atMost largest: Int) {
        self.largest = max(1, largest)
        self.current = Mutex(max(1, largest))
    }

    /// The number to put back with the next statement.
    var limit: Int { self.current.withLock { $0 } }

    /// Notes that a statement was ended because it took too long.
    func tookTooLong() { self.current.withLock { $0 = max(1, $0 / 2) } }

    /// Notes that a statement put back so many in time: fewer than the limit tell nothing about more.
    func wasDone(_ count: Int) {
        self.current.withLock { current in
            guard count >= current else { return }
            current = current > self.largest / 2 ? self.largest : current * 2
        }
    }
}
