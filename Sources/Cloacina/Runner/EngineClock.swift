package import FoundationEssentials
import Synchronization

/// Where the engine's times come from; and, so that a test can have them in its hand too, its threads and its chance.
package protocol EngineClock: Sendable {
    /// The time. It never goes back.
    func now() -> Date
    /// Waits; throws when the task is cancelled.
    func sleep(for duration: Duration) async throws
    /// Where everything runs that the engine starts, tasks' code included; the global pool when nil.
    var executor: (any TaskExecutor)? { get }
    /// The number that decides the jitter of a retry.
    func random() -> UInt64
    /// Runs a part of a task's code that does nothing but wait for another pipeline.
    func whileWaiting<R>(_ body: () async -> R) async -> R
}

extension EngineClock {
    package var executor: (any TaskExecutor)? { nil }

    package func random() -> UInt64 { .random(in: .min ... .max) }

    package func whileWaiting<R>(_ body: () async -> R) async -> R { await body() }
}

/// The system's time. When somebody puts the clock back, it goes on at half its speed until the clock has caught up, so that
/// what is due comes, a history stays in order, and in the end all agree again. Waiting goes by the monotonic clock.
package final class SystemEngineClock: EngineClock {
    private struct Reading {
        var time = Date.distantPast
        var at = ContinuousClock.now
    }

    private let latest = Mutex(Reading())
    private let wall: @Sendable () -> Date
    private let monotonic: @Sendable () -> ContinuousClock.Instant

    /// - Parameters:
    ///   - wall: The time that somebody may put back.
    ///   - monotonic: The time that nobody can.
    package init(
        wall: @escaping @Sendable () -> Date = { Date() },
        monotonic: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
    ) {
        self.wall = wall
        self.monotonic = monotonic
    }

    package func now() -> Date {
        self.latest.withLock { latest in
            let at = self.monotonic()
            let slow = latest.time.addingTimeInterval(max(0, latest.at.duration(to: at).seconds) / 2)
            latest = Reading(time: max(self.wall(), slow), at: at)
            return latest.time
        }
    }

    package func sleep(for duration: Duration) async throws {
        try await Task.sleep(for: max(Duration.zero, duration), clock: .continuous)
    }
}
