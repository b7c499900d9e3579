/// Where a value is in a ``Context``: `status`, `order.total`, `order.items[0].price`.
///
/// A dot goes into an object, a number in brackets into an array, counted from 0. A backslash before `.`, `[`, `]` or `\`
/// makes it a part of the key: `"hosts.example\\.org"` is the key `example.org` in the object `hosts`.
///
/// A path can be written as a literal. One that can't be read, such as `"a..b"`, leads nowhere, and the check of the workflow
/// refuses the rule it is in.
public struct ContextPath: Sendable, Hashable {
    enum Step: Sendable, Hashable {
        case key(String)
        case index(Int)
    }

    /// The way from the context to the value; empty when the text couldn't be read.
    let steps: [Step]
    /// The text that couldn't be read and why.
    let problem: String?

    /// Makes the path to a value of the context itself, whatever characters its key has.
    public init(key: String) {
        self.steps = [.key(key)]
        self.problem = nil
    }

    /// Reads a path.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/invalidRule``.
    public init(parsing text: String, fileID: String = #fileID, line: Int = #line) throws(WorkflowError) {
        self.init(stringLiteral: text)
        try self.validate(fileID: fileID, line: line)
    }

    func validate(fileID: String, line: Int) throws(WorkflowError) {
        guard let problem = self.problem else { return }
        throw WorkflowError(.invalidRule, problem, fileID: fileID, line: line)
    }

    /// The path's only key when it doesn't lead into the value.
    var onlyKey: String? {
        guard self.steps.count == 1, case .key(let key)? = self.steps.first else { return nil }
        return key
    }
}

extension ContextPath: ExpressibleByStringLiteral {
    /// Makes the path that a literal says.
    public init(stringLiteral text: String) {
        var reader = ContextPathReader(text)
        do {
            self.steps = try reader.steps()
            self.problem = nil
        } catch {
            self.steps = []
            self.problem = "\"\(text)\" is no path to a value: \(error.reason)"
        }
    }
}

extension ContextPath: CustomStringConvertible {
    /// The path as it is written.
    public var description: String {
        guard !self.steps.isEmpty else { return self.problem ?? "" }
        var text = ""
        for (position, step) in self.steps.enumerated() {
            switch step {
            case .key(let key):
                if position > 0 { text += "." }
                for character in key {
                    if ContextPathReader.special.contains(character) { text += "\\" }
                    text.append(character)
                }
            case .index(let index): text += "[\(index)]"
            }
        }
        return text
    }
}

extension Context {
    /// The value at a path, as in `context[at: "order.items[0].price"]`; nil when there is none.
    public subscript(at path: ContextPath) -> JSONValue? {
        guard case .key(let key)? = path.steps.first, var value = self[key] else { return nil }
        for step in path.steps.dropFirst() {
            switch (step, value) {
            case (.key(let key), .object(let members)):
                guard let member = members[key] else { return nil }
                value = member
            case (.index(let index), .array(let elements)):
                guard elements.indices.contains(index) else { return nil }
                value = elements[index]
            default: return nil
            }
        }
        return value
    }
}

private struct ContextPathReader {
    struct Failure: Error {
        let reason: String
        init(_ reason: String) { self.reason = reason }
    }

    static let special: Set<Character> = [".", "[", "]", "\\"]

    private var rest: Substring

    init(_ text: String) { self.rest = text[...] }

    mutating func steps() throws(Failure) -> [ContextPath.Step] {
        var steps: [ContextPath.Step] = [.key(try self.key())]
        while let separator = self.rest.popFirst() {
            switch separator {
            case ".": steps.append(.key(try self.key()))
            case "[": steps.append(.index(try self.index()))
            default: throw Failure("neither . nor [ after a bracket")
            }
        }
        return steps
    }

    private mutating func key() throws(Failure) -> String {
        var key = ""
        while let character = self.rest.first, character != ".", character != "[" {
            self.rest.removeFirst()
            switch character {
            case "]": throw Failure("] without [")
            case "\\":
                guard let escaped = self.rest.popFirst(), Self.special.contains(escaped) else {
                    throw Failure("\\ before something other than . [ ] \\")
                }
                key.append(escaped)
            default: key.append(character)
            }
        }
        guard !key.isEmpty else { throw Failure("a key is empty") }
        return key
    }

    private mutating func index() throws(Failure) -> Int {
        guard let end = self.rest.firstIndex(of: "]") else { throw Failure("[ without ]") }
        let digits = self.rest[..<end]
        self.rest = self.rest[self.rest.index(after: end)...]
        // Only what Int writes itself, so that a path has one spelling: no sign, no leading zero.
        guard let index = Int(digits, radix: 10), index >= 0, String(index) == digits else {
            throw Failure("no number from 0 in the brackets")
        }
        return index
    }
}
