/// How the pauses between the attempts at a task grow; ``RetryPolicy`` adds jitter and the cap.
public enum BackoffStrategy: Sendable, Hashable {
    /// The initial delay every time.
    case fixed
    /// After the n-th failure, initial delay × n × multiplier.
    case linear(multiplier: Double = 1)
    /// After the n-th failure, initial delay × multiplier × baseⁿ⁻¹.
    case exponential(base: Double = 2, multiplier: Double = 1)
    /// After the n-th failure, the n-th delay of a table; when it is used up, the last one again. The initial delay plays no
    /// part.
    case custom([Duration])
}

extension BackoffStrategy {
    /// How long to wait after so many failures, in attoseconds and without a bound. May be NaN or infinite.
    func attoseconds(afterFailure failure: Int, initialDelay: Duration) -> Double {
        let initial = Double(initialDelay.attoseconds)
        return switch self {
        case .fixed: initial
        case .linear(let multiplier): initial * (Double(failure) * multiplier)
        case .exponential(let base, let multiplier): initial * (multiplier * Self.power(base, failure - 1))
        case .custom(let delays):
            delays.isEmpty ? 0 : Double(delays[min(failure, delays.count) - 1].attoseconds)
        }
    }

    /// By squaring, at most 63 rounds; the standard library has no power function.
    private static func power(_ base: Double, _ exponent: Int) -> Double {
        var result = 1.0
        var square = base
        var rest = exponent
        while rest > 0 {
            if rest & 1 == 1 { result *= square }
            square *= square
            rest >>= 1
        }
        return result
    }
}
