import SwiftSyntax

/// Finds the tasks that a trigger rule asks about: the literals in `.taskSucceeded("a")` and its like.
final class RuleNames: SyntaxVisitor {
    private static let conditions: Set<String> = [
        "taskSucceeded", "taskFailed", "taskSkipped", "allSucceeded", "anyFailed",
    ]

    private var names: [NameLiteral] = []

    /// The names in an expression, as they come. Those that aren't literals are left to the check when the program runs.
    static func collected(from expression: ExprSyntax) -> [NameLiteral] {
        let visitor = Self(viewMode: .sourceAccurate)
        visitor.walk(expression)
        return visitor.names
    }

    override func visit(_ call: FunctionCallExprSyntax) -> SyntaxVisitorContinueKind {
        if let condition = self.name(of: call.calledExpression), Self.conditions.contains(condition) {
            self.names += call.arguments.compactMap { NameLiteral($0.expression) }
        }
        return .visitChildren
    }

    private func name(of called: ExprSyntax) -> String? {
        if let member = called.as(MemberAccessExprSyntax.self) { return member.declName.baseName.text }
        return called.as(DeclReferenceExprSyntax.self)?.baseName.text
    }
}
