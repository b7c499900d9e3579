import SwiftSyntax

/// A number that changes when a task's code does, and not when only its comments or layout do.
///
/// It is FNV-1a over 64 bits of the tokens' texts, so it is the same with every compiler. What a task's function calls is not
/// part of it.
struct CodeVersion {
    private var hash: UInt64 = 0xcbf2_9ce4_8422_2325

    /// The version of a function without its `@Task`, and of the handlers given there, as sixteen hexadecimal digits.
    static func text(of task: TaskDeclaration) -> String {
        var version = Self()
        var function = task.function.detached
        function.attributes = function.attributes.filter { $0.as(AttributeSyntax.self)?.isNamed("Task") != true }
        version.add(function)
        for label in ["onSuccess", "onFailure"] {
            guard let handler = task.attribute.argument(label) else { continue }
            version.add(label)
            version.add(handler.detached)
        }
        let digits = String(version.hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// Adds the tokens of a node. Where a statement begins is marked, so that line breaks count only where they mean something.
    private mutating func add(_ node: some SyntaxProtocol) {
        for token in node.tokens(viewMode: .sourceAccurate) where !Self.isOptional(token) {
            if Self.opensStatement(token) { self.add(byte: 0x1e) }
            self.add(Self.mark(of: token) + token.text)
        }
    }

    private mutating func add(_ text: String) {
        for byte in text.utf8 { self.add(byte: byte) }
        self.add(byte: 0x1f)
    }

    private mutating func add(byte: UInt8) {
        self.hash = (self.hash ^ UInt64(byte)) &* 0x100_0000_01b3  // can't trap: a byte fits
    }

    /// Semicolons, and commas before a closing bracket: a formatter may add or take them.
    private static func isOptional(_ token: TokenSyntax) -> Bool {
        switch token.tokenKind {
        case .semicolon: return true
        case .comma:
            switch token.nextToken(viewMode: .sourceAccurate)?.tokenKind {
            case .rightParen, .rightSquare, .rightAngle: return true
            default: return false
            }
        default: return false
        }
    }

    private static func opensStatement(_ token: TokenSyntax) -> Bool {
        var node = Syntax(token)
        while let parent = node.parent, parent.firstToken(viewMode: .sourceAccurate)?.id == token.id {
            if parent.is(CodeBlockItemSyntax.self) || parent.is(MemberBlockItemSyntax.self) { return true }
            node = parent
        }
        return false
    }

    /// Tells `a -b` from `a - b`.
    private static func mark(of token: TokenSyntax) -> String {
        switch token.tokenKind {
        case .prefixOperator: "<"
        case .postfixOperator: ">"
        default: ""
        }
    }
}
