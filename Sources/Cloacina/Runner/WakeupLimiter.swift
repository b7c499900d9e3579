/// Limits how often calls may have one tenant's queue looked at, by a token bucket. What comes above the limit is looked after
/// together, a moment later, so that no call is lost.
struct WakeupLimiter {
    enum Answer: Equatable {
        /// Look at once.
        case now
        /// Look at that instant, without asking again, whatever comes in between.
        case at(ContinuousClock.Instant)
        /// The look that was put off finds it.
        case swallowed
    }

    private let interval: Duration
    private let burst: Int
    /// When the bucket is full again.
    private var fullAt: ContinuousClock.Instant?
    /// When the look takes place that was put off last.
    private var putOffUntil: ContinuousClock.Instant?

    /// - Parameters:
    ///   - rate: How many looks a second there are in the long run: 50. At least 1.
    ///   - burst: How many there may be at once after a time without: 10. At least 1.
    init(perSecond rate: Int = 50, burst: Int = 10) {
        self.interval = .seconds(1) / max(1, rate)
        self.burst = max(1, burst)
    }

    /// Takes note of a call and says when to look.
    mutating func call(at now: ContinuousClock.Instant) -> Answer {
        if let putOffUntil = self.putOffUntil, now < putOffUntil { return .swallowed }
        self.putOffUntil = nil
        let fullAt = max(self.fullAt ?? now, now)
        self.fullAt = fullAt + self.interval
        let allowed = fullAt - self.interval * (self.burst - 1)
        guard allowed > now else { return .now }
        self.putOffUntil = allowed
        return .at(allowed)
    }
}
