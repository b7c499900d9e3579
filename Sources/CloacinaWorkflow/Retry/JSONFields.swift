/// The members of a JSON object that stands for a value of ours: read by name, and none left over.
struct JSONFields {
    private let members: [String: JSONValue]
    private let subject: String
    private let code: WorkflowError.Code
    private let fileID: String
    private let line: Int

    /// - Parameters:
    ///   - subject: What the object stands for, as in "a retry policy".
    ///   - code: What the refusals are.
    init(
        _ json: JSONValue, of subject: String, code: WorkflowError.Code, fileID: String, line: Int
    ) throws(WorkflowError) {
        guard case .object(let members) = json else {
            throw WorkflowError(code, "\(subject) is an object", fileID: fileID, line: line)
        }
        self.members = members
        self.subject = subject
        self.code = code
        self.fileID = fileID
        self.line = line
    }

    /// Refuses members beside these.
    func allowOnly(_ names: String...) throws(WorkflowError) {
        for name in self.members.sortedByKey.map(\.key) where !names.contains(name) {
            throw self.error(
                "\(self.subject) has no \"\(name)\"", suggestion: NameSuggestion.nearest(to: name, in: names))
        }
    }

    func has(_ name: String) -> Bool { self.members[name] != nil }

    func value(_ name: String) throws(WorkflowError) -> JSONValue {
        guard let value = self.members[name] else { throw self.error("\(self.subject) needs \"\(name)\"") }
        return value
    }

    func string(_ name: String) throws(WorkflowError) -> String {
        guard case .string(let text) = try self.value(name) else { throw self.mismatch(name, "a text") }
        return text
    }

    func bool(_ name: String) throws(WorkflowError) -> Bool {
        guard case .bool(let value) = try self.value(name) else { throw self.mismatch(name, "true or false") }
        return value
    }

    func integer(_ name: String) throws(WorkflowError) -> Int64 {
        switch try self.value(name) {
        case .integer(let value): return value
        case .double(let double):
            guard let value = Int64(exactly: double) else { fallthrough }
            return value
        default: throw self.mismatch(name, "a whole number")
        }
    }

    func double(_ name: String) throws(WorkflowError) -> Double {
        switch try self.value(name) {
        case .integer(let value): return Double(value)
        case .double(let value): return value
        case .number(let number):
            guard let value = number.double else { fallthrough }
            return value
        default: throw self.mismatch(name, "a number")
        }
    }

    func array(_ name: String) throws(WorkflowError) -> [JSONValue] {
        guard case .array(let elements) = try self.value(name) else { throw self.mismatch(name, "a list") }
        return elements
    }

    /// One of the names that a type has.
    func name<Name: RawRepresentable<String> & CaseIterable>(
        _ field: String, as type: Name.Type = Name.self
    ) throws(WorkflowError) -> Name {
        let text = try self.string(field)
        guard let name = Name(rawValue: text) else {
            throw self.error(
                "\(self.subject) has no \(field) \"\(text)\"",
                suggestion: NameSuggestion.nearest(to: text, in: Name.allCases.map(\.rawValue)))
        }
        return name
    }

    func error(_ message: String, suggestion: String? = nil) -> WorkflowError {
        WorkflowError(self.code, message, suggestion: suggestion, fileID: self.fileID, line: self.line)
    }

    private func mismatch(_ name: String, _ expected: String) -> WorkflowError {
        self.error("\"\(name)\" of \(self.subject) is \(expected)")
    }
}
