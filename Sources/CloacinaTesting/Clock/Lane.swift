import Cloacina
import FoundationEssentials

/// Where one process does all its work, one thing at a time.
final class Lane: TaskExecutor {
    let process: Int
    private let clock: TestClock

    init(_ clock: TestClock, process: Int) {
        self.clock = clock
        self.process = process
    }

    func enqueue(_ job: consuming ExecutorJob) {
        self.clock.enqueue(UnownedJob(job), on: self)
    }
}

/// A test's clock as the engine wants it.
struct LaneClock: EngineClock {
    let clock: TestClock
    let lane: Lane
    /// The monotonic time at the clock's beginning.
    private let beginning = ContinuousClock.now

    init(_ clock: TestClock) {
        self.clock = clock
        self.lane = clock.makeLane()
    }

    var executor: (any TaskExecutor)? { self.lane }

    func now() -> Date { self.clock.date }

    func instant() -> ContinuousClock.Instant { self.beginning.advanced(by: self.clock.now.offset) }

    func sleep(for duration: Duration) async throws {
        try await self.clock.sleep(until: self.clock.now.advanced(by: duration))
    }

    func random() -> UInt64 { self.clock.random() }

    func whileWaiting<R>(_ body: () async -> R) async -> R { await self.clock.whileWaiting(body) }
}
