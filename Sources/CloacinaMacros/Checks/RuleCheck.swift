import SwiftDiagnostics
import SwiftSyntax
import SwiftSyntaxBuilder

/// Checks that trigger rules ask only about tasks that have ended by then: those their task waits for, directly or not.
struct RuleCheck {
    private let tasks: [TaskDeclaration]
    /// What each id comes after. Tasks of the same id under different conditions count as one.
    private let needed: [String: [String]]

    /// Prepares the check; nil where an id or a dependency can't be read.
    init?(tasks: [TaskDeclaration]) {
        var needed: [String: [String]] = [:]
        for task in tasks {
            guard let id = task.id, let dependencies = task.dependencies else { return nil }
            needed[id.text, default: []] += dependencies.map(\.text)
        }
        self.tasks = tasks
        self.needed = needed
    }

    /// The names in rules that are tasks, but none that is waited for.
    func diagnostics() -> [Diagnostic] {
        self.tasks.filter { !$0.ruleNames.isEmpty }.flatMap { task in
            let awaited = self.awaited(by: task.id?.text ?? "")
            return task.ruleNames
                .filter { self.needed[$0.text] != nil && !awaited.contains($0.text) }
                .map { self.stranger($0, in: task, id: task.id?.text ?? "") }
        }
    }

    private func stranger(_ name: NameLiteral, in task: TaskDeclaration, id: String) -> Diagnostic {
        // Where the other one waits for this one, a dependency would close a circle.
        let closesCircle = name.text == id || self.awaited(by: name.text).contains(id)
        return Diagnostic(
            node: name.node, message: WorkflowProblem.ruleAsksStranger(name.text, task: id),
            fixIts: closesCircle ? [] : [self.addition(of: name.text, to: task)].compactMap(\.self))
    }

    private func awaited(by id: String) -> Set<String> {
        var found: Set<String> = []
        var pending = self.needed[id] ?? []
        while let id = pending.popLast() {
            if found.insert(id).inserted { pending += self.needed[id] ?? [] }
        }
        return found
    }

    private func addition(of id: String, to task: TaskDeclaration) -> FixIt? {
        let literal = StringLiteralExprSyntax(content: id)
        if let array = task.attribute.argument("dependencies")?.as(ArrayExprSyntax.self) {
            let elements = array.elements.map { "\($0.expression.trimmed)" } + ["\(literal)"]
            let extended = ExprSyntax("[\(raw: elements.joined(separator: ", "))]").withTrivia(of: array)
            return Suggestion.dependency(id).replacing(array, with: extended)
        }
        guard case .argumentList(let old) = task.attribute.arguments else { return nil }
        let argument = LabeledExprSyntax(
            label: .identifier("dependencies"), colon: .colonToken(trailingTrivia: .space),
            expression: ExprSyntax("[\(literal)]"), trailingComma: .commaToken(trailingTrivia: .space))
        let behindID = old.firstIndex { $0.label?.text == "id" }.map { old.index(after: $0) }
        var arguments = old
        arguments.insert(argument, at: behindID ?? old.startIndex)
        return Suggestion.dependency(id).replacing(old, with: arguments)
    }
}
