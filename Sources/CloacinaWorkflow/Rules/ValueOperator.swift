/// How a ``TriggerRule`` compares a value of the context with one of its own.
///
/// A comparison never fails: it holds or it doesn't.
///
/// - Numbers are compared by value and exactly, whole or not: 1 equals 1.0, and 9007199254740993 is greater than
///   9007199254740992.0. Next to a ``JSONNumber``, a `Double` is the number that its text says.
/// - Texts equal each other and are ordered as in Swift, by their Unicode characters and without a locale. When both are dates
///   with a time and an offset (RFC 3339, such as `2026-03-01T09:30:00+01:00`), the four ordering operators compare
///   the instants they stand for. Being equal stays a matter of the text.
/// - Values of different types aren't equal, and none is greater. So the ordering operators don't hold for them, and neither
///   do they for null, true and false, arrays and objects.
/// - A value that isn't there is like one of a type of its own. Null is there.
public enum ValueOperator: String, Sendable, Hashable, CaseIterable {
    /// The values are the same, arrays and objects part by part.
    case equals = "Equals"
    /// The opposite of ``equals``: it holds for different types and a value that isn't there.
    case notEquals = "NotEquals"
    /// The context's number, text or date is greater or later.
    case greaterThan = "GreaterThan"
    /// The context's number, text or date is less or earlier.
    case lessThan = "LessThan"
    /// It is greater, or the same.
    case greaterThanOrEqual = "GreaterThanOrEqual"
    /// It is less, or the same.
    case lessThanOrEqual = "LessThanOrEqual"
    /// The context's text has the rule's text in it, or the context's array an element that equals the rule's value.
    case contains = "Contains"
    /// The opposite of ``contains``: it holds for other types and a value that isn't there.
    case notContains = "NotContains"
    /// The context's text starts with the rule's text.
    case startsWith = "StartsWith"
    /// The context's text ends with the rule's text.
    case endsWith = "EndsWith"
    /// The value is there, be it null. The rule's value plays no part.
    case exists = "Exists"
    /// The value isn't there.
    case notExists = "NotExists"
}

extension ValueOperator {
    /// Whether the comparison holds.
    ///
    /// - Parameters:
    ///   - actual: The context's value; nil when it has none.
    ///   - expected: The rule's value.
    public func holds(for actual: JSONValue?, _ expected: JSONValue) -> Bool {
        switch self {
        case .exists: return actual != nil
        case .notExists: return actual == nil
        case .notEquals: return !ValueOperator.equals.holds(for: actual, expected)
        case .notContains: return !ValueOperator.contains.holds(for: actual, expected)
        default: break
        }
        guard let actual else { return false }
        return switch self {
        case .equals: actual.isSame(as: expected)
        case .contains: actual.contains(expected)
        case .startsWith: actual.texts(expected) { $0.hasPrefix($1) }
        case .endsWith: actual.texts(expected) { $0.hasSuffix($1) }
        case .greaterThan: actual.order(comparedTo: expected).map { $0 > 0 } ?? false
        case .lessThan: actual.order(comparedTo: expected).map { $0 < 0 } ?? false
        case .greaterThanOrEqual: actual.order(comparedTo: expected).map { $0 >= 0 } ?? false
        case .lessThanOrEqual: actual.order(comparedTo: expected).map { $0 <= 0 } ?? false
        case .exists, .notExists, .notEquals, .notContains: false
        }
    }

    /// Whether the operator looks at the rule's value.
    var needsValue: Bool { self != .exists && self != .notExists }
}
