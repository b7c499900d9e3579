import SwiftDiagnostics
import SwiftSyntax
import SwiftSyntaxBuilder

/// Checks that trigger rules ask only about tasks that have ended by then, and that only failures of such tasks are handled:
/// of those their task waits for, directly or not.
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

    /// The names in rules and among what is handled that are tasks, but none that is waited for; and the failures handled that
    /// keep their task from running.
    func diagnostics() -> [Diagnostic] {
        self.tasks.filter { !$0.ruleNames.isEmpty || !$0.handledNames.isEmpty }.flatMap { task in
            let id = task.id?.text ?? ""
            let awaited = self.awaited(by: id)
            let isStranger = { (name: NameLiteral) in
                self.needed[name.text] != nil && !awaited.contains(name.text)
            }
            return task.ruleNames.filter(isStranger).map { name in
                self.stranger(name, .ruleAsksStranger(name.text, task: id), in: task, id: id)
            }
                + task.handledNames.filter(isStranger).map { name in
                    self.stranger(name, .handlesStranger(name.text, task: id), in: task, id: id)
                } + self.unreachable(task, id: id)
        }
    }

    /// A task without a rule is skipped when what it depends on fails.
    private func unreachable(_ task: TaskDeclaration, id: String) -> [Diagnostic] {
        let rule = task.attribute.argument("triggerRules")
        guard rule == nil || rule?.is(NilLiteralExprSyntax.self) == true else { return [] }
        let dependencies = Set((task.dependencies ?? []).map(\.text))
        return task.handledNames.filter { dependencies.contains($0.text) }.map { name in
            Diagnostic(node: name.node, message: WorkflowProblem.handlesWithoutRule(name.text, task: id))
        }
    }

    private func stranger(
        _ name: NameLiteral, _ problem: WorkflowProblem, in task: TaskDeclaration, id: String
    ) -> Diagnostic {
        // Where the other one waits for this one, a dependency would close a circle.
        let closesCircle = name.text == id || self.awaited(by: name.text).contains(id)
        return Diagnostic(
            node: name.node, message: problem,
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
