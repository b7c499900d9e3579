import SwiftParser
import SwiftSyntax
import SwiftSyntaxBuilder

/// A name that the author wrote, and where.
struct NameLiteral {
    /// What it says.
    let text: String
    /// The literal, or the identifier that serves as the name where none was given.
    let node: Syntax

    /// Reads a string literal without interpolation; nil for everything else.
    init?(_ expression: ExprSyntax) {
        guard let literal = expression.as(StringLiteralExprSyntax.self), let text = literal.representedLiteralValue
        else { return nil }
        self.text = text
        self.node = Syntax(literal)
    }

    /// Takes an identifier's name.
    init(_ identifier: TokenSyntax) {
        self.text = identifier.spelledName
        self.node = Syntax(identifier)
    }

    /// The literal as it was written, or one that says the same.
    var source: String {
        self.node.is(StringLiteralExprSyntax.self)
            ? self.node.trimmedDescription : StringLiteralExprSyntax(content: self.text).description
    }
}
