extension RetryPolicy {
    /// The policy as JSON text:
    ///
    /// ```json
    /// {"backoff_strategy":{"base":2.0,"multiplier":1.0,"type":"Exponential"},"initial_delay":{"nanos":0,"secs":1},
    ///  "jitter":true,"max_attempts":3,"max_delay":{"nanos":0,"secs":60},"retry_conditions":[{"type":"AllErrors"}]}
    /// ```
    ///
    /// The strategies are `Fixed`, `Linear`, `Exponential` and `Custom`, which has `delays`; the conditions are `Never`,
    /// `AllErrors`, `TransientOnly` and `ErrorPattern`, which has `patterns`. A delay's part below a nanosecond is cut off.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/invalidRetryPolicy`` when the policy isn't valid.
    public func jsonText(fileID: String = #fileID, line: Int = #line) throws(WorkflowError) -> String {
        try self.validate(fileID: fileID, line: line)
        return try self.json.jsonText(fileID: fileID, line: line)
    }

    /// Reads a policy back from its ``jsonText(fileID:line:)``, and what the Rust library of the same name writes.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/invalidJSON``, or with
    ///   ``WorkflowError/Code/invalidRetryPolicy`` for a field that is missing, unknown or of the wrong type, a name that no
    ///   strategy or condition has, and whatever ``validate(fileID:line:)`` refuses. A `Custom` strategy that names a function
    ///   is among that: a text can't hold one.
    public init(parsing text: String, fileID: String = #fileID, line: Int = #line) throws(WorkflowError) {
        try self.init(json: JSONValue(parsing: text, fileID: fileID, line: line), fileID: fileID, line: line)
    }

    private var json: JSONValue {
        [
            "max_attempts": .integer(Int64(clamping: self.maxAttempts)),
            "backoff_strategy": self.backoff.json,
            "initial_delay": self.initialDelay.json,
            "max_delay": self.maxDelay.json,
            "jitter": .bool(self.jitter),
            "retry_conditions": .array(self.conditions.map(\.json)),
        ]
    }

    private init(json: JSONValue, fileID: String, line: Int) throws(WorkflowError) {
        let fields = try JSONFields(
            json, of: "a retry policy", code: .invalidRetryPolicy, fileID: fileID, line: line)
        try fields.allowOnly(
            "max_attempts", "backoff_strategy", "initial_delay", "max_delay", "jitter", "retry_conditions")
        let reader = RetryReader(fileID: fileID, line: line)
        var conditions: [RetryCondition] = []
        for condition in try fields.array("retry_conditions") { conditions.append(try reader.condition(condition)) }
        self.init(
            maxAttempts: Int(clamping: try fields.integer("max_attempts")),
            backoff: try reader.strategy(fields.value("backoff_strategy")),
            initialDelay: try reader.duration(fields.value("initial_delay")),
            maxDelay: try reader.duration(fields.value("max_delay")),
            jitter: try fields.bool("jitter"), conditions: conditions)
        try self.validate(fileID: fileID, line: line)
    }
}

extension RetryPolicy: Codable {
    /// Reads the JSON form from any decoder.
    public init(from decoder: any Decoder) throws {
        try self.init(json: decoder.singleValueContainer().decode(JSONValue.self), fileID: #fileID, line: #line)
    }

    /// Writes the JSON form to any encoder.
    public func encode(to encoder: any Encoder) throws {
        try self.validate()
        var container = encoder.singleValueContainer()
        try container.encode(self.json)
    }
}

// MARK: Writing

extension BackoffStrategy {
    fileprivate var json: JSONValue {
        switch self {
        case .fixed: ["type": "Fixed"]
        case .linear(let multiplier): ["type": "Linear", "multiplier": .double(multiplier)]
        case .exponential(let base, let multiplier):
            ["type": "Exponential", "base": .double(base), "multiplier": .double(multiplier)]
        case .custom(let delays): ["type": "Custom", "delays": .array(delays.map(\.json))]
        }
    }
}

extension RetryCondition {
    fileprivate var json: JSONValue {
        switch self {
        case .never: ["type": "Never"]
        case .allErrors: ["type": "AllErrors"]
        case .transientOnly: ["type": "TransientOnly"]
        case .errorPattern(let patterns):
            ["type": "ErrorPattern", "patterns": .array(patterns.map { .string($0) })]
        }
    }
}

extension Duration {
    /// For a duration that a policy allows.
    fileprivate var json: JSONValue {
        let (seconds, attoseconds) = self.components
        return ["secs": .integer(seconds), "nanos": .integer(attoseconds / 1_000_000_000)]
    }
}

// MARK: Reading

private struct RetryReader {
    private enum Strategy: String, CaseIterable {
        case fixed = "Fixed"
        case linear = "Linear"
        case exponential = "Exponential"
        case custom = "Custom"
    }

    private enum Condition: String, CaseIterable {
        case never = "Never"
        case allErrors = "AllErrors"
        case transientOnly = "TransientOnly"
        case errorPattern = "ErrorPattern"
    }

    let fileID: String
    let line: Int

    func strategy(_ json: JSONValue) throws(WorkflowError) -> BackoffStrategy {
        let fields = try self.fields(json, of: "a backoff strategy")
        switch try fields.name("type", as: Strategy.self) {
        case .fixed:
            try fields.allowOnly("type")
            return .fixed
        case .linear:
            try fields.allowOnly("type", "multiplier")
            return .linear(multiplier: try fields.double("multiplier"))
        case .exponential:
            try fields.allowOnly("type", "base", "multiplier")
            return .exponential(base: try fields.double("base"), multiplier: try fields.double("multiplier"))
        case .custom:
            guard !fields.has("function_name") else {
                throw fields.error("a custom strategy is a list of \"delays\"; a text can't name a function")
            }
            try fields.allowOnly("type", "delays")
            var delays: [Duration] = []
            for delay in try fields.array("delays") { delays.append(try self.duration(delay)) }
            return .custom(delays)
        }
    }

    func condition(_ json: JSONValue) throws(WorkflowError) -> RetryCondition {
        let fields = try self.fields(json, of: "a retry condition")
        switch try fields.name("type", as: Condition.self) {
        case .never:
            try fields.allowOnly("type")
            return .never
        case .allErrors:
            try fields.allowOnly("type")
            return .allErrors
        case .transientOnly:
            try fields.allowOnly("type")
            return .transientOnly
        case .errorPattern:
            try fields.allowOnly("type", "patterns")
            return .errorPattern(try self.patterns(fields))
        }
    }

    private func patterns(_ fields: JSONFields) throws(WorkflowError) -> [String] {
        var patterns: [String] = []
        for pattern in try fields.array("patterns") {
            guard case .string(let pattern) = pattern else { throw fields.error("an error pattern is a text") }
            patterns.append(pattern)
        }
        return patterns
    }

    func duration(_ json: JSONValue) throws(WorkflowError) -> Duration {
        let fields = try self.fields(json, of: "a delay")
        try fields.allowOnly("secs", "nanos")
        let seconds = try fields.integer("secs")
        let nanoseconds = try fields.integer("nanos")
        guard seconds >= 0, (0..<1_000_000_000).contains(nanoseconds) else {
            throw fields.error("a delay has no \(seconds) secs and \(nanoseconds) nanos")
        }
        // can't trap: whole numbers of 64 bits, and a Duration has 128
        return .seconds(seconds) + .nanoseconds(nanoseconds)
    }

    private func fields(_ json: JSONValue, of subject: String) throws(WorkflowError) -> JSONFields {
        try JSONFields(json, of: subject, code: .invalidRetryPolicy, fileID: self.fileID, line: self.line)
    }
}
