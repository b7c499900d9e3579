/// How long to wait before another attempt: twice as long each time, up to a limit, and never all at the same moment.
package struct RetrySchedule: Sendable, Hashable {
    /// The first wait at most.
    let first: Duration
    /// Any wait at most.
    let longest: Duration

    package init(first: Duration, longest: Duration) {
        self.first = first
        self.longest = longest
    }

    /// The wait after the given number of failed attempts: between half of the full wait and all of it.
    /// - Parameter random: In 0…1.
    package func wait(afterAttempt attempt: Int, random: Double) -> Duration {
        let full = min(self.longest, self.first * Double(1 << min(max(attempt, 1) - 1, 30)))
        return full * (0.5 + random / 2)
    }
}

/// The clock and the dice, handed in so that tests need neither.
package struct MigrationPace: Sendable {
    package var now: @Sendable () -> ContinuousClock.Instant
    package var sleep: @Sendable (Duration) async throws -> Void
    /// In 0…1.
    package var random: @Sendable () -> Double

    package init(
        now: @escaping @Sendable () -> ContinuousClock.Instant = { .now },
        sleep: @escaping @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) },
        random: @escaping @Sendable () -> Double = { .random(in: 0...1) }
    ) {
        self.now = now
        self.sleep = sleep
        self.random = random
    }
}
