/// Why a workflow, a context or a name was refused.
///
/// `description` names code, keys and ids, never a stored value, and is safe to log.
public struct WorkflowError: Error, Sendable {
    /// What went wrong.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        enum Base: String {
            case emptyWorkflow, invalidName, duplicateTask, missingDependency, selfDependency, cyclicDependency
            case taskNotFound, invalidNamespace
            case keyExists, keyNotFound, typeMismatch, invalidValue, contextTooLarge, invalidJSON
            case invalidRetryPolicy, invalidRule
        }
        let base: Base

        /// A workflow without tasks.
        public static let emptyWorkflow = Self(base: .emptyWorkflow)
        /// A workflow's name or a task's id is empty, too long, or holds `::`, a `:` at an end, a control character or
        /// space at an end.
        public static let invalidName = Self(base: .invalidName)
        /// Two tasks have the same id.
        public static let duplicateTask = Self(base: .duplicateTask)
        /// A task depends on one that the workflow doesn't have.
        public static let missingDependency = Self(base: .missingDependency)
        /// A task depends on itself.
        public static let selfDependency = Self(base: .selfDependency)
        /// Tasks depend on each other in a circle; see ``WorkflowError/path``.
        public static let cyclicDependency = Self(base: .cyclicDependency)
        /// The workflow has no task of that id.
        public static let taskNotFound = Self(base: .taskNotFound)
        /// A text isn't `tenant::package::workflow::task`, or a part can't be one.
        public static let invalidNamespace = Self(base: .invalidNamespace)
        /// The context has the key already.
        public static let keyExists = Self(base: .keyExists)
        /// The context doesn't have the key.
        public static let keyNotFound = Self(base: .keyNotFound)
        /// A value isn't of the type that was asked for.
        public static let typeMismatch = Self(base: .typeMismatch)
        /// A value that JSON can't hold.
        public static let invalidValue = Self(base: .invalidValue)
        /// The context would grow beyond its limit.
        public static let contextTooLarge = Self(base: .contextTooLarge)
        /// A text that isn't JSON, or says what a value can't hold exactly.
        public static let invalidJSON = Self(base: .invalidJSON)

        /// The code's name.
        public var description: String { self.base.rawValue }
    }

    /// What went wrong.
    public let code: Code
    /// What it was about, in words.
    public let message: String
    /// The circle of a ``Code/cyclicDependency``: each task depends on the next one, and the first is repeated at the end.
    public let path: [String]
    /// The existing name that was probably meant, where one is near.
    public let suggestion: String?
    /// The error that caused this one.
    public let underlying: (any Error)?
    /// Where the refused call stands.
    public let fileID: String
    /// The line of the refused call.
    public let line: Int

    init(
        _ code: Code, _ message: String, path: [String] = [], suggestion: String? = nil,
        underlying: (any Error)? = nil, fileID: String, line: Int
    ) {
        self.code = code
        self.message = message
        self.path = path
        self.suggestion = suggestion
        self.underlying = underlying
        self.fileID = fileID
        self.line = line
    }
}

extension WorkflowError: CustomStringConvertible {
    /// The code and what it was about.
    public var description: String {
        let question = self.suggestion.map { "; did you mean \"\($0)\"?" } ?? ""
        return "\(self.code): \(self.message)\(question)"
    }
}
