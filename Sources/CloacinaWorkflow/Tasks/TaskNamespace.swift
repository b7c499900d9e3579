/// The full name of a task: whose it is, in which package and workflow. Written `tenant::package::workflow::task`.
public struct TaskNamespace: Sendable, Hashable, Codable {
    /// The tenant of those who didn't name one.
    public static let defaultTenant = "public"
    /// The package of workflows that are part of the program itself.
    public static let embeddedPackage = "embedded"

    /// The tenant's name.
    public let tenant: String
    /// The package's name.
    public let package: String
    /// The workflow's name.
    public let workflow: String
    /// The task's id.
    public let task: String

    /// Makes a name of its parts.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/invalidNamespace`` when a part is empty, holds `::`, or begins or
    ///   ends with `:`; its text could not be read back.
    public init(
        tenant: String = Self.defaultTenant, package: String = Self.embeddedPackage, workflow: String, task: String,
        fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) {
        for (name, part) in [("tenant", tenant), ("package", package), ("workflow", workflow), ("task", task)] {
            guard Self.canBePart(part) else {
                throw WorkflowError(
                    .invalidNamespace, "\"\(part)\" can't be the \(name) of a task's full name", fileID: fileID,
                    line: line)
            }
        }
        self.tenant = tenant
        self.package = package
        self.workflow = workflow
        self.task = task
    }

    /// Reads `tenant::package::workflow::task`.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/invalidNamespace``.
    public init(parsing text: String, fileID: String = #fileID, line: Int = #line) throws(WorkflowError) {
        let parts = Self.parts(of: text)
        guard parts.count == 4 else {
            throw WorkflowError(
                .invalidNamespace, "\"\(text)\" is not tenant::package::workflow::task", fileID: fileID, line: line)
        }
        try self.init(
            tenant: parts[0], package: parts[1], workflow: parts[2], task: parts[3], fileID: fileID, line: line)
    }

    /// Reads the text form from any decoder.
    public init(from decoder: any Decoder) throws {
        try self.init(parsing: decoder.singleValueContainer().decode(String.self))
    }

    /// Writes the text form to any encoder.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(self.description)
    }

    static func canBePart(_ text: String) -> Bool {
        let bytes = text.utf8
        let colon = UInt8(ascii: ":")
        return !bytes.isEmpty && bytes.first != colon && bytes.last != colon
            && !zip(bytes, bytes.dropFirst()).contains { $0 == colon && $1 == colon }
    }

    private static func parts(of text: String) -> [String] {
        let colon = UInt8(ascii: ":")
        var parts: [String] = []
        var rest = text.utf8[...]
        while let first = rest.indices.first(where: { index in
            let next = rest.index(after: index)
            return rest[index] == colon && next < rest.endIndex && rest[next] == colon
        }) {
            parts.append(String(Substring(rest[..<first])))
            rest = rest[rest.index(first, offsetBy: 2)...]
        }
        return parts + [String(Substring(rest))]
    }
}

extension TaskNamespace: CustomStringConvertible, LosslessStringConvertible {
    /// The text form: `tenant::package::workflow::task`.
    public var description: String { "\(self.tenant)::\(self.package)::\(self.workflow)::\(self.task)" }

    /// Reads the text form; nil when it isn't one.
    public init?(_ description: String) {
        do { try self.init(parsing: description) } catch { return nil }
    }
}

extension TaskNamespace: Comparable {
    /// Orders by tenant, package, workflow and task.
    public static func < (left: Self, right: Self) -> Bool {
        (left.tenant, left.package, left.workflow, left.task)
            < (right.tenant, right.package, right.workflow, right.task)
    }
}
