#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// One JSON value, as a ``Context`` holds it and the database stores it.
///
/// Numbers keep all digits that change their value. Whole ones stay apart from fractions: `1` and `1.0` are different values.
/// Its text is the same bytes for the same value every time, with keys sorted by their UTF-8.
///
/// Swift's types are written and read as `JSONEncoder` and `JSONDecoder` do, and dates as ISO 8601:
///
/// | Type | JSON |
/// | --- | --- |
/// | `URL`, `UUID` | a text |
/// | `Data` | a text in Base64 |
/// | `Date` | a text such as `2024-06-10T06:13:20.5Z`, in the Gregorian calendar at all times; read with any offset |
/// | `Decimal` | a number with all of its digits, read exactly or not at all |
/// | whole numbers | a number; all of a `UInt64` too |
/// | arrays, sets, dictionaries, enums, types of your own | as their `Codable` says |
///
/// A number isn't read as a `Date`: it doesn't say from when it counts, and in which unit. Read a `Double` and convert it.
public enum JSONValue: Sendable, Hashable {
    /// The absence of a value, written down.
    case null
    /// True or false.
    case bool(Bool)
    /// A whole number.
    case integer(Int64)
    /// A fraction; it comes back bit for bit. NaN and the infinities are refused when the value is stored or printed.
    case double(Double)
    /// A number that is exact in neither of these.
    case number(JSONNumber)
    /// A text.
    case string(String)
    /// A list.
    case array([JSONValue])
    /// Values by name.
    case object([String: JSONValue])

    /// How deep arrays and objects may be nested in what is parsed, printed or stored.
    public static let maximumDepth = 200
}

extension JSONValue: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByFloatLiteral, ExpressibleByStringInterpolation, ExpressibleByArrayLiteral,
    ExpressibleByDictionaryLiteral
{
    /// Makes ``null``.
    public init(nilLiteral: ()) { self = .null }

    /// Makes a ``bool(_:)``.
    public init(booleanLiteral value: Bool) { self = .bool(value) }

    /// Makes an ``integer(_:)``.
    public init(integerLiteral value: Int64) { self = .integer(value) }

    /// Makes a ``double(_:)``.
    public init(floatLiteral value: Double) { self = .double(value) }

    /// Makes a ``string(_:)``.
    public init(stringLiteral value: String) { self = .string(value) }

    /// Makes an ``array(_:)``.
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }

    /// Makes an ``object(_:)``; of two equal keys the later one wins.
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(Dictionary(elements) { _, later in later })
    }
}

extension JSONValue {
    /// Whether both have the same JSON text. Equal values need not: strings are equal when they show the same, and `0.0`
    /// equals `-0.0`.
    func isIdentical(to other: JSONValue) -> Bool {
        switch (self, other) {
        case (.string(let left), .string(let right)): left.utf8.elementsEqual(right.utf8)
        case (.double(let left), .double(let right)): left.bitPattern == right.bitPattern
        case (.array(let left), .array(let right)): left.elementsEqual(right) { $0.isIdentical(to: $1) }
        case (.object(let left), .object(let right)):
            left.count == right.count && left.allSatisfy { key, value in right.holds(value, at: key) }
        default: self == other
        }
    }
}

extension [String: JSONValue] {
    /// Whether that value is there, at a key of that spelling: keys are equal when they show the same.
    func holds(_ value: JSONValue, at key: String) -> Bool {
        guard let index = self.index(forKey: key) else { return false }
        return self[index].key.utf8.elementsEqual(key.utf8) && self[index].value.isIdentical(to: value)
    }
}

extension JSONValue: CustomStringConvertible {
    /// The JSON text, or the reason why the value has none.
    public var description: String {
        do { return try self.jsonText() } catch { return "\(error)" }
    }
}

extension JSONValue: Codable {
    /// Reads a value from any decoder. Of other decoders than this module's, numbers of more than 37 digits are refused: they
    /// don't hand on all of them.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int64.self) {
            // Foundation cuts the fraction off a number of many digits.
            self = value.magnitude < 1 << 53 ? .integer(value) : try Self.number(in: container) ?? .integer(value)
        } else if let value = try? container.decode(Double.self) {
            self = try Self.number(in: container, near: value) ?? .double(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([JSONValue].self) {
            self = .array(value)
        } else {
            self = .object(try container.decode([String: JSONValue].self))
        }
    }

    /// Writes the value to any encoder.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let value): try container.encode(value)
        case .integer(let value): try container.encode(value)
        case .double(let value): try container.encode(value)
        case .number(let value): try Self.encode(value, to: &container)
        case .string(let value): try container.encode(value)
        case .array(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        }
    }

    /// The number that a decoder of another module has at hand; nil when that isn't near a given one, or it knows no `Decimal`.
    private static func number(
        in container: any SingleValueDecodingContainer, near double: Double? = nil
    ) throws -> JSONValue? {
        guard let decimal = try? container.decode(Decimal.self), let digits = DecimalDigits(decimal.description),
            let value = Double(digits.plainText), double == nil || double == value
        else { return nil }
        guard digits.digits.count < 38 else {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "The number has more digits than the decoder hands on.")
        }
        return .number(digits, isWhole: double == nil && digits.isWhole)
    }

    private static func encode(_ number: JSONNumber, to container: inout any SingleValueEncodingContainer) throws {
        guard let decimal = Decimal(json: .number(number)) else {
            throw EncodingError.invalidValue(
                number,
                EncodingError.Context(
                    codingPath: container.codingPath, debugDescription: "The number has more digits than a Decimal."))
        }
        try container.encode(decimal)
    }
}
