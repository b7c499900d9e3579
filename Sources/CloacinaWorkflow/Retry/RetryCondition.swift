/// Which failures are worth another attempt.
public enum RetryCondition: Sendable, Hashable {
    /// None.
    case never
    /// All.
    case allErrors
    /// Those that may pass by themselves; ``TransientError`` defines them.
    case transientOnly
    /// Those whose text holds one of these patterns. Upper and lower case are the same; nothing stands for anything else.
    case errorPattern([String])
}

extension RetryCondition {
    /// Whether the condition holds for a failure.
    public func holds(for failure: TaskFailure) -> Bool {
        switch self {
        case .never: return false
        case .allErrors: return true
        case .transientOnly: return failure.isTransient
        case .errorPattern(let patterns):
            let text = failure.text.lowercased()
            return patterns.contains { text.containsRun(of: Array($0.lowercased())) }
        }
    }
}
