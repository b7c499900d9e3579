extension JSONValue {
    /// Makes the JSON of any encodable value, without a text in between.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/invalidValue`` when the value holds NaN or an infinity, a whole
    ///   number beyond `Int64`, deeper nesting than ``maximumDepth``, or refuses to be encoded.
    public init(
        encoding value: some Encodable, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) {
        let node = EncodingNode()
        do {
            try node.store(value, path: [])
        } catch let error as WorkflowError {
            throw error
        } catch EncodingError.invalidValue(_, let context) {
            throw WorkflowError(
                .invalidValue, context.debugDescription, underlying: nil, fileID: fileID, line: line)
        } catch {
            throw WorkflowError(
                .invalidValue, "the value can't be encoded", underlying: error, fileID: fileID, line: line)
        }
        self = node.value
        try self.check(fileID: fileID, line: line)
    }
}

/// What an encodable type is writing: a place for one value that containers share.
private final class EncodingNode {
    private enum Content {
        case empty
        case leaf(JSONValue)
        case array([EncodingNode])
        case object([String: EncodingNode])
    }
    private var content = Content.empty

    /// What was written; an object when nothing was, as a type without stored properties writes nothing.
    var value: JSONValue {
        switch self.content {
        case .empty: .object([:])
        case .leaf(let value): value
        case .array(let nodes): .array(nodes.map(\.value))
        case .object(let nodes): .object(nodes.mapValues(\.value))
        }
    }

    var count: Int {
        if case .array(let nodes) = self.content { nodes.count } else { 0 }
    }

    func becomeArray() {
        if case .array = self.content { return }
        self.content = .array([])
    }

    func becomeObject() {
        if case .object = self.content { return }
        self.content = .object([:])
    }

    func append() -> EncodingNode {
        let node = EncodingNode()
        guard case .array(var nodes) = self.content else { return node }
        self.content = .empty
        nodes.append(node)
        self.content = .array(nodes)
        return node
    }

    func member(_ key: String) -> EncodingNode {
        let node = EncodingNode()
        guard case .object(var nodes) = self.content else { return node }
        self.content = .empty
        nodes[key] = node
        self.content = .object(nodes)
        return node
    }

    func store(_ value: JSONValue) {
        self.content = .leaf(value)
    }

    func store<Value: Encodable>(_ value: Value, path: [any CodingKey]) throws {
        if let value = value as? JSONValue {
            self.store(value)
        } else if let leaf = value as? any JSONLeaf {
            guard let json = leaf.json else {
                throw EncodingError.invalidValue(
                    value,
                    EncodingError.Context(
                        codingPath: path, debugDescription: "JSON has no place for this number: \(Value.self)"))
            }
            self.store(json)
        } else {
            // A type that nests itself without end would otherwise overflow the stack before it is refused.
            guard path.count <= JSONValue.maximumDepth else {
                throw EncodingError.invalidValue(
                    value, EncodingError.Context(codingPath: path, debugDescription: "the value is nested too deeply"))
            }
            try value.encode(to: JSONValueEncoder(node: self, codingPath: path))
        }
    }
}

/// A type that is one JSON value by itself.
private protocol JSONLeaf {
    /// The value; nil when JSON can't say it.
    var json: JSONValue? { get }
}

extension Bool: JSONLeaf {
    fileprivate var json: JSONValue? { .bool(self) }
}

extension String: JSONLeaf {
    fileprivate var json: JSONValue? { .string(self) }
}

extension BinaryFloatingPoint {
    fileprivate var json: JSONValue? { self.isFinite ? .double(Double(self)) : nil }
}

extension Double: JSONLeaf {}
extension Float: JSONLeaf {}

extension FixedWidthInteger {
    fileprivate var json: JSONValue? { Int64(exactly: self).map(JSONValue.integer) }
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

private struct JSONValueEncoder: Encoder {
    let node: EncodingNode
    let codingPath: [any CodingKey]
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
        self.node.becomeObject()
        return KeyedEncodingContainer(KeyedWriter<Key>(node: self.node, codingPath: self.codingPath))
    }

    func unkeyedContainer() -> any UnkeyedEncodingContainer {
        self.node.becomeArray()
        return UnkeyedWriter(node: self.node, codingPath: self.codingPath)
    }

    func singleValueContainer() -> any SingleValueEncodingContainer {
        SingleWriter(node: self.node, codingPath: self.codingPath)
    }
}

private struct KeyedWriter<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let node: EncodingNode
    let codingPath: [any CodingKey]

    func encodeNil(forKey key: Key) { self.node.member(key.stringValue).store(.null) }

    func encode<Value: Encodable>(_ value: Value, forKey key: Key) throws {
        try self.node.member(key.stringValue).store(value, path: self.codingPath + [key])
    }

    func nestedContainer<NestedKey: CodingKey>(
        keyedBy keyType: NestedKey.Type, forKey key: Key
    ) -> KeyedEncodingContainer<NestedKey> {
        JSONValueEncoder(node: self.node.member(key.stringValue), codingPath: self.codingPath + [key])
            .container(keyedBy: keyType)
    }

    func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
        JSONValueEncoder(node: self.node.member(key.stringValue), codingPath: self.codingPath + [key])
            .unkeyedContainer()
    }

    func superEncoder() -> any Encoder {
        let key = JSONKey("super")
        return JSONValueEncoder(node: self.node.member(key.stringValue), codingPath: self.codingPath + [key])
    }

    func superEncoder(forKey key: Key) -> any Encoder {
        JSONValueEncoder(node: self.node.member(key.stringValue), codingPath: self.codingPath + [key])
    }
}

private struct UnkeyedWriter: UnkeyedEncodingContainer {
    let node: EncodingNode
    let codingPath: [any CodingKey]
    var count: Int { self.node.count }

    private var nextPath: [any CodingKey] { self.codingPath + [JSONKey(self.count)] }

    func encodeNil() { self.node.append().store(.null) }

    func encode<Value: Encodable>(_ value: Value) throws {
        let path = self.nextPath
        try self.node.append().store(value, path: path)
    }

    func nestedContainer<NestedKey: CodingKey>(keyedBy keyType: NestedKey.Type) -> KeyedEncodingContainer<NestedKey> {
        let path = self.nextPath
        return JSONValueEncoder(node: self.node.append(), codingPath: path).container(keyedBy: keyType)
    }

    func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer {
        let path = self.nextPath
        return JSONValueEncoder(node: self.node.append(), codingPath: path).unkeyedContainer()
    }

    func superEncoder() -> any Encoder {
        let path = self.nextPath
        return JSONValueEncoder(node: self.node.append(), codingPath: path)
    }
}

private struct SingleWriter: SingleValueEncodingContainer {
    let node: EncodingNode
    let codingPath: [any CodingKey]

    func encodeNil() { self.node.store(.null) }

    func encode<Value: Encodable>(_ value: Value) throws { try self.node.store(value, path: self.codingPath) }
}

/// A key for where a type's own keys say nothing: an index, or `super`.
struct JSONKey: CodingKey {
    let stringValue: String
    let intValue: Int?

    init(_ text: String) {
        self.stringValue = text
        self.intValue = nil
    }

    init(_ index: Int) {
        self.stringValue = "\(index)"
        self.intValue = index
    }

    init?(stringValue: String) { self.init(stringValue) }

    init?(intValue: Int) { self.init(intValue) }
}
