package import FoundationEssentials
import Synchronization

/// Where the engine's times come from.
package protocol EngineClock: Sendable {
    /// The time. It never goes back.
    func now() -> Date
    /// Waits; throws when the task is cancelled.
    func sleep(for duration: Duration) async throws
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
