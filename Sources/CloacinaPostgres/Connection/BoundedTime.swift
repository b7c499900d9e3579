extension Duration {
    /// The longest time that anything here waits or keeps; clocks and sleeps can count it.
    static var century: Duration { .seconds(3_155_760_000) }

    /// The duration, not below zero and not above a century: `.seconds(Int64.max)` is a common way to write "no limit".
    var bounded: Duration { max(.zero, min(self, .century)) }

    /// Whole nanoseconds of the bounded duration.
    var boundedNanoseconds: Int64 {
        let parts = self.bounded.components
        return parts.seconds * 1_000_000_000 + parts.attoseconds / 1_000_000_000
    }

    /// Milliseconds of the bounded duration, rounded up.
    var boundedMilliseconds: Int64 {
        let parts = self.bounded.components
        return parts.seconds * 1000 + (parts.attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
    }
}

extension ContinuousClock.Instant {
    /// The instant that is a bounded duration from now.
    static func fromNow(_ duration: Duration) -> Self { Self.now.advanced(by: duration.bounded) }

    /// The instant, or one a century from now when it is later: `Task.sleep` traps where the nanoseconds overflow.
    var bounded: Self { min(self, .fromNow(.century)) }
}
