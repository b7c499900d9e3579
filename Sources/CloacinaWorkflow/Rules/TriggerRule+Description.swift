extension TriggerRule: CustomStringConvertible {
    /// The rule in words: `"charge" failed and order.total is greater than 100`.
    public var description: String { self.words(depth: 1) }

    /// What is deeper than a rule may be is left out.
    private func words(depth: Int) -> String {
        guard depth <= Self.maximumDepth else { return "…" }
        return switch self {
        case .always: "always"
        case .any([]): "never, as there are no conditions"
        case .all([]), .none([]): "always, as there are no conditions"
        case .all(let rules): Self.words(rules, joinedBy: " and ", depth: depth + 1)
        case .any(let rules): Self.words(rules, joinedBy: " or ", depth: depth + 1)
        case .none(let rules): "none of (\(rules.map { $0.words(depth: depth + 1) }.joined(separator: ", ")))"
        case .not(let rule): "not (\(rule.words(depth: depth + 1)))"
        case .taskSucceeded(let id): "\"\(id)\" succeeded"
        case .taskFailed(let id): "\"\(id)\" failed"
        case .taskSkipped(let id): "\"\(id)\" was skipped"
        case .noneFailedAbove: "no task before it failed"
        case .contextValue(let path, let comparison, let value):
            comparison.needsValue ? "\(path) \(comparison) \(Self.words(value))" : "\(path) \(comparison)"
        }
    }

    private static func words(_ rules: [TriggerRule], joinedBy separator: String, depth: Int) -> String {
        let needsBrackets = rules.count > 1
        return rules.map { rule in
            let words = rule.words(depth: depth)
            switch rule {
            case .all(let inner) where needsBrackets && !inner.isEmpty: return "(\(words))"
            case .any(let inner) where needsBrackets && !inner.isEmpty: return "(\(words))"
            default: return words
            }
        }.joined(separator: separator)
    }

    private static func words(_ value: JSONValue) -> String {
        let text = value.description
        return text.count > 80 ? "\(text.prefix(80))…" : text
    }
}

extension ValueOperator: CustomStringConvertible {
    /// The operator in words, to stand between two values.
    public var description: String {
        switch self {
        case .equals: "is"
        case .notEquals: "is not"
        case .greaterThan: "is greater than"
        case .lessThan: "is less than"
        case .greaterThanOrEqual: "is at least"
        case .lessThanOrEqual: "is at most"
        case .contains: "contains"
        case .notContains: "doesn't contain"
        case .startsWith: "starts with"
        case .endsWith: "ends with"
        case .exists: "exists"
        case .notExists: "doesn't exist"
        }
    }
}
