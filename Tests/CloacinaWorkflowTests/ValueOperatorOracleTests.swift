import Testing

@testable import CloacinaWorkflow

/// Every operator over every pair of types, against a second reading of what ``ValueOperator``'s documentation says.
@Suite struct ValueOperatorOracleTests {
    /// How many seconds the dates among the texts are after 2026 began in UTC.
    private static let instants: [String: Double] = [
        "2026-01-01T00:00:00Z": 0, "2026-01-01T01:00:00+02:00": -3_600, "2026-01-01T00:00:00.250Z": 0.25,
        "2026-01-01T00:00:00+00:00": 0,
    ]

    /// Nil is a value that isn't there.
    static let values: [JSONValue?] = [.none] + Self.present.map { .some($0) }

    static let present: [JSONValue] =
        [
            nil, true, false, 0, 1, -1, 2, 0.0, -0.0, 1.0, 1.5, -1.5, .double(.infinity), "", "a", "ab", "b",
            "ba",
            "A", "1", "1.0", "true", "null", "e", "\u{e9}", "e\u{301}", "\n", "\r\n", "\r", "\u{1F468}",
            "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}", "\u{1F1E9}", "\u{1F1E9}\u{1F1EA}", "[]", "2026-01-01",
            [], [1], [1.0], [1, 1], ["a"], [""], [[]], [[1]], [nil], [[:]], [["a": 1]], [true], [1, "a", nil],
            [:], ["a": 1], ["a": 1.0], ["b": 1], ["a": 1, "b": 2], ["a": nil], ["a": ["a": 1]],
            "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+02:00", "2026-01-01T00:00:00.250Z",
            "2026-01-01T00:00:00+00:00",
        ]

    @Test(arguments: ValueOperator.allCases) func agreesWithTheDocumentation(comparison: ValueOperator) {
        var differences: [String] = []
        for actual in Self.values {
            for expected in Self.present {
                let holds = comparison.holds(for: actual, expected)
                guard holds != Self.shouldHold(comparison, actual, expected) else { continue }
                differences.append("\(Self.text(actual)) \(comparison) \(Self.text(expected)) is \(holds)")
            }
        }
        #expect(differences.isEmpty, "\(differences.joined(separator: "\n"))")
    }

    /// The rule itself, as a workflow has it: the value is looked up first.
    @Test(arguments: ValueOperator.allCases) func aRuleSaysTheSame(comparison: ValueOperator) {
        for actual in Self.values {
            guard let context = try? Context(actual.map { ["k": $0] } ?? [:]) else { continue }
            for expected in Self.present {
                let rule = TriggerRule.contextValue("k", comparison, expected)
                let holds = rule.isSatisfied(outcome: { _ in nil }, context: context)
                #expect(holds == Self.shouldHold(comparison, actual, expected))
                let denied = TriggerRule.not(rule).isSatisfied(outcome: { _ in nil }, context: context)
                #expect(denied != holds)
            }
        }
    }

    private static func text(_ value: JSONValue?) -> String {
        guard let value else { return "nothing" }
        guard case .string(let text) = value else { return "\(value)" }
        return "\"" + text.unicodeScalars.map { $0.escaped(asASCII: true) }.joined() + "\""
    }

    // MARK: The second reading

    private static func shouldHold(_ comparison: ValueOperator, _ actual: JSONValue?, _ expected: JSONValue) -> Bool {
        switch comparison {
        case .exists: return actual != .none
        case .notExists: return actual == .none
        case .equals: return Self.areEqual(actual, expected)
        case .notEquals: return !Self.areEqual(actual, expected)
        case .contains: return Self.has(actual, expected)
        case .notContains: return !Self.has(actual, expected)
        case .startsWith:
            guard case .string(let text) = actual, case .string(let part) = expected else { return false }
            return Array(text).prefix(part.count) == Array(part)[...]
        case .endsWith:
            guard case .string(let text) = actual, case .string(let part) = expected else { return false }
            return Array(text).suffix(part.count) == Array(part)[...]
        case .greaterThan: return Self.isBelow(expected, actual)
        case .lessThan: return Self.isBelow(actual, expected)
        case .greaterThanOrEqual:
            return Self.isBelow(expected, actual)
                || Self.haveAnOrder(actual, expected) && !Self.isBelow(actual, expected)
        case .lessThanOrEqual:
            return Self.isBelow(actual, expected)
                || Self.haveAnOrder(actual, expected) && !Self.isBelow(expected, actual)
        }
    }

    /// The numbers here are small enough for a floating-point number to be exact.
    private static func number(_ value: JSONValue?) -> Double? {
        switch value {
        case .integer(let number): Double(number)
        case .double(let number): number
        default: nil
        }
    }

    private static func areEqual(_ left: JSONValue?, _ right: JSONValue?) -> Bool {
        if let left = Self.number(left), let right = Self.number(right) { return left == right }
        switch (left, right) {
        case (.some(.null), .some(.null)): return true
        case (.bool(let left), .bool(let right)): return left == right
        case (.string(let left), .string(let right)): return Array(left) == Array(right)
        case (.array(let left), .array(let right)):
            return left.count == right.count && left.indices.allSatisfy { Self.areEqual(left[$0], right[$0]) }
        case (.object(let left), .object(let right)):
            return Set(left.keys) == Set(right.keys) && left.keys.allSatisfy { Self.areEqual(left[$0], right[$0]) }
        default: return false
        }
    }

    private static func has(_ whole: JSONValue?, _ part: JSONValue) -> Bool {
        switch (whole, part) {
        case (.string(let text), .string(let run)):
            let (text, run) = (Array(text), Array(run))
            guard run.count <= text.count else { return false }
            return (0...(text.count - run.count)).contains { text[$0..<($0 + run.count)] == run[...] }
        case (.array(let elements), _): return elements.contains { Self.areEqual($0, part) }
        default: return false
        }
    }

    private static func haveAnOrder(_ left: JSONValue?, _ right: JSONValue?) -> Bool {
        if Self.number(left) != nil, Self.number(right) != nil { return true }
        if case .string = left, case .string = right { return true }
        return false
    }

    private static func isBelow(_ left: JSONValue?, _ right: JSONValue?) -> Bool {
        if let left = Self.number(left), let right = Self.number(right) { return left < right }
        guard case .string(let left) = left, case .string(let right) = right else { return false }
        if let left = Self.instants[left], let right = Self.instants[right] { return left < right }
        return left < right
    }
}
