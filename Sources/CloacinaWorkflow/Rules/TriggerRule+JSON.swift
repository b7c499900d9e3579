extension TriggerRule {
    /// The rule as JSON text:
    ///
    /// ```json
    /// {"conditions":[{"task_name":"validate","type":"TaskSuccess"},
    ///                {"key":"total","operator":"GreaterThan","type":"ContextValue","value":100}],"type":"All"}
    /// ```
    ///
    /// The types are `Always`; `All`, `Any` and `None`, which have `conditions`; `Not`, which has a `condition`; `TaskSuccess`,
    /// `TaskFailed` and `TaskSkipped`, which have a `task_name`; `NoneFailedAbove`, which the Rust library doesn't know; and
    /// `ContextValue`. The `key` of that is a key of the context itself, dots and all. A way into the value is a `path` in its
    /// place; see ``ContextPath``.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/invalidRule`` when the rule is deeper than ``maximumDepth``, a path
    ///   can't be read, or a value is none that JSON can hold.
    public func jsonText(fileID: String = #fileID, line: Int = #line) throws(WorkflowError) -> String {
        try self.validate(fileID: fileID, line: line)
        return try self.json.jsonText(fileID: fileID, line: line)
    }

    /// Reads a rule back from its ``jsonText(fileID:line:)``, and what the Rust library of the same name writes or documents:
    /// of a task's full name, such as `public::embedded::orders::charge`, the task's id counts.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/invalidJSON``, or with ``WorkflowError/Code/invalidRule`` for a
    ///   field that is missing, unknown or of the wrong type, a type or operator that doesn't exist, a path that can't be read,
    ///   and a rule that is deeper than ``maximumDepth``.
    public init(parsing text: String, fileID: String = #fileID, line: Int = #line) throws(WorkflowError) {
        try self.init(json: JSONValue(parsing: text, fileID: fileID, line: line), fileID: fileID, line: line)
    }

    private var json: JSONValue {
        switch self {
        case .always: ["type": "Always"]
        case .all(let rules): ["type": "All", "conditions": .array(rules.map(\.json))]
        case .any(let rules): ["type": "Any", "conditions": .array(rules.map(\.json))]
        case .none(let rules): ["type": "None", "conditions": .array(rules.map(\.json))]
        case .not(let rule): ["type": "Not", "condition": rule.json]
        case .taskSucceeded(let id): ["type": "TaskSuccess", "task_name": .string(id)]
        case .taskFailed(let id): ["type": "TaskFailed", "task_name": .string(id)]
        case .taskSkipped(let id): ["type": "TaskSkipped", "task_name": .string(id)]
        case .noneFailedAbove: ["type": "NoneFailedAbove"]
        case .contextValue(let path, let comparison, let value):
            [
                "type": "ContextValue",
                path.onlyKey == nil ? "path" : "key": .string(path.onlyKey ?? path.description),
                "operator": .string(comparison.rawValue),
                "value": value,
            ]
        }
    }

    private init(json: JSONValue, fileID: String, line: Int) throws(WorkflowError) {
        self = try TriggerRuleReader(fileID: fileID, line: line).rule(json, depth: 1)
        try self.validate(fileID: fileID, line: line)
    }
}

extension TriggerRule: Codable {
    /// Reads the JSON form from any decoder.
    public init(from decoder: any Decoder) throws {
        try self.init(json: decoder.singleValueContainer().decode(JSONValue.self), fileID: #fileID, line: #line)
    }

    /// Writes the JSON form to any encoder.
    public func encode(to encoder: any Encoder) throws {
        try self.validate(fileID: #fileID, line: #line)
        var container = encoder.singleValueContainer()
        try container.encode(self.json)
    }
}

private struct TriggerRuleReader {
    private enum Kind: String, CaseIterable {
        case always = "Always"
        case all = "All"
        case any = "Any"
        case none = "None"
        case not = "Not"
        case taskSucceeded = "TaskSuccess"
        case taskFailed = "TaskFailed"
        case taskSkipped = "TaskSkipped"
        case noneFailedAbove = "NoneFailedAbove"
        case contextValue = "ContextValue"
        /// Documented by the Rust library for a single ``contextValue``, and read by no version of it.
        case conditional = "Conditional"
    }

    let fileID: String
    let line: Int

    func rule(_ json: JSONValue, depth: Int) throws(WorkflowError) -> TriggerRule {
        let fields = try self.fields(json, of: "a trigger rule")
        guard depth <= TriggerRule.maximumDepth else {
            throw fields.error("the rule is deeper than \(TriggerRule.maximumDepth) levels")
        }
        switch try fields.name("type", as: Kind.self) {
        case .always:
            try fields.allowOnly("type")
            return .always
        case .noneFailedAbove:
            try fields.allowOnly("type")
            return .noneFailedAbove
        case .all: return .all(try self.rules(fields, depth: depth))
        case .any: return .any(try self.rules(fields, depth: depth))
        case .none: return .none(try self.rules(fields, depth: depth))
        case .not:
            try fields.allowOnly("type", "condition")
            return .not(try self.rule(fields.value("condition"), depth: depth + 1))
        case .taskSucceeded: return .taskSucceeded(try self.taskID(fields))
        case .taskFailed: return .taskFailed(try self.taskID(fields))
        case .taskSkipped: return .taskSkipped(try self.taskID(fields))
        case .contextValue: return try self.contextValue(fields)
        case .conditional:
            try fields.allowOnly("type", "condition")
            let condition = try self.fields(fields.value("condition"), of: "a condition")
            try condition.allowOnly("field", "operator", "value")
            return try self.contextValue(condition, at: ContextPath(key: condition.string("field")))
        }
    }

    private func rules(_ fields: JSONFields, depth: Int) throws(WorkflowError) -> [TriggerRule] {
        try fields.allowOnly("type", "conditions")
        var rules: [TriggerRule] = []
        for condition in try fields.array("conditions") { rules.append(try self.rule(condition, depth: depth + 1)) }
        return rules
    }

    private func taskID(_ fields: JSONFields) throws(WorkflowError) -> String {
        try fields.allowOnly("type", "task_name")
        let name = try fields.string("task_name")
        return TaskNamespace(name)?.task ?? name
    }

    private func contextValue(_ fields: JSONFields) throws(WorkflowError) -> TriggerRule {
        try fields.allowOnly("type", "key", "path", "operator", "value")
        guard fields.has("path") else {
            return try self.contextValue(fields, at: ContextPath(key: fields.string("key")))
        }
        guard !fields.has("key") else { throw fields.error("a condition has a \"key\" or a \"path\", not both") }
        return try self.contextValue(
            fields, at: ContextPath(parsing: fields.string("path"), fileID: self.fileID, line: self.line))
    }

    private func contextValue(_ fields: JSONFields, at path: ContextPath) throws(WorkflowError) -> TriggerRule {
        let comparison = try fields.name("operator", as: ValueOperator.self)
        guard comparison.needsValue || fields.has("value") else { return .contextValue(path, comparison, .null) }
        return .contextValue(path, comparison, try fields.value("value"))
    }

    private func fields(_ json: JSONValue, of subject: String) throws(WorkflowError) -> JSONFields {
        try JSONFields(json, of: subject, code: .invalidRule, fileID: self.fileID, line: self.line)
    }
}
