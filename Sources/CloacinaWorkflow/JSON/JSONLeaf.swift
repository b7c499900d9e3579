#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// A type that is one JSON value by itself, written and read as `JSONEncoder` and `JSONDecoder` do.
protocol JSONLeaf {
    /// The value; nil when JSON can't say it.
    var json: JSONValue? { get }

    init?(json: JSONValue)

    /// What a value has to be in order to be written or read, in words.
    static var requirement: String { get }
}

/// Why one of our own checks refused a value: words that hold none.
struct JSONRefusal: Error {
    let text: String
}

extension JSONValue: JSONLeaf {
    static var requirement: String { "any value" }

    var json: JSONValue? { self }

    init?(json: JSONValue) { self = json }
}

extension Bool: JSONLeaf {
    static var requirement: String { "true or false" }

    var json: JSONValue? { .bool(self) }

    init?(json: JSONValue) {
        guard case .bool(let value) = json else { return nil }
        self = value
    }
}

extension String: JSONLeaf {
    static var requirement: String { "a text" }

    var json: JSONValue? { .string(self) }

    init?(json: JSONValue) {
        guard case .string(let value) = json else { return nil }
        self = value
    }
}

// MARK: Numbers

extension BinaryFloatingPoint {
    static var requirement: String { "a finite number of its size" }
}

extension Double: JSONLeaf {
    var json: JSONValue? { self.isFinite ? .double(self) : nil }

    init?(json: JSONValue) {
        switch json {
        case .double(let value): self = value
        case .integer(let value): self = Double(value)
        case .number(let value):
            guard let value = value.double else { return nil }
            self = value
        default: return nil
        }
    }
}

extension Float: JSONLeaf {
    /// Its own digits, `0.1` and not `0.10000000149011612`.
    var json: JSONValue? {
        guard self.isFinite else { return nil }
        let digits = Double(self.description) ?? Double(self)
        return .double(Float(digits) == self ? digits : Double(self))
    }

    init?(json: JSONValue) {
        guard let value = Double(json: json) else { return nil }
        self = Float(value)
        guard self.isFinite else { return nil }
    }
}

extension FixedWidthInteger {
    static var requirement: String { "a whole number of its size" }

    var json: JSONValue? {
        Int64(exactly: self).map(JSONValue.integer) ?? DecimalDigits("\(self)").map { .number($0, isWhole: true) }
    }

    init?(json: JSONValue) {
        switch json {
        case .integer(let value): self.init(exactly: value)
        case .double(let value): self.init(exactly: value)
        case .number(let value): self.init(value.text)
        default: return nil
        }
    }
}

extension Int: JSONLeaf {}
extension Int8: JSONLeaf {}
extension Int16: JSONLeaf {}
extension Int32: JSONLeaf {}
extension Int64: JSONLeaf {}
extension UInt: JSONLeaf {}
extension UInt8: JSONLeaf {}
extension UInt16: JSONLeaf {}
extension UInt32: JSONLeaf {}
extension UInt64: JSONLeaf {}
@available(macOS 15, iOS 18, tvOS 18, watchOS 11, visionOS 2, *)
extension Int128: JSONLeaf {}
@available(macOS 15, iOS 18, tvOS 18, watchOS 11, visionOS 2, *)
extension UInt128: JSONLeaf {}

extension Decimal: JSONLeaf {
    static var requirement: String { "a number of at most 38 digits" }

    var json: JSONValue? {
        guard let digits = DecimalDigits(self.description) else { return nil }
        return .number(digits, isWhole: digits.isWhole)
    }

    /// Exactly or not at all.
    init?(json: JSONValue) {
        guard let digits = json.decimalDigits, let value = Decimal(string: digits.plainText),
            DecimalDigits(value.description) == digits
        else { return nil }
        self = value
    }
}

// MARK: Texts

extension Date: JSONLeaf {
    static var requirement: String {
        "an ISO 8601 text with a time and an offset, such as 2024-06-10T06:13:20Z, in the years 0000 to 9999"
    }

    /// ISO 8601 in UTC, with as many digits of the second as bring the date back.
    var json: JSONValue? { DateText.text(of: self).map { .string($0) } }

    init?(json: JSONValue) {
        guard case .string(let text) = json, let date = DateText(text)?.date else { return nil }
        self = date
    }
}

extension URL: JSONLeaf {
    static var requirement: String { "a text that is a URL" }

    var json: JSONValue? { .string(self.absoluteString) }

    init?(json: JSONValue) {
        guard case .string(let text) = json else { return nil }
        self.init(string: text)
    }
}

extension Data: JSONLeaf {
    static var requirement: String { "a text in Base64" }

    var json: JSONValue? { .string(self.base64EncodedString()) }

    init?(json: JSONValue) {
        guard case .string(let text) = json else { return nil }
        self.init(base64Encoded: text)
    }
}
