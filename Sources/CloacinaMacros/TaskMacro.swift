import SwiftDiagnostics
package import SwiftSyntax
package import SwiftSyntaxMacros

/// `@Task`: marks a function and checks what can be checked by looking at it alone. It writes nothing; ``WorkflowMacro`` does.
package struct TaskMacro: PeerMacro {
    package static func expansion(
        of node: AttributeSyntax, providingPeersOf declaration: some DeclSyntaxProtocol,
        in context: some MacroExpansionContext
    ) throws -> [DeclSyntax] {
        guard let function = declaration.as(FunctionDeclSyntax.self) else {
            context.diagnose(Diagnostic(node: node, message: TaskProblem.notAFunction))
            return []
        }
        if let problem = self.placement(in: context.lexicalContext) {
            context.diagnose(Diagnostic(node: node, message: problem))
        }
        let reading = TaskReader.read(function, attribute: node)
        for diagnostic in reading.diagnostics { context.diagnose(diagnostic) }
        return []
    }

    /// What is wrong with the place where the function stands, from the inside out.
    private static func placement(in lexicalContext: [Syntax]) -> TaskProblem? {
        guard let enclosing = lexicalContext.first else { return .outsideOfType }
        if let enclosing = enclosing.as(ExtensionDeclSyntax.self) {
            return .inExtension(of: enclosing.extendedType.trimmedDescription)
        }
        guard let type = enclosing.asProtocol((any DeclGroupSyntax).self) else { return .outsideOfType }
        guard type.attributes.first(named: "Workflow") == nil else { return nil }
        return .typeIsNoWorkflow(enclosing.asProtocol((any NamedDeclSyntax).self)?.name.spelledName)
    }
}
