extension JSONValue {
    /// Reads JSON text (RFC 8259).
    ///
    /// Refused beside bad syntax: a key given twice, a number that is larger or nearer to zero than any `Double` or has more
    /// than ``JSONNumber/maximumDigits`` digits, and nesting beyond ``maximumDepth``.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/invalidJSON``, naming the byte it stopped at.
    public init(parsing text: String, fileID: String = #fileID, line: Int = #line) throws(WorkflowError) {
        try self.init(parsing: text, depth: Self.maximumDepth, fileID: fileID, line: line)
    }

    init(parsing text: String, depth: Int, fileID: String, line: Int) throws(WorkflowError) {
        var parser = JSONParser(text, depth: depth)
        do {
            self = try parser.document()
        } catch {
            throw WorkflowError(
                .invalidJSON, "\(error.reason) at byte \(parser.position)", fileID: fileID, line: line)
        }
    }
}

/// A recursive-descent reader with a bound on its depth.
struct JSONParser {
    struct Failure: Error {
        let reason: String
        init(_ reason: String) { self.reason = reason }
    }

    private let bytes: [UInt8]
    private let maximumDepth: Int
    private(set) var position = 0

    init(_ text: String, depth: Int) {
        self.bytes = Array(text.utf8)
        self.maximumDepth = depth
    }

    mutating func document() throws(Failure) -> JSONValue {
        let value = try self.value(depth: 0)
        self.skipSpace()
        guard self.position == self.bytes.count else { throw Failure("text after the value") }
        return value
    }

    private var next: UInt8? { self.position < self.bytes.count ? self.bytes[self.position] : nil }

    private mutating func skipSpace() {
        while let byte = self.next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { self.position += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard self.next == byte else { return false }
        self.position += 1
        return true
    }

    private mutating func value(depth: Int) throws(Failure) -> JSONValue {
        guard depth <= self.maximumDepth else { throw Failure("too deep nesting") }
        self.skipSpace()
        guard let byte = self.next else { throw Failure("the text ends early") }
        switch byte {
        case UInt8(ascii: "{"): return try self.object(depth: depth)
        case UInt8(ascii: "["): return try self.array(depth: depth)
        case UInt8(ascii: "\""): return .string(try self.string())
        case UInt8(ascii: "t"): return try self.word("true", .bool(true))
        case UInt8(ascii: "f"): return try self.word("false", .bool(false))
        case UInt8(ascii: "n"): return try self.word("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try self.number()
        default: throw Failure("no value")
        }
    }

    private mutating func word(_ word: StaticString, _ value: JSONValue) throws(Failure) -> JSONValue {
        for byte in word.description.utf8 {
            guard self.take(byte) else { throw Failure("no value") }
        }
        return value
    }

    private mutating func array(depth: Int) throws(Failure) -> JSONValue {
        self.position += 1
        var elements: [JSONValue] = []
        self.skipSpace()
        if self.take(UInt8(ascii: "]")) { return .array(elements) }
        while true {
            elements.append(try self.value(depth: depth + 1))
            self.skipSpace()
            if self.take(UInt8(ascii: ",")) { continue }
            guard self.take(UInt8(ascii: "]")) else { throw Failure("neither , nor ]") }
            return .array(elements)
        }
    }

    private mutating func object(depth: Int) throws(Failure) -> JSONValue {
        self.position += 1
        var members: [String: JSONValue] = [:]
        self.skipSpace()
        if self.take(UInt8(ascii: "}")) { return .object(members) }
        while true {
            self.skipSpace()
            guard self.next == UInt8(ascii: "\"") else { throw Failure("no key") }
            let key = try self.string()
            self.skipSpace()
            guard self.take(UInt8(ascii: ":")) else { throw Failure("no : after the key") }
            let value = try self.value(depth: depth + 1)
            guard members.updateValue(value, forKey: key) == nil else { throw Failure("a key given twice") }
            self.skipSpace()
            if self.take(UInt8(ascii: ",")) { continue }
            guard self.take(UInt8(ascii: "}")) else { throw Failure("neither , nor }") }
            return .object(members)
        }
    }
}

// MARK: Numbers

extension JSONParser {
    private mutating func number() throws(Failure) -> JSONValue {
        let start = self.position
        _ = self.take(UInt8(ascii: "-"))
        if !self.take(UInt8(ascii: "0")) { try self.digits() }
        var isWhole = true
        if self.take(UInt8(ascii: ".")) {
            isWhole = false
            try self.digits()
        }
        if self.take(UInt8(ascii: "e")) || self.take(UInt8(ascii: "E")) {
            isWhole = false
            if !self.take(UInt8(ascii: "-")) { _ = self.take(UInt8(ascii: "+")) }
            try self.digits()
        }
        let text = String(decoding: self.bytes[start..<self.position], as: UTF8.self)
        if isWhole, let value = Int64(text, radix: 10) { return .integer(value) }
        guard let value = Double(text), value.isFinite else { throw Failure("a number beyond Double") }
        // Every fraction of so few digits comes back from a Double.
        if !isWhole, text.utf8.count <= 15, text.utf8.allSatisfy({ $0 < UInt8(ascii: "A") }) { return .double(value) }
        guard let digits = DecimalDigits(text), digits.digits.count <= JSONNumber.maximumDigits else {
            throw Failure("a number of more than \(JSONNumber.maximumDigits) digits")
        }
        guard value != 0 || digits == .zero else { throw Failure("a number beyond Double") }
        return digits == .zero ? .double(value) : .number(digits, isWhole: isWhole)
    }

    private mutating func digits() throws(Failure) {
        let start = self.position
        while let byte = self.next, byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") { self.position += 1 }
        guard self.position > start else { throw Failure("no digit") }
    }
}

// MARK: Strings

extension JSONParser {
    private mutating func string() throws(Failure) -> String {
        self.position += 1
        var text: [UInt8] = []
        while let byte = self.next {
            self.position += 1
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: text, as: UTF8.self)
            case UInt8(ascii: "\\"): try self.escape(into: &text)
            case 0..<0x20: throw Failure("a control character in a string")
            default: text.append(byte)
            }
        }
        throw Failure("the text ends in a string")
    }

    private mutating func escape(into text: inout [UInt8]) throws(Failure) {
        guard let byte = self.next else { throw Failure("the text ends in a string") }
        self.position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"): text += Array(String(try self.unicodeEscape()).utf8)
        default: throw Failure("an unknown escape")
        }
    }

    private mutating func unicodeEscape() throws(Failure) -> Unicode.Scalar {
        let unit = try self.hexUnit()
        if let scalar = Unicode.Scalar(unit) { return scalar }
        guard unit < 0xDC00, self.take(UInt8(ascii: "\\")), self.take(UInt8(ascii: "u")) else {
            throw Failure("half a surrogate pair")
        }
        let low = try self.hexUnit()
        guard (0xDC00...0xDFFF).contains(low) else { throw Failure("half a surrogate pair") }
        // can't trap: halves of a pair, of 16 bits each
        let value = 0x10000 + (UInt32(unit) - 0xD800) << 10 + (UInt32(low) - 0xDC00)
        guard let scalar = Unicode.Scalar(value) else { throw Failure("half a surrogate pair") }
        return scalar
    }

    private mutating func hexUnit() throws(Failure) -> UInt16 {
        var unit: UInt16 = 0
        for _ in 0..<4 {
            guard let byte = self.next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw Failure("no hexadecimal digit")
            }
            self.position += 1
            unit = unit << 4 | UInt16(truncatingIfNeeded: digit)
        }
        return unit
    }
}
