import SwiftSyntax

extension AttributeListSyntax {
    /// The first attribute of a name, with or without the module before it. Those inside `#if` don't count.
    func first(named name: String) -> AttributeSyntax? {
        self.lazy.compactMap { $0.as(AttributeSyntax.self) }.first { $0.isNamed(name) }
    }

    /// Whether one of them names a global actor, going by the habit of ending such names in "Actor".
    var nameAGlobalActor: Bool {
        self.contains { $0.as(AttributeSyntax.self)?.attributeName.lastName?.hasSuffix("Actor") ?? false }
    }
}

extension AttributeSyntax {
    func isNamed(_ name: String) -> Bool { self.attributeName.lastName == name }

    /// The argument of a label, or nil.
    func argument(_ label: String) -> ExprSyntax? {
        guard case .argumentList(let arguments) = self.arguments else { return nil }
        return arguments.first { $0.label?.text == label }?.expression
    }
}

extension DeclModifierListSyntax {
    /// The first of the given keywords among the modifiers.
    func first(of keywords: Keyword...) -> DeclModifierSyntax? {
        self.first { modifier in keywords.contains { modifier.name.tokenKind == .keyword($0) } }
    }
}

extension TypeSyntax {
    /// The type's name without the modules and types before it; nil for what has no name, such as a function or tuple.
    var lastName: String? {
        if let type = self.as(IdentifierTypeSyntax.self) { return type.name.text }
        return self.as(MemberTypeSyntax.self)?.name.text
    }
}

extension TokenSyntax {
    /// The name that an identifier stands for: without backticks.
    var spelledName: String { self.identifier?.name ?? self.text }
}
