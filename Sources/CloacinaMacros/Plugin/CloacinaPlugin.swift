import CloacinaMacros
import SwiftCompilerPlugin
import SwiftSyntax
import SwiftSyntaxMacros

/// The executable that the compiler runs. What the macros do is in a library, because tests that depend on a plugin itself
/// make SwiftPM build every other target for the host a second time.
@main
struct CloacinaPlugin: CompilerPlugin {
    let providingMacros: [any Macro.Type] = [TaskPlugin.self, WorkflowPlugin.self]
}

struct TaskPlugin: PeerMacro {
    static func expansion(
        of node: AttributeSyntax, providingPeersOf declaration: some DeclSyntaxProtocol,
        in context: some MacroExpansionContext
    ) throws -> [DeclSyntax] {
        try TaskMacro.expansion(of: node, providingPeersOf: declaration, in: context)
    }
}

struct WorkflowPlugin: MemberMacro {
    static func expansion(
        of node: AttributeSyntax, providingMembersOf declaration: some DeclGroupSyntax,
        conformingTo protocols: [TypeSyntax], in context: some MacroExpansionContext
    ) throws -> [DeclSyntax] {
        try WorkflowMacro.expansion(
            of: node, providingMembersOf: declaration, conformingTo: protocols, in: context)
    }
}
