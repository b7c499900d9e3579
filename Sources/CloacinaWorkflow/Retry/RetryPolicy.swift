/// How often a failed task is tried again, and how long the pauses are.
///
/// ```swift
/// .none
/// .fixed(3, delay: .seconds(5))
/// .exponential(5, initialDelay: .milliseconds(100)).capped(at: .seconds(30)).retrying(when: .transientOnly)
/// ```
///
/// The pause before an attempt is made in three steps, always in this order:
///
/// 1. the delay that the ``BackoffStrategy`` says;
/// 2. times a random factor between 0.75 and 1.25, where ``jitter`` is on;
/// 3. cut to ``maxDelay``. No pause is ever longer, and none is negative. Where the first two say more than the cap every
///    time, all tasks wait exactly that long: let the last attempts stay below it if they should spread.
///
/// A task that names no policy has ``none`` and is tried once, unlike in the Rust library of the same name, where it is tried
/// three times; ``default`` is that library's.
///
/// An error that dictates its own pause takes the place of all three; see ``TransientError/retryAfter``.
///
/// The values aren't looked at when they are set. ``validate(fileID:line:)`` refuses what makes no sense, and every method
/// gives a harmless answer to it.
public struct RetryPolicy: Sendable, Hashable {
    /// How often the task is started at most, the first time included: 1 means that it isn't tried again.
    public var maxAttempts: Int
    /// How the pauses grow.
    public var backoff: BackoffStrategy
    /// The pause before the second attempt, which the strategy builds on.
    public var initialDelay: Duration
    /// The longest pause.
    public var maxDelay: Duration
    /// Whether pauses vary at random by a quarter, so that tasks which failed together don't return together.
    public var jitter: Bool
    /// Which failures are worth another attempt: those for which at least one of these holds.
    public var conditions: [RetryCondition]

    /// Makes a policy: by default three attempts in all, after pauses of about 1 and 2 seconds, whatever the failure.
    public init(
        maxAttempts: Int = 3, backoff: BackoffStrategy = .exponential(), initialDelay: Duration = .seconds(1),
        maxDelay: Duration = .seconds(60), jitter: Bool = true, conditions: [RetryCondition] = [.allErrors]
    ) {
        self.maxAttempts = maxAttempts
        self.backoff = backoff
        self.initialDelay = initialDelay
        self.maxDelay = maxDelay
        self.jitter = jitter
        self.conditions = conditions
    }

    /// Whether a task that failed is to be tried again.
    ///
    /// It is when attempts are left and at least one of the ``conditions`` holds for the failure.
    ///
    /// - Parameters:
    ///   - failure: What the attempt ended with.
    ///   - attempt: Which attempt that was, from 1.
    public func shouldRetry(_ failure: TaskFailure, attempt: Int) -> Bool {
        attempt < self.maxAttempts && self.conditions.contains { $0.holds(for: failure) }
    }
}

// MARK: Ready-made policies

extension RetryPolicy {
    /// Three attempts in all, exponential pauses from 1 second, jitter, whatever the failure. A task has it when it says so:
    /// otherwise it has ``none``.
    public static let `default` = Self()

    /// One attempt: a task that fails has failed. It is what a task has that names no policy.
    public static let none = Self(
        maxAttempts: 1, backoff: .fixed, initialDelay: .zero, maxDelay: .zero, jitter: false, conditions: [.never])

    /// The same pause every time, a second unless told otherwise, to the point unless ``jittered(_:)`` is asked for.
    public static func fixed(_ maxAttempts: Int, delay: Duration = .seconds(1)) -> Self {
        Self(
            maxAttempts: maxAttempts, backoff: .fixed, initialDelay: delay, maxDelay: max(delay, .seconds(60)),
            jitter: false)
    }

    /// Pauses that grow by the same amount each time, with jitter.
    public static func linear(
        _ maxAttempts: Int, initialDelay: Duration = .seconds(1), multiplier: Double = 1,
        maxDelay: Duration = .seconds(60)
    ) -> Self {
        Self(
            maxAttempts: maxAttempts, backoff: .linear(multiplier: multiplier), initialDelay: initialDelay,
            maxDelay: maxDelay)
    }

    /// Pauses that grow by the same factor each time, with jitter.
    public static func exponential(
        _ maxAttempts: Int, initialDelay: Duration = .seconds(1), base: Double = 2, multiplier: Double = 1,
        maxDelay: Duration = .seconds(60)
    ) -> Self {
        Self(
            maxAttempts: maxAttempts, backoff: .exponential(base: base, multiplier: multiplier),
            initialDelay: initialDelay, maxDelay: maxDelay)
    }

    /// Pauses from a table, to the point unless ``jittered(_:)`` is asked for; one attempt more than there are pauses, as
    /// the first attempt needs none.
    public static func delays(_ delays: Duration...) -> Self {
        Self(
            maxAttempts: delays.count + 1, backoff: .custom(delays), initialDelay: delays.first ?? .zero,
            maxDelay: delays.reduce(.seconds(60)) { max($0, $1) }, jitter: false)
    }
}

// MARK: Variations

extension RetryPolicy {
    /// The same policy with another ``maxAttempts``.
    public func attempts(_ maxAttempts: Int) -> Self { self.with { $0.maxAttempts = maxAttempts } }

    /// The same policy with another ``maxDelay``.
    public func capped(at maxDelay: Duration) -> Self { self.with { $0.maxDelay = maxDelay } }

    /// The same policy with ``jitter`` on or off.
    public func jittered(_ jitter: Bool = true) -> Self { self.with { $0.jitter = jitter } }

    /// The same policy for the failures for which one of these conditions holds, and no others.
    public func retrying(when conditions: RetryCondition...) -> Self { self.with { $0.conditions = conditions } }

    private func with(_ change: (inout Self) -> Void) -> Self {
        var copy = self
        change(&copy)
        return copy
    }
}
