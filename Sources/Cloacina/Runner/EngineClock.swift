package import FoundationEssentials
import Synchronization

/// Where the engine's times come from; and, so that a test can have them in its hand too, its threads and its chance.
package protocol EngineClock: Sendable {
    /// The time. It never goes back, but when a clock that was far ahead is put right.
    func now() -> Date
    /// The monotonic time, by which leases are counted. It goes on while the process is stopped.
    func instant() -> ContinuousClock.Instant
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
    package func instant() -> ContinuousClock.Instant { .now }

    package var executor: (any TaskExecutor)? { nil }

    package func random() -> UInt64 { .random(in: .min ... .max) }

    package func whileWaiting<R>(_ body: () async -> R) async -> R { await body() }
}

/// The system's time. When somebody puts the clock back by a few seconds, it goes on at half its speed until the clock has
/// caught up, so that what is due comes and a history stays in order; a clock that goes back by more than ``tolerance`` was
/// wrong before, and is followed at once. Waiting goes by the monotonic clock.
package final class SystemEngineClock: EngineClock {
    private struct Reading {
        var time = Date.distantPast
        var at = ContinuousClock.now
    }

    /// How far the clock may go back without being followed.
    private static let tolerance: TimeInterval = 5
    /// How long the system is asked to wait at a time: ten years. It traps where a time is more than 63 bits of nanoseconds
    /// hold.
    private static let longestSleep = Duration.seconds(10 * 365 * 86_400)

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
            let wall = self.wall()
            let slow = latest.time.addingTimeInterval(max(0, latest.at.duration(to: at).seconds) / 2)
            if !wall.timeIntervalSinceReferenceDate.isFinite {
                latest = Reading(time: slow, at: at)
            } else if slow.timeIntervalSince(wall) > Self.tolerance {
                latest = Reading(time: wall, at: at)
            } else {
                latest = Reading(time: max(wall, slow), at: at)
            }
            return latest.time
        }
    }

    package func sleep(for duration: Duration) async throws {
        var rest = max(Duration.zero, duration)
        repeat {
            try await Task.sleep(for: min(rest, Self.longestSleep), clock: .continuous)
            rest -= Self.longestSleep
        } while rest > .zero
    }
}

extension Duration {
    /// A duration of so many seconds, held at a hundred years either way, and zero when it is no number, where
    /// `Duration.seconds(_:)` traps.
    package static func clamped(seconds: Double) -> Duration {
        let century = 100 * 365.25 * 86_400
        return seconds.isNaN ? .zero : .seconds(min(max(seconds, -century), century))  // can't trap: a century at most
    }

    /// The duration, or a hundred years when it is longer: nothing adds up to what traps.
    var atMostACentury: Duration { min(self, .clamped(seconds: .infinity)) }
}
