extension JSONValue {
    /// Reads a value of any decodable type out of this one.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/typeMismatch``, naming the path to what didn't fit.
    public func decode<Value: Decodable>(
        as type: Value.Type = Value.self, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) -> Value {
        do {
            return try JSONValueDecoder(value: self, codingPath: []).read(type)
        } catch {
            throw WorkflowError(
                .typeMismatch, "no \(Value.self)\(Self.reason(for: error))", underlying: error, fileID: fileID,
                line: line
            )
        }
    }

    /// Where it didn't fit and, if we know without quoting a value, why.
    private static func reason(for error: any Error) -> String {
        let path: [any CodingKey]
        var refusal: JSONRefusal?
        switch error {
        case DecodingError.keyNotFound(let key, let context): path = context.codingPath + [key]
        case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context),
            DecodingError.dataCorrupted(let context):
            path = context.codingPath
            refusal = context.underlyingError as? JSONRefusal
        default: path = []
        }
        return (path.isEmpty ? "" : " because of \(path.words)") + (refusal.map { ": \($0.text)" } ?? "")
    }
}

private struct JSONValueDecoder: Decoder {
    let value: JSONValue
    let codingPath: [any CodingKey]
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    func read<Value: Decodable>(_ type: Value.Type) throws -> Value {
        guard let leaf = type as? any JSONLeaf.Type else { return try Value(from: self) }
        guard let value = leaf.init(json: self.value) as? Value else {
            let text = "it has to be \(leaf.requirement)"
            throw DecodingError.typeMismatch(
                type,
                DecodingError.Context(
                    codingPath: self.codingPath, debugDescription: text, underlyingError: JSONRefusal(text: text)))
        }
        return value
    }

    func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
        guard case .object(let members) = self.value else {
            throw DecodingError.typeMismatch([String: JSONValue].self, self.context("not an object"))
        }
        return KeyedDecodingContainer(KeyedReader<Key>(members: members, codingPath: self.codingPath))
    }

    func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
        guard case .array(let elements) = self.value else {
            throw DecodingError.typeMismatch([JSONValue].self, self.context("not an array"))
        }
        return UnkeyedReader(elements: elements, codingPath: self.codingPath)
    }

    func singleValueContainer() -> any SingleValueDecodingContainer { SingleReader(decoder: self) }

    private func context(_ text: String) -> DecodingError.Context {
        DecodingError.Context(codingPath: self.codingPath, debugDescription: text)
    }
}

private struct KeyedReader<Key: CodingKey>: KeyedDecodingContainerProtocol {
    let members: [String: JSONValue]
    let codingPath: [any CodingKey]
    var allKeys: [Key] { self.members.sortedByKey.compactMap { Key(stringValue: $0.key) } }

    func contains(_ key: Key) -> Bool { self.members[key.stringValue] != nil }

    func decodeNil(forKey key: Key) throws -> Bool { try self.decoder(key).value == .null }

    func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value {
        try self.decoder(key).read(type)
    }

    func nestedContainer<NestedKey: CodingKey>(
        keyedBy type: NestedKey.Type, forKey key: Key
    ) throws -> KeyedDecodingContainer<NestedKey> {
        try self.decoder(key).container(keyedBy: type)
    }

    func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
        try self.decoder(key).unkeyedContainer()
    }

    func superDecoder() -> any Decoder {
        let key = JSONKey("super")
        return JSONValueDecoder(value: self.members[key.stringValue] ?? .null, codingPath: self.codingPath + [key])
    }

    func superDecoder(forKey key: Key) throws -> any Decoder { try self.decoder(key) }

    private func decoder(_ key: Key) throws -> JSONValueDecoder {
        guard let value = self.members[key.stringValue] else {
            throw DecodingError.keyNotFound(
                key, DecodingError.Context(codingPath: self.codingPath, debugDescription: "no such key"))
        }
        return JSONValueDecoder(value: value, codingPath: self.codingPath + [key])
    }
}

private struct UnkeyedReader: UnkeyedDecodingContainer {
    let elements: [JSONValue]
    let codingPath: [any CodingKey]
    private(set) var currentIndex = 0
    var count: Int? { self.elements.count }
    var isAtEnd: Bool { self.currentIndex >= self.elements.count }

    init(elements: [JSONValue], codingPath: [any CodingKey]) {
        self.elements = elements
        self.codingPath = codingPath
    }

    mutating func decodeNil() throws -> Bool {
        guard try self.decoder().value == .null else { return false }
        self.currentIndex += 1
        return true
    }

    mutating func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
        let value = try self.decoder().read(type)
        self.currentIndex += 1
        return value
    }

    mutating func nestedContainer<NestedKey: CodingKey>(
        keyedBy type: NestedKey.Type
    ) throws -> KeyedDecodingContainer<NestedKey> {
        let container = try self.decoder().container(keyedBy: type)
        self.currentIndex += 1
        return container
    }

    mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
        let container = try self.decoder().unkeyedContainer()
        self.currentIndex += 1
        return container
    }

    mutating func superDecoder() throws -> any Decoder {
        let decoder = try self.decoder()
        self.currentIndex += 1
        return decoder
    }

    private func decoder() throws -> JSONValueDecoder {
        let path = self.codingPath + [JSONKey(self.currentIndex)]
        guard !self.isAtEnd else {
            throw DecodingError.valueNotFound(
                JSONValue.self, DecodingError.Context(codingPath: path, debugDescription: "the array ends here"))
        }
        return JSONValueDecoder(value: self.elements[self.currentIndex], codingPath: path)
    }
}

private struct SingleReader: SingleValueDecodingContainer {
    let decoder: JSONValueDecoder
    var codingPath: [any CodingKey] { self.decoder.codingPath }

    func decodeNil() -> Bool { self.decoder.value == .null }

    func decode<Value: Decodable>(_ type: Value.Type) throws -> Value { try self.decoder.read(type) }
}
