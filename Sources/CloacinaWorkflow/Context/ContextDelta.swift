/// What a task changed in the context it was given: the keys it set and the keys it removed.
///
/// This is what the database stores for a task. Deltas of tasks that ran side by side are applied one after the other, in
/// the order in which the dependencies are declared:
///
/// - of two that set one key, the later wins;
/// - objects merge by key, at every depth, and each side's removals hold for the keys it was given;
/// - arrays are values: the later one replaces the earlier;
/// - what no task touched stays as it was in the input.
public struct ContextDelta: Sendable, Hashable {
    /// What happened to one key.
    public enum Change: Sendable, Hashable {
        /// The key has this value now. An object is merged into an object that another task left there.
        case set(JSONValue)
        /// The key is gone.
        case removed
        /// The value was an object and is one, with these changes inside.
        case merged(ContextDelta)
    }

    /// The changes by key.
    public private(set) var changes: [String: Change]

    /// Makes a delta that changes nothing.
    public init() { self.changes = [:] }

    /// Makes a delta of changes.
    public init(_ changes: [String: Change]) { self.changes = changes }

    /// Finds what turns one context into another.
    public init(from given: Context, to result: Context) {
        self.init(from: given.values, to: result.values)
    }

    private init(from given: [String: JSONValue], to result: [String: JSONValue]) {
        var changes: [String: Change] = [:]
        for (key, value) in result where !given.holds(value, at: key) {
            if case .object(let before)? = given[key], case .object(let after) = value {
                changes[key] = .merged(ContextDelta(from: before, to: after))
            } else {
                changes[key] = .set(value)
            }
        }
        for key in given.keys where result[key] == nil { changes[key] = .removed }
        self.changes = changes
    }

    /// Whether it changes nothing.
    public var isEmpty: Bool { self.changes.isEmpty }
}

extension Context {
    /// Applies what a task changed; see ``ContextDelta`` for the rules.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/contextTooLarge`` when what the tasks hand on together is more
    ///   than one context may hold; nothing changes then.
    public mutating func apply(
        _ delta: ContextDelta, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) {
        try self.apply([delta], fileID: fileID, line: line)
    }

    /// Applies what several tasks changed, one after the other. The limit holds for the sum, so what one key needs another
    /// may have given up.
    package mutating func apply(
        _ deltas: [ContextDelta], fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) {
        var result = self
        for (key, change) in deltas.lazy.flatMap(\.changes) {
            guard let value = change.result(on: result[key]) else {
                result.remove(key)
                continue
            }
            guard !result.values.holds(value, at: key) else { continue }
            // The key is spelled as the task has it.
            result.remove(key)
            try result.store(value, at: key, limit: .max, fileID: fileID, line: line)
        }
        guard result.byteCount <= self.byteLimit else {
            throw WorkflowError(
                .contextTooLarge,
                "what the tasks hand on has \(result.byteCount) bytes, \(self.byteLimit) are allowed",
                fileID: fileID, line: line)
        }
        self = result
    }
}

extension ContextDelta.Change {
    /// The value that a key has after the change; nil when it is gone.
    fileprivate func result(on existing: JSONValue?) -> JSONValue? {
        switch (self, existing) {
        case (.removed, _):
            return nil
        case (.set(.object(let added)), .object(let members)?):
            return JSONValue.merge(.object(added), onto: .object(members))
        case (.set(let value), _):
            return value
        case (.merged(let delta), .object(let members)?):
            return .object(delta.result(on: members))
        case (.merged(let delta), _):
            // Another task replaced or removed the object: what this one set stays, its removals have nothing to remove.
            let members = delta.result(on: [:])
            return members.isEmpty ? existing : .object(members)
        }
    }
}

extension ContextDelta {
    fileprivate func result(on members: [String: JSONValue]) -> [String: JSONValue] {
        var members = members
        for (key, change) in self.changes { members.store(change.result(on: members[key]), at: key) }
        return members
    }
}

extension JSONValue {
    fileprivate static func merge(_ later: JSONValue, onto earlier: JSONValue) -> JSONValue {
        guard case .object(let added) = later, case .object(let members) = earlier else { return later }
        var merged = members
        for (key, value) in added { merged.store(members[key].map { self.merge(value, onto: $0) } ?? value, at: key) }
        return .object(merged)
    }
}

extension [String: JSONValue] {
    /// Stores a value at a key of that spelling, which a dictionary by itself keeps as it was first.
    fileprivate mutating func store(_ value: JSONValue?, at key: String) {
        self.removeValue(forKey: key)
        self[key] = value
    }
}

// MARK: As JSON

extension ContextDelta {
    /// The delta as JSON text: `{"merged":{…},"removed":[…],"set":{…}}`, without the parts that are empty.
    public var jsonText: String {
        var printer = JSONPrinter()
        printer.write(self.json)
        return String(decoding: printer.bytes, as: UTF8.self)
    }

    /// Reads a delta back from its ``jsonText``.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/invalidJSON``.
    public init(parsing text: String, fileID: String = #fileID, line: Int = #line) throws(WorkflowError) {
        // Two levels of JSON for each level of objects that are merged.
        let depth = 2 * JSONValue.maximumDepth + 2
        let json = try JSONValue(parsing: text, depth: depth, fileID: fileID, line: line)
        guard let delta = Self(json: json) else {
            throw WorkflowError(.invalidJSON, "not a delta of a context", fileID: fileID, line: line)
        }
        self = delta
    }

    private var json: JSONValue {
        var set: [String: JSONValue] = [:]
        var removed: [JSONValue] = []
        var merged: [String: JSONValue] = [:]
        for (key, change) in self.changes.sortedByKey {
            switch change {
            case .set(let value): set[key] = value
            case .removed: removed.append(.string(key))
            case .merged(let delta): merged[key] = delta.json
            }
        }
        var parts: [String: JSONValue] = [:]
        if !set.isEmpty { parts["set"] = .object(set) }
        if !removed.isEmpty { parts["removed"] = .array(removed) }
        if !merged.isEmpty { parts["merged"] = .object(merged) }
        return .object(parts)
    }

    private init?(json: JSONValue) {
        guard case .object(let parts) = json else { return nil }
        self.init()
        for (part, value) in parts {
            switch (part, value) {
            case ("set", .object(let members)):
                for (key, value) in members { self.changes[key] = .set(value) }
            case ("removed", .array(let keys)):
                for key in keys {
                    guard case .string(let key) = key else { return nil }
                    self.changes[key] = .removed
                }
            case ("merged", .object(let members)):
                for (key, value) in members {
                    guard let delta = Self(json: value) else { return nil }
                    self.changes[key] = .merged(delta)
                }
            default: return nil
            }
        }
    }
}
