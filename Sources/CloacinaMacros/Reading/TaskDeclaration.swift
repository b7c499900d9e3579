import SwiftSyntax

/// A function marked with `@Task`, as far as it could be understood.
struct TaskDeclaration {
    let function: FunctionDeclSyntax
    let attribute: AttributeSyntax
    /// The id; nil when the author's can't be read before the program runs.
    let id: NameLiteral?
    /// The ids it comes after; nil when they can't be read.
    let dependencies: [NameLiteral]?
    /// The tasks that its trigger rules ask about.
    let ruleNames: [NameLiteral]
    /// The tasks whose failure it handles, as far as they are literals.
    let handledNames: [NameLiteral]
    /// How to call it; nil when it can't be a task.
    let signature: TaskSignature?
    /// The `#if` clauses around it, outermost first.
    var clauses: [SyntaxIdentifier] = []
}

/// How a task's function is called.
struct TaskSignature {
    /// The parameter that takes the context.
    let context: FunctionParameterSyntax
    /// The parameter that takes the scope, where there is one.
    let scope: FunctionParameterSyntax?
    /// The parameter that takes the transaction, where there is one: the task is a transactional one then.
    let transaction: FunctionParameterSyntax?

    /// All of them, in the order of the call.
    var parameters: [FunctionParameterSyntax] { [self.context] + [self.scope, self.transaction].compactMap(\.self) }
}
