import SwiftSyntax

/// A type marked with `@Workflow`, as far as it could be understood.
struct WorkflowDeclaration {
    let type: WorkflowType
    /// The workflow's name; nil when the author's can't be read before the program runs.
    let name: NameLiteral?
    /// What stands behind `description:`.
    let description: ExprSyntax?
    /// The tasks and the `#if`s around them, as declared.
    let parts: [Part]

    /// A task, or several under conditions.
    enum Part {
        case task(TaskDeclaration)
        case conditional([Clause])
    }

    /// One branch of an `#if`.
    struct Clause {
        /// The line that opens it, such as `#if DEBUG` or `#else`.
        let head: String
        let parts: [Part]
    }

    /// All tasks, as declared.
    var tasks: [TaskDeclaration] { Self.tasks(in: self.parts) }

    private static func tasks(in parts: [Part]) -> [TaskDeclaration] {
        parts.flatMap { part in
            switch part {
            case .task(let task): [task]
            case .conditional(let clauses): clauses.flatMap { Self.tasks(in: $0.parts) }
            }
        }
    }
}
