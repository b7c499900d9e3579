/// Decides whether a call that the database did not answer is made again, and after what pause. It knows no clock.
struct DatabaseRetry {
    /// The longest pause between two calls.
    static let longestPause = Duration.seconds(1)

    /// How long a server may end statements after a time of its own before that counts as a refusal: an overload passes.
    private let patience: Duration
    private var pause = Duration.milliseconds(20)
    private var timeouts = 0
    /// True when a database that lets nobody in is waited for, as one that can't be reached is.
    private let bearsRefusedLogins: Bool

    init(patience: Duration = .zero, bearsRefusedLogins: Bool = false) {
        self.patience = patience
        self.bearsRefusedLogins = bearsRefusedLogins
    }

    /// The pause after a call that failed, twice as long each time.
    ///
    /// - Parameter elapsed: The time since the first call.
    /// - Throws: The error, when the same call would fail again.
    mutating func pause(after error: PipelineError, elapsed: Duration = .zero) throws(PipelineError) -> Duration {
        // A server that ends statements after a time of its own will do so again.
        self.timeouts = error.isTimeoutOfServer ? self.timeouts + 1 : 0
        guard self.timeouts < 3 || elapsed < self.patience else {
            var error = error
            error.isLasting = true
            throw error
        }
        guard error.isTransient || self.bearsRefusedLogins && error.isUnreached else { throw error }
        defer { self.pause = min(self.pause * 2, Self.longestPause) }
        return self.pause
    }
}
