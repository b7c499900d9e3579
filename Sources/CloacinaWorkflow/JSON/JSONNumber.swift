/// A number of JSON that neither `Int64` nor `Double` holds exactly, with all of its digits: a whole number beyond `Int64`, or
/// a fraction of more digits than a `Double` brings back.
///
/// Reading JSON makes it, and so does encoding a `Decimal` or a `UInt64`. It is read as a `Decimal`, as a whole number that it
/// fits into, and rounded as a `Double`.
public struct JSONNumber: Sendable, Hashable {
    /// How many digits a number may have in what is read or encoded, zeros at either end aside.
    public static let maximumDigits = 1_000

    /// The number as JSON, without an exponent and without zeros that change nothing: one text for one number.
    public let text: String

    init(_ digits: DecimalDigits) { self.text = digits.plainText }

    var digits: DecimalDigits { DecimalDigits(self.text) ?? .zero }

    /// The nearest `Double`.
    var double: Double? { Double(self.text) }
}

extension JSONNumber: CustomStringConvertible {
    /// The number as JSON.
    public var description: String { self.text }
}

extension JSONValue {
    /// The value of a number's digits: in `Int64` or `Double` where that holds it exactly.
    ///
    /// - Parameters:
    ///   - digits: The number.
    ///   - isWhole: Whether it was written without a fraction and an exponent, as `1` is and `1.0` isn't.
    static func number(_ digits: DecimalDigits, isWhole: Bool) -> JSONValue {
        let integer = digits.isWhole ? Int64(digits.plainText, radix: 10) : nil
        if isWhole, let integer { return .integer(integer) }
        if !isWhole, let double = Double(digits.plainText), DecimalDigits(double) == digits { return .double(double) }
        return integer.map { .integer($0) } ?? .number(JSONNumber(digits))
    }

    /// The digits of a number; nil for NaN, the infinities and what is no number.
    var decimalDigits: DecimalDigits? {
        switch self {
        case .integer(let value): DecimalDigits("\(value)")
        case .double(let value): DecimalDigits(value)
        case .number(let value): value.digits
        default: nil
        }
    }
}
