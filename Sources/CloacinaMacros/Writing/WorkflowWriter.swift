import SwiftSyntax
import SwiftSyntaxBuilder

/// Writes the property `workflow`: what a person would have typed, with names that nothing in the author's code can shadow.
struct WorkflowWriter {
    let workflow: WorkflowDeclaration

    /// The property, its tasks in declared order and under the conditions that they stand under.
    func property() -> DeclSyntax {
        let type = self.workflow.type
        let isolation = type.isActor ? "nonisolated " : ""
        let lines =
            ["/// The workflow that the functions marked with `@Task` make up."]
            + ["\(type.access)\(isolation)var workflow: CloacinaWorkflow.Workflow {"]
            + ["    get throws(CloacinaWorkflow.WorkflowError) {"]
            + ["        try CloacinaWorkflow.Workflow(\(self.arguments)) {"]
            + self.lines(of: self.workflow.parts)
            + ["        }", "    }", "}"]
        return DeclSyntax(stringLiteral: lines.joined(separator: "\n"))
    }

    private var arguments: String {
        let name = self.workflow.name?.source ?? "\"\""
        return name + (self.workflow.description.map { ", description: \($0.trimmedDescription)" } ?? "")
    }

    private func lines(of parts: [WorkflowDeclaration.Part]) -> [String] {
        parts.flatMap { part in
            switch part {
            case .task(let task): self.lines(of: task)
            case .conditional(let clauses):
                clauses.flatMap { [$0.head] + self.lines(of: $0.parts) } + ["#endif"]
            }
        }
    }

    private func lines(of task: TaskDeclaration) -> [String] {
        guard let id = task.id else { return [] }
        let signature = task.signature
        let parameters =
            [signature == nil ? "_" : "context", signature?.scope == nil ? "_" : "scope"]
            + (signature?.transaction == nil ? [] : ["transaction"])
        return ["CloacinaWorkflow.WorkflowTask\(signature?.transaction == nil ? "" : ".transactional")("]
            + ["    \(self.arguments(of: task, id: id).joined(separator: ",\n    "))"]
            + [") { \(parameters.joined(separator: ", ")) in"]
            + (self.call(of: task).map { ["    \($0)"] } ?? [])
            + ["}"]
    }

    /// What `WorkflowTask` is given: most of it as it stands in `@Task`.
    private func arguments(of task: TaskDeclaration, id: NameLiteral) -> [String] {
        let names = (task.dependencies ?? []).map(\.source).joined(separator: ", ")
        let passedOn = { (label: String, written: String) in
            task.attribute.argument(written).map { "\(label): \($0.trimmedDescription)" }
        }
        return ["\(id.source), dependencies: [\(names)]"]
            + [
                passedOn("retry", "retry"), passedOn("triggerRule", "triggerRules"), passedOn("handles", "handles"),
                passedOn("timeout", "timeout"),
            ].compactMap(\.self)
            + ["codeVersion: \"\(CodeVersion.text(of: task))\""]
            + [passedOn("onSuccess", "onSuccess"), passedOn("onFailure", "onFailure")].compactMap(\.self)
    }

    private func call(of task: TaskDeclaration) -> String? {
        guard let signature = task.signature else { return nil }
        let arguments =
            [self.argument("&context", for: signature.context)]
            + [signature.scope.map { self.argument("scope", for: $0) }].compactMap(\.self)
            + [signature.transaction.map { self.argument("transaction", for: $0) }].compactMap(\.self)
        return self.effects(of: task.function)
            + "self.\(task.function.name.text)(\(arguments.joined(separator: ", ")))"
    }

    private func argument(_ value: String, for parameter: FunctionParameterSyntax) -> String {
        guard parameter.firstName.tokenKind != .wildcard else { return value }
        // The compiler warns of backticks that a label doesn't need, and it needs them for these three and odd characters.
        let label = parameter.firstName.spelledName
        let isPlain =
            !["inout", "let", "var"].contains(label) && label.allSatisfy { $0.isLetter || $0.isNumber || $0 == "_" }
        return "\(isPlain ? label : parameter.firstName.text): \(value)"
    }

    /// `try` and `await` where the call needs them: the compiler warns of either where it isn't needed.
    private func effects(of function: FunctionDeclSyntax) -> String {
        let effects = function.signature.effectSpecifiers
        let throwsClause = effects?.throwsClause
        let canThrow = throwsClause != nil && throwsClause?.type?.lastName != "Never"
        let mustWait = effects?.asyncSpecifier != nil || self.isIsolated(function)
        return (canThrow ? "try " : "") + (mustWait ? "await " : "")
    }

    private func isIsolated(_ function: FunctionDeclSyntax) -> Bool {
        let type = self.workflow.type
        guard function.modifiers.first(of: .nonisolated) == nil else { return false }
        return type.isActor || type.attributes.nameAGlobalActor || function.attributes.nameAGlobalActor
    }
}
