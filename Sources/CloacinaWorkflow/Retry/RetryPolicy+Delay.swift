extension RetryPolicy {
    /// The longest pause that an error may dictate: a day. What asks for more is held to be a mistake or worse.
    public static let maximumRetryAfter = Duration.seconds(86_400)

    /// How long to wait before an attempt: `min(maxDelay, backoff × jitter)`, to the nanosecond.
    ///
    /// Any input gives an answer. The first attempt, an attempt number below it, and a delay that is negative or not a number
    /// give zero; what is too large for a `Duration` is ``maxDelay``.
    ///
    /// - Parameters:
    ///   - attempt: The attempt that is to start: 2 after the first failure.
    ///   - generator: Where the jitter comes from. One number is drawn when ``jitter`` is on, none when it is off.
    public func delay(beforeAttempt attempt: Int, using generator: inout some RandomNumberGenerator) -> Duration {
        guard attempt >= 2 else { return .zero }
        let delay = self.backoff.attoseconds(afterFailure: attempt - 1, initialDelay: self.initialDelay)
        let factor = self.jitter ? Double.random(in: 0.75...1.25, using: &generator) : 1
        return Self.duration(attoseconds: delay * factor, cap: self.maxDelay)
    }

    /// How long to wait before an attempt, given what the one before ended with.
    ///
    /// A failure with a ``TaskFailure/retryAfter`` is waited for as long as that says, or up to a quarter longer where
    /// ``jitter`` is on, but never shorter: trying again before the other side is ready is an attempt thrown away. For the
    /// same reason ``maxDelay`` doesn't cut it; ``maximumRetryAfter`` does.
    public func delay(
        beforeAttempt attempt: Int, after failure: TaskFailure, using generator: inout some RandomNumberGenerator
    ) -> Duration {
        guard attempt >= 2, let retryAfter = failure.retryAfter else {
            return self.delay(beforeAttempt: attempt, using: &generator)
        }
        let factor = self.jitter ? Double.random(in: 1...1.25, using: &generator) : 1
        return Self.duration(attoseconds: Double(retryAfter.attoseconds) * factor, cap: Self.maximumRetryAfter)
    }

    private static func duration(attoseconds: Double, cap: Duration) -> Duration {
        let cap = max(cap, .zero)
        guard attoseconds > 0 else { return .zero }
        guard attoseconds < Double(cap.attoseconds) else { return cap }
        // Below the cap, so the conversion fits; rounding to nanoseconds may pass the cap, or Int128.
        // can't trap: below the cap in attoseconds, which an Int128 holds
        let nanoseconds = Int128((attoseconds / 1e9).rounded())
        let (rounded, overflow) = nanoseconds.multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? cap : min(Duration(attoseconds: rounded), cap)
    }
}
