extension WorkflowError.Code {
    /// A ``RetryPolicy`` that makes no sense, or a text that isn't one.
    public static let invalidRetryPolicy = Self(base: .invalidRetryPolicy)
}

extension RetryPolicy {
    /// The longest delay that a policy may ask for: 365 days. More is a mistake in the unit.
    public static let maximumDelay = Duration.seconds(365 * 86_400)

    /// Refuses a policy that can't have been meant.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/invalidRetryPolicy`` when
    ///   - ``maxAttempts`` is below 1 or beyond a 32-bit integer;
    ///   - a delay is negative, longer than ``maxDelay``, or longer than ``maximumDelay``;
    ///   - a multiplier or base isn't a positive finite number, or a table of delays is empty;
    ///   - ``conditions`` is empty, holds ``RetryCondition/never`` beside others, or a pattern is empty.
    public func validate(fileID: String = #fileID, line: Int = #line) throws(WorkflowError) {
        guard let problem = self.problem else { return }
        throw WorkflowError(.invalidRetryPolicy, problem, fileID: fileID, line: line)
    }

    private var problem: String? {
        guard self.maxAttempts >= 1, self.maxAttempts <= Int32.max else {
            return "maxAttempts is \(self.maxAttempts); it counts every attempt, the first one too, from 1"
        }
        guard self.maxDelay >= .zero, self.maxDelay <= Self.maximumDelay else {
            return "maxDelay is \(self.maxDelay); it may be zero to \(Self.maximumDelay)"
        }
        return self.problem(of: self.initialDelay, "initialDelay") ?? self.backoffProblem ?? self.conditionProblem
    }

    private func problem(of delay: Duration, _ name: String) -> String? {
        if delay < .zero { return "\(name) is negative" }
        return delay > self.maxDelay ? "\(name) is \(delay), longer than maxDelay, \(self.maxDelay)" : nil
    }

    private var backoffProblem: String? {
        switch self.backoff {
        case .fixed: nil
        case .linear(let multiplier): Self.problem(of: multiplier, "multiplier")
        case .exponential(let base, let multiplier):
            Self.problem(of: base, "base") ?? Self.problem(of: multiplier, "multiplier")
        case .custom(let delays):
            delays.isEmpty
                ? "the table of delays is empty"
                : delays.enumerated().lazy.compactMap { self.problem(of: $1, "delay \($0 + 1)") }.first
        }
    }

    private static func problem(of factor: Double, _ name: String) -> String? {
        factor.isFinite && factor > 0 ? nil : "\(name) is \(factor); it has to be a positive number"
    }

    private var conditionProblem: String? {
        guard !self.conditions.isEmpty else { return "no conditions; say .never or .allErrors" }
        if self.conditions.count > 1, self.conditions.contains(.never) {
            return "the condition .never contradicts the others"
        }
        for case .errorPattern(let patterns) in self.conditions {
            if patterns.isEmpty { return "an error pattern without patterns never holds; say .never" }
            if patterns.contains("") { return "an empty pattern is part of every error; say .allErrors" }
        }
        return nil
    }
}
