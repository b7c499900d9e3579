/// The values that the tasks of one pipeline share.
///
/// A task is given its own copy: the pipeline's input and the changes of every task it depends on. What it changes is
/// handed on when it succeeds, as a ``ContextDelta``; a task that fails hands on nothing.
///
/// ```swift
/// try context.set("rows", to: 42)
/// let rows = try context.get("rows", as: Int.self)
/// ```
public struct Context: Sendable {
    /// How many bytes a context may have as JSON text unless told otherwise: 1 MiB.
    public static let defaultByteLimit = 1 << 20

    /// All values by key.
    public private(set) var values: [String: JSONValue]

    /// How many bytes the context has as JSON text.
    public private(set) var byteCount: Int

    /// How many bytes it may have.
    public let byteLimit: Int

    /// Makes an empty context.
    public init(byteLimit: Int = Self.defaultByteLimit) {
        self.values = [:]
        self.byteCount = 2
        self.byteLimit = byteLimit
    }

    /// Makes a context of values.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/contextTooLarge`` or ``WorkflowError/Code/invalidValue``.
    public init(
        _ values: [String: JSONValue], byteLimit: Int = Self.defaultByteLimit, fileID: String = #fileID,
        line: Int = #line
    ) throws(WorkflowError) {
        self.init(byteLimit: byteLimit)
        for entry in values.sortedByKey {
            try self.store(entry.value, at: entry.key, fileID: fileID, line: line)
        }
    }

    // Disfavoured, as literals that can be JSON as they stand are that: `[1, 2.5]` is no array of two fractions.
    /// Makes a context of any encodable values, such as variables: `try Context(["order": order, "attempts": 3])`.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/contextTooLarge`` or ``WorkflowError/Code/invalidValue``, naming the
    ///   key.
    @_disfavoredOverload
    public init(
        _ values: [String: any Encodable], byteLimit: Int = Self.defaultByteLimit, fileID: String = #fileID,
        line: Int = #line
    ) throws(WorkflowError) {
        self.init(byteLimit: byteLimit)
        for entry in values.sortedByKey { try self.set(entry.key, to: entry.value, fileID: fileID, line: line) }
    }

    /// Makes a context of one value whose JSON is an object: each of its properties is a value of the context.
    ///
    /// ```swift
    /// try await runner.execute("ship", context: Context(encoding: order))
    /// ```
    ///
    /// ``decode(as:fileID:line:)`` is the way back.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/invalidValue`` when the value can't be encoded or is no object,
    ///   such as an array; or ``WorkflowError/Code/contextTooLarge``.
    public init(
        encoding value: some Encodable, byteLimit: Int = Self.defaultByteLimit, fileID: String = #fileID,
        line: Int = #line
    ) throws(WorkflowError) {
        guard case .object(let values) = try JSONValue(encoding: value, fileID: fileID, line: line) else {
            throw WorkflowError(
                .invalidValue, "a context is an object, which \(type(of: value)) isn't as JSON", fileID: fileID,
                line: line)
        }
        try self.init(values, byteLimit: byteLimit, fileID: fileID, line: line)
    }

    /// Reads a context back from its ``jsonText``.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/invalidJSON`` when the text is no JSON object, or
    ///   ``WorkflowError/Code/contextTooLarge``.
    public init(
        parsing text: String, byteLimit: Int = Self.defaultByteLimit, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) {
        guard case .object(let values) = try JSONValue(parsing: text, fileID: fileID, line: line) else {
            throw WorkflowError(.invalidJSON, "a context is an object", fileID: fileID, line: line)
        }
        try self.init(values, byteLimit: byteLimit, fileID: fileID, line: line)
    }

    /// The same values with another limit, which they may exceed already.
    package init(_ context: Context, byteLimit: Int) {
        self.values = context.values
        self.byteCount = context.byteCount
        self.byteLimit = byteLimit
    }

    /// The context as JSON text: the same bytes for the same values, keys sorted.
    public var jsonText: String {
        var printer = JSONPrinter()
        printer.write(.object(self.values))
        return String(decoding: printer.bytes, as: UTF8.self)
    }

    /// The keys, sorted.
    public var keys: [String] { self.values.sortedByKey.map(\.key) }

    /// The value at a key, or nil.
    public subscript(key: String) -> JSONValue? { self.values[key] }
}

extension Context: Equatable {
    /// Whether the values are equal, whatever the limits are.
    public static func == (left: Self, right: Self) -> Bool { left.values == right.values }
}

extension Context: CustomStringConvertible {
    /// The keys and the size; never a value.
    public var description: String { "Context(\(self.keys.joined(separator: ", ")); \(self.byteCount) bytes)" }
}

// MARK: Reading

extension Context {
    /// The value at a key.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/keyNotFound`` or ``WorkflowError/Code/typeMismatch``.
    public func get<Value: Decodable>(
        _ key: String, as type: Value.Type = Value.self, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) -> Value {
        guard let value = try self.getIfPresent(key, as: type, fileID: fileID, line: line) else {
            throw self.notFound(key, fileID: fileID, line: line)
        }
        return value
    }

    /// The value at a key, or nil when the context doesn't have it.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/typeMismatch``.
    public func getIfPresent<Value: Decodable>(
        _ key: String, as type: Value.Type = Value.self, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) -> Value? {
        guard let value = self.values[key] else { return nil }
        do {
            return try value.decode(as: type)
        } catch {
            throw WorkflowError(
                error.code, "\"\(key)\" is \(error.message)", underlying: error.underlying, fileID: fileID, line: line)
        }
    }

    /// All values as one of a type of your own, such as the one that ``init(encoding:byteLimit:fileID:line:)`` was given.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/typeMismatch``, naming the path to what didn't fit.
    public func decode<Value: Decodable>(
        as type: Value.Type = Value.self, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) -> Value {
        try JSONValue.object(self.values).decode(as: type, fileID: fileID, line: line)
    }

    private func notFound(_ key: String, fileID: String, line: Int) -> WorkflowError {
        WorkflowError(
            .keyNotFound, "the context has no \"\(key)\"", suggestion: NameSuggestion.nearest(to: key, in: self.keys),
            fileID: fileID, line: line)
    }
}

// MARK: Changing

extension Context {
    /// Adds a value under a new key.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/keyExists``, ``WorkflowError/Code/invalidValue`` or
    ///   ``WorkflowError/Code/contextTooLarge``; nothing changes then.
    public mutating func insert(
        _ key: String, _ value: some Encodable, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) {
        guard self.values[key] == nil else {
            throw WorkflowError(.keyExists, "the context has \"\(key)\" already", fileID: fileID, line: line)
        }
        try self.set(key, to: value, fileID: fileID, line: line)
    }

    /// Replaces the value at a key that exists.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/keyNotFound``, ``WorkflowError/Code/invalidValue`` or
    ///   ``WorkflowError/Code/contextTooLarge``; nothing changes then.
    public mutating func update(
        _ key: String, to value: some Encodable, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) {
        guard self.values[key] != nil else { throw self.notFound(key, fileID: fileID, line: line) }
        try self.set(key, to: value, fileID: fileID, line: line)
    }

    /// Stores a value, whether the key exists or not.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/invalidValue`` or ``WorkflowError/Code/contextTooLarge``;
    ///   nothing changes then.
    public mutating func set(
        _ key: String, to value: some Encodable, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) {
        let json: JSONValue
        do throws(WorkflowError) {
            json = try JSONValue(encoding: value, fileID: fileID, line: line)
        } catch {
            throw WorkflowError(
                error.code, "\"\(key)\": \(error.message)", underlying: error.underlying, fileID: fileID, line: line)
        }
        try self.store(json, at: key, fileID: fileID, line: line)
    }

    /// Takes a value out; nil when there was none.
    @discardableResult
    public mutating func remove(_ key: String) -> JSONValue? {
        guard let index = self.values.index(forKey: key) else { return nil }
        // It may be spelled otherwise, with other bytes.
        let (known, value) = self.values.remove(at: index)
        self.byteCount -= self.entrySize(known, value) + (self.values.isEmpty ? 0 : 1)
        return value
    }

    mutating func store(
        _ value: JSONValue, at key: String, limit: Int? = nil, fileID: String, line: Int
    ) throws(WorkflowError) {
        // The root object is one level of nesting of its own.
        try value.check(depth: 1, fileID: fileID, line: line)
        var size = self.byteCount + self.entrySize(key, value)
        if let old = self.values[key] {
            size -= self.entrySize(key, old)
        } else if !self.values.isEmpty {
            size += 1
        }
        guard size <= limit ?? self.byteLimit else {
            throw WorkflowError(
                .contextTooLarge, "with \"\(key)\" the context has \(size) bytes, \(self.byteLimit) are allowed",
                fileID: fileID, line: line)
        }
        self.values[key] = value
        self.byteCount = size
    }

    private func entrySize(_ key: String, _ value: JSONValue) -> Int {
        var printer = JSONPrinter()
        printer.write(key)
        printer.write(value)
        return printer.bytes.count + 1
    }
}
