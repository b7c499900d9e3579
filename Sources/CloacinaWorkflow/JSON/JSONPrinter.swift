extension JSONValue {
    /// The value as JSON text: no spaces, keys sorted by their UTF-8, the same bytes every time.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/invalidValue`` for NaN, an infinity, or nesting beyond
    ///   ``maximumDepth``.
    public func jsonText(fileID: String = #fileID, line: Int = #line) throws(WorkflowError) -> String {
        try self.check(fileID: fileID, line: line)
        var printer = JSONPrinter()
        printer.write(self)
        return String(decoding: printer.bytes, as: UTF8.self)
    }

    /// Refuses what JSON can't say.
    func check(depth: Int = 0, fileID: String, line: Int) throws(WorkflowError) {
        guard depth <= Self.maximumDepth else {
            throw WorkflowError(
                .invalidValue, "the value is nested deeper than \(Self.maximumDepth) levels", fileID: fileID, line: line
            )
        }
        switch self {
        case .null, .bool, .integer, .number, .string:
            return
        case .double(let value):
            guard value.isFinite else {
                throw WorkflowError(.invalidValue, "JSON has no \(value)", fileID: fileID, line: line)
            }
        case .array(let elements):
            for element in elements { try element.check(depth: depth + 1, fileID: fileID, line: line) }
        case .object(let members):
            for member in members.values { try member.check(depth: depth + 1, fileID: fileID, line: line) }
        }
    }

    /// How many bytes a checked value's text has.
    var textByteCount: Int {
        var printer = JSONPrinter()
        printer.write(self)
        return printer.bytes.count
    }
}

/// Writes values that were checked.
struct JSONPrinter {
    private(set) var bytes: [UInt8] = []

    mutating func write(_ value: JSONValue) {
        switch value {
        case .null: self.bytes += "null".utf8
        case .bool(let value): self.bytes += (value ? "true" : "false").utf8
        case .integer(let value): self.bytes += value.description.utf8
        case .double(let value): self.bytes += value.description.utf8
        case .number(let value): self.bytes += value.text.utf8
        case .string(let value): self.write(value)
        case .array(let elements): self.write(elements)
        case .object(let members): self.write(members)
        }
    }

    mutating func write(_ text: String) {
        self.bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""): self.bytes += #"\""#.utf8
            case UInt8(ascii: "\\"): self.bytes += #"\\"#.utf8
            case 0x08: self.bytes += #"\b"#.utf8
            case 0x09: self.bytes += #"\t"#.utf8
            case 0x0A: self.bytes += #"\n"#.utf8
            case 0x0C: self.bytes += #"\f"#.utf8
            case 0x0D: self.bytes += #"\r"#.utf8
            case 0..<0x10: self.bytes += "\\u000\(String(byte, radix: 16))".utf8
            case 0x10..<0x20: self.bytes += "\\u00\(String(byte, radix: 16))".utf8
            default: self.bytes.append(byte)
            }
        }
        self.bytes.append(UInt8(ascii: "\""))
    }

    private mutating func write(_ elements: [JSONValue]) {
        self.bytes.append(UInt8(ascii: "["))
        for (index, element) in elements.enumerated() {
            if index > 0 { self.bytes.append(UInt8(ascii: ",")) }
            self.write(element)
        }
        self.bytes.append(UInt8(ascii: "]"))
    }

    private mutating func write(_ members: [String: JSONValue]) {
        self.bytes.append(UInt8(ascii: "{"))
        for (index, member) in members.sortedByKey.enumerated() {
            if index > 0 { self.bytes.append(UInt8(ascii: ",")) }
            self.write(member.key)
            self.bytes.append(UInt8(ascii: ":"))
            self.write(member.value)
        }
        self.bytes.append(UInt8(ascii: "}"))
    }
}

extension Dictionary where Key == String {
    /// The entries in the order of their keys' UTF-8, which no locale and no run changes.
    var sortedByKey: [(key: String, value: Value)] {
        self.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
    }
}
