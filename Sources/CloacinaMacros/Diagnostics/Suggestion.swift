import SwiftDiagnostics
import SwiftSyntax

/// What a fix-it does.
enum Suggestion: FixItMessage {
    case name(String)
    case noSelfDependency
    case dependency(String)
    case noModifier(String)
    case noResult
    case inOut
    case borrowing
    case context

    var fixItID: MessageID {
        MessageID(domain: "CloacinaMacros", id: "fix." + (Mirror(reflecting: self).children.first?.label ?? "\(self)"))
    }

    var message: String {
        switch self {
        case .name(let name): "replace by \"\(name)\""
        case .noSelfDependency: "remove it from the dependencies"
        case .dependency(let id): "add \"\(id)\" to the dependencies"
        case .noModifier(let modifier): "remove \"\(modifier)\""
        case .noResult: "remove the result"
        case .inOut: "insert \"inout\""
        case .borrowing: "insert \"borrowing\""
        case .context: "insert \"_ context: inout Context\""
        }
    }

    /// A fix-it that puts a node in the place of another.
    func replacing(_ old: some SyntaxProtocol, with new: some SyntaxProtocol) -> FixIt {
        FixIt(message: self, changes: [.replace(oldNode: Syntax(old), newNode: Syntax(new))])
    }

    /// A fix-it that takes an element out of the array literal it stands in.
    func removing(_ expression: Syntax) -> FixIt? {
        guard let element = expression.parent?.as(ArrayElementSyntax.self),
            let list = element.parent?.as(ArrayElementListSyntax.self)
        else { return nil }
        var rest = Array(list.filter { $0.id != element.id })
        if element.trailingComma == nil, !rest.isEmpty { rest[rest.count - 1].trailingComma = nil }
        return self.replacing(list, with: ArrayElementListSyntax(rest))
    }
}

extension SyntaxProtocol {
    /// The same with another node's space and comments around it.
    func withTrivia(of other: some SyntaxProtocol) -> Self {
        self.with(\.leadingTrivia, other.leadingTrivia).with(\.trailingTrivia, other.trailingTrivia)
    }
}
