extension JSONValue {
    /// Makes the JSON of any encodable value, without a text in between.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/invalidValue``, naming the path to what can't be written: NaN or an
    ///   infinity, a date beyond the years 0000 to 9999, deeper nesting than ``maximumDepth``, or a value that refuses.
    public init(
        encoding value: some Encodable, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) {
        let node = EncodingNode()
        do {
            try node.store(value, path: [])
        } catch let error as WorkflowError {
            throw error
        } catch EncodingError.invalidValue(_, let context) where context.underlyingError is JSONRefusal {
            let place = context.codingPath.isEmpty ? "" : " at \(context.codingPath.words)"
            throw WorkflowError(.invalidValue, context.debugDescription + place, fileID: fileID, line: line)
        } catch EncodingError.invalidValue(_, let context) {
            let place = context.codingPath.isEmpty ? "" : " at \(context.codingPath.words)"
            throw WorkflowError(
                .invalidValue, "the value can't be encoded\(place)", underlying: context.underlyingError,
                fileID: fileID, line: line)
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
        if let leaf = value as? any JSONLeaf {
            guard let json = leaf.json else { throw Self.refusal(of: leaf, path: path) }
            self.store(json)
        } else {
            // A type that nests itself without end would otherwise overflow the stack before it is refused.
            guard path.count <= JSONValue.maximumDepth else {
                throw Self.refusal("the value is nested deeper than \(JSONValue.maximumDepth) levels", of: value)
            }
            try value.encode(to: JSONValueEncoder(node: self, codingPath: path))
        }
    }

    private static func refusal<Leaf: JSONLeaf>(of leaf: Leaf, path: [any CodingKey]) -> EncodingError {
        self.refusal("JSON has no place for this \(Leaf.self): it has to be \(Leaf.requirement)", of: leaf, path: path)
    }

    private static func refusal(_ text: String, of value: Any, path: [any CodingKey] = []) -> EncodingError {
        .invalidValue(
            value,
            EncodingError.Context(codingPath: path, debugDescription: text, underlyingError: JSONRefusal(text: text)))
    }
}

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

extension [any CodingKey] {
    /// The keys with dots between them.
    var words: String { self.map(\.stringValue).joined(separator: ".") }
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
