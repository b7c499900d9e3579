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
}

extension EngineClock {
    package var executor: (any TaskExecutor)? { nil }

    package func random() -> UInt64 { .random(in: .min ... .max) }
}

/// The system's time. When somebody puts the clock back, it stands still until the clock has caught up, so that what is due
/// stays due and a history stays in order. Waiting goes by the monotonic clock.
package final class SystemEngineClock: EngineClock {
    private let latest = Mutex(Date.distantPast)

    package init() {}

    package func now() -> Date {
        self.latest.withLock { latest in
            latest = max(latest, Date())
            return latest
        }
    }

    package func sleep(for duration: Duration) async throws {
        try await Task.sleep(for: max(Duration.zero, duration), clock: .continuous)
    }
}
