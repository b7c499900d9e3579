import SwiftDiagnostics
package import SwiftSyntax
package import SwiftSyntaxMacros

/// `@Workflow`: collects a type's tasks, checks them against each other, and writes the property `workflow`.
package struct WorkflowMacro: MemberMacro {
    package static func expansion(
        of node: AttributeSyntax, providingMembersOf declaration: some DeclGroupSyntax,
        conformingTo protocols: [TypeSyntax], in context: some MacroExpansionContext
    ) throws -> [DeclSyntax] {
        guard let type = WorkflowType(declaration) else {
            context.diagnose(Diagnostic(node: declaration.introducer, message: WorkflowProblem.unsupportedType))
            return []
        }
        let reading = WorkflowReader.read(type, attribute: node)
        let check = DeclarationCheck(workflow: reading.workflow)
        for diagnostic in reading.diagnostics + check.diagnostics() { context.diagnose(diagnostic) }
        return [WorkflowWriter(workflow: reading.workflow).property()]
    }
}
