import FoundationEssentials
import Synchronization

@testable import Cloacina
@testable import CloacinaTesting

/// The test kit's clock, moved by hand, under an engine: so a test can wait until nothing more happens by itself.
///
/// A task that waits for a `Tally` or for this clock is not waited for; what tasks' code starts with `Task { … }` runs elsewhere.
struct HandClock: EngineClock {
    /// The date it shows at first.
    let start: Date
    private let clock: TestClock
    private let lane: LaneClock

    init(at start: Date = Date(timeIntervalSince1970: 1_790_000_000)) {
        self.start = start
        self.clock = TestClock(startingAt: start, moving: .byHand)
        self.lane = LaneClock(self.clock)
    }

    /// How many wait for the clock.
    var sleepers: Int { self.clock.state.withLock { $0.sleepers.count } }

    /// The date that it shows, or will show, so many seconds after its beginning.
    func date(_ seconds: Double) -> Date { self.start.addingTimeInterval(seconds) }

    /// Returns when nothing more can happen until the clock moves, or the test lets somebody go on.
    func settle() async { await self.clock.advance(by: .zero) }

    /// Moves the clock on, waking whoever is due on the way one after the other, each when what the one before did is done.
    func advance(by duration: Duration) async { await self.clock.advance(by: duration) }

    /// Does something where the engine works, so that ``settle()`` waits for it too, but not the test.
    @discardableResult
    func begin<R: Sendable>(_ body: @escaping @Sendable () async throws -> R) -> Task<R, any Error> {
        Task(executorPreference: self.executor) { try await body() }
    }

    /// Makes a runner that goes by this clock.
    func runner(
        _ workflows: Workflow..., store: any WorkflowStore, _ change: (inout RunnerConfiguration) -> Void = { _ in }
    ) throws -> DefaultRunner {
        var configuration = RunnerConfiguration()
        change(&configuration)
        return try DefaultRunner(store: store, workflows: workflows, configuration: configuration, clock: self)
    }

    // MARK: The engine's view

    var executor: (any TaskExecutor)? { self.lane.executor }

    func now() -> Date { self.lane.now() }

    func instant() -> ContinuousClock.Instant { self.lane.instant() }

    func sleep(for duration: Duration) async throws { try await self.lane.sleep(for: duration) }

    func random() -> UInt64 { self.lane.random() }
}
