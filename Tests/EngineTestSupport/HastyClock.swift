import Cloacina
package import FoundationEssentials

/// The system's time, whose waits are short: for whoever waits in vain for long, and for retries and polls, which nobody
/// needs to wait for. Heartbeats alone take their time, for each is a write.
package struct HastyClock: EngineClock {
    /// The one wait that lasts as long as it is.
    package static let heartbeat: Duration = .milliseconds(211)
    /// How long any other wait lasts at most.
    private static let longest: Duration = .milliseconds(20)

    private let system = SystemEngineClock()

    package init() {}

    package func now() -> Date { self.system.now() }

    package func sleep(for duration: Duration) async throws {
        try await self.system.sleep(for: duration == Self.heartbeat ? duration : min(duration, Self.longest))
    }
}
