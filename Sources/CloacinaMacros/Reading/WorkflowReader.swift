import SwiftDiagnostics
import SwiftSyntax

/// Reads a `@Workflow` type with the tasks in it. What is wrong with a single task is left to ``TaskMacro`` to say.
struct WorkflowReader {
    private let type: WorkflowType
    private var diagnostics: [Diagnostic] = []

    /// Reads a type. What can be read is, whatever else is wrong.
    static func read(
        _ type: WorkflowType, attribute: AttributeSyntax
    ) -> (workflow: WorkflowDeclaration, diagnostics: [Diagnostic]) {
        var reader = Self(type: type)
        let name = reader.name(attribute.argument("name"))
        let parts = reader.parts(of: type.members, inside: [])
        let workflow = WorkflowDeclaration(
            type: type, name: name, description: attribute.argument("description"), parts: parts)
        if workflow.tasks.isEmpty { reader.diagnose(type.name, .noTasks(type.name.spelledName)) }
        return (workflow, reader.diagnostics)
    }

    private init(type: WorkflowType) { self.type = type }

    private mutating func name(_ expression: ExprSyntax?) -> NameLiteral? {
        var name = NameLiteral(self.type.name)
        if let expression {
            guard let literal = NameLiteral(expression) else {
                self.diagnose(expression, .nameIsNoLiteral)
                return nil
            }
            name = literal
        }
        if let objection = NameRule.objection(to: name.text) { self.diagnose(name.node, .badName(objection)) }
        return name
    }

    private mutating func parts(
        of members: MemberBlockItemListSyntax, inside clauses: [SyntaxIdentifier]
    ) -> [WorkflowDeclaration.Part] {
        var parts: [WorkflowDeclaration.Part] = []
        for member in members {
            if let function = member.decl.as(FunctionDeclSyntax.self) {
                parts += self.task(function, inside: clauses)
            } else if let conditional = member.decl.as(IfConfigDeclSyntax.self) {
                parts += self.conditional(conditional, inside: clauses)
            } else if let variable = member.decl.as(VariableDeclSyntax.self) {
                self.checkProperty(variable)
            }
        }
        return parts
    }

    private mutating func task(
        _ function: FunctionDeclSyntax, inside clauses: [SyntaxIdentifier]
    ) -> [WorkflowDeclaration.Part] {
        self.checkConditionalAttributes(of: function)
        let attributes = function.attributes.compactMap { $0.as(AttributeSyntax.self) }.filter { $0.isNamed("Task") }
        for attribute in attributes.dropFirst() { self.diagnose(attribute, .secondAttribute) }
        guard let attribute = attributes.first else { return [] }
        var task = TaskReader.read(function, attribute: attribute).task
        task.clauses = clauses
        return [.task(task)]
    }

    private mutating func conditional(
        _ declaration: IfConfigDeclSyntax, inside clauses: [SyntaxIdentifier]
    ) -> [WorkflowDeclaration.Part] {
        let branches = declaration.clauses.map { clause in
            let members = clause.elements?.as(MemberBlockItemListSyntax.self) ?? []
            let condition = clause.condition.map { " \($0.trimmedDescription)" } ?? ""
            let parts = self.parts(of: members, inside: clauses + [clause.id])
            return WorkflowDeclaration.Clause(head: clause.poundKeyword.text + condition, parts: parts)
        }
        return branches.allSatisfy(\.parts.isEmpty) ? [] : [.conditional(branches)]
    }

    /// An attribute under `#if` is there or not; the function is always. What would be written for it can't be said.
    private mutating func checkConditionalAttributes(of function: FunctionDeclSyntax) {
        for clause in function.attributes.compactMap({ $0.as(IfConfigDeclSyntax.self) }).flatMap(\.clauses) {
            guard let attributes = clause.elements?.as(AttributeListSyntax.self),
                let task = attributes.first(named: "Task")
            else { continue }
            self.diagnose(task, .conditionalAttribute)
        }
    }

    private mutating func checkProperty(_ variable: VariableDeclSyntax) {
        guard variable.modifiers.first(of: .static, .class) == nil else { return }
        for binding in variable.bindings {
            guard let name = binding.pattern.as(IdentifierPatternSyntax.self)?.identifier else { continue }
            if name.spelledName == "workflow" { self.diagnose(name, .propertyExists) }
        }
    }

    private mutating func diagnose(_ node: some SyntaxProtocol, _ problem: WorkflowProblem) {
        self.diagnostics.append(Diagnostic(node: node, message: problem))
    }
}
