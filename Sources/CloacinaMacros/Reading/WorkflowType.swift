import SwiftSyntax

/// A type that can be a workflow.
struct WorkflowType {
    let name: TokenSyntax
    let attributes: AttributeListSyntax
    let modifiers: DeclModifierListSyntax
    let members: MemberBlockItemListSyntax
    let isActor: Bool

    /// Takes a struct, enum, class or actor; nil for an extension or a protocol.
    init?(_ declaration: some DeclGroupSyntax) {
        let isSupported =
            declaration.is(StructDeclSyntax.self) || declaration.is(EnumDeclSyntax.self)
            || declaration.is(ClassDeclSyntax.self) || declaration.is(ActorDeclSyntax.self)
        guard isSupported, let named = declaration.asProtocol((any NamedDeclSyntax).self) else { return nil }
        self.name = named.name
        self.attributes = declaration.attributes
        self.modifiers = declaration.modifiers
        self.members = declaration.memberBlock.members
        self.isActor = declaration.is(ActorDeclSyntax.self)
    }

    /// The access level of what is written into the type, so that it reaches as far as the type: with a space behind it.
    var access: String {
        if self.modifiers.first(of: .public, .open) != nil { return "public " }
        return self.modifiers.first(of: .package) != nil ? "package " : ""
    }
}
