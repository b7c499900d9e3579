import SwiftDiagnostics
import SwiftSyntax
import SwiftSyntaxBuilder

/// Checks a workflow's tasks against each other.
///
/// Under `#if`, tasks are compared only where they are sure to be compiled together: those of one clause and of the clauses
/// around it. What else a combination of conditions can bring, `Workflow` finds when it is made.
struct DeclarationCheck {
    let workflow: WorkflowDeclaration

    /// What is wrong, in the order in which it stands.
    func diagnostics() -> [Diagnostic] {
        let tasks = self.workflow.tasks
        let rules = RuleCheck(tasks: tasks)?.diagnostics() ?? []
        return (self.repeatedIDs(tasks) + self.unknownNames(tasks) + self.circles(tasks) + rules)
            .sorted { $0.position < $1.position }
    }

    private func repeatedIDs(_ tasks: [TaskDeclaration]) -> [Diagnostic] {
        tasks.indices.compactMap { index in
            guard let id = tasks[index].id else { return nil }
            let first = tasks[..<index].first { $0.id?.text == id.text && $0.isCompiled(with: tasks[index]) }
            guard let other = first?.id else { return nil }
            let note = Note(node: other.node, message: TaskNote.firstUse(id.text))
            return Diagnostic(node: id.node, message: WorkflowProblem.duplicateID(id.text), notes: [note])
        }
    }

    private func unknownNames(_ tasks: [TaskDeclaration]) -> [Diagnostic] {
        let ids = tasks.compactMap { $0.id?.text }
        let allAreKnown = ids.count == tasks.count
        return tasks.flatMap { task in
            let dependencies = (task.dependencies ?? []).compactMap { name in
                name.text == task.id?.text
                    ? self.selfDependency(name) : self.unknown(name, known: ids, of: task, complete: allAreKnown)
            }
            return dependencies
                + (task.ruleNames + task.handledNames).compactMap {
                    self.unknown($0, known: ids, of: task, complete: allAreKnown)
                }
        }
    }

    private func selfDependency(_ name: NameLiteral) -> Diagnostic {
        Diagnostic(
            node: name.node, message: WorkflowProblem.selfDependency(name.text),
            fixIts: [Suggestion.noSelfDependency.removing(name.node)].compactMap(\.self))
    }

    private func unknown(
        _ name: NameLiteral, known ids: [String], of task: TaskDeclaration, complete: Bool
    ) -> Diagnostic? {
        guard complete, !ids.contains(name.text) else { return nil }
        let nearest = NearestName.nearest(to: name.text, in: ids.filter { $0 != task.id?.text })
        let fixIt = nearest.map { nearest in
            Suggestion.name(nearest).replacing(
                name.node, with: Syntax(StringLiteralExprSyntax(content: nearest)).withTrivia(of: name.node))
        }
        return Diagnostic(
            node: name.node,
            message: WorkflowProblem.unknownTask(name.text, workflow: self.workflow.name?.text, nearest: nearest),
            fixIts: fixIt.map { [$0] } ?? [])
    }

    private func circles(_ tasks: [TaskDeclaration]) -> [Diagnostic] {
        var found: [SyntaxIdentifier: Diagnostic] = [:]
        for clauses in Set(tasks.map(\.clauses)) {
            let together = tasks.filter { clauses.starts(with: $0.clauses) }
            guard let circle = TaskCircle.first(in: together) else { continue }
            found[circle.name.node.id] = Diagnostic(
                node: circle.name.node, message: WorkflowProblem.circle(circle.path))
        }
        return Array(found.values)
    }
}

extension TaskDeclaration {
    /// Whether one of the two can't be compiled without the other.
    func isCompiled(with other: TaskDeclaration) -> Bool {
        self.clauses.starts(with: other.clauses) || other.clauses.starts(with: self.clauses)
    }
}
