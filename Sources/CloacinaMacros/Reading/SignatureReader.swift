import SwiftDiagnostics
import SwiftSyntax
import SwiftSyntaxBuilder

/// Reads how a task's function is called, and notes why it can't be.
struct SignatureReader {
    private let function: FunctionDeclSyntax
    private var diagnostics: [Diagnostic] = []

    /// Reads a function's signature; nil with at least one diagnostic when it can't be a task's.
    static func read(_ function: FunctionDeclSyntax) -> (signature: TaskSignature?, diagnostics: [Diagnostic]) {
        var reader = Self(function: function)
        reader.checkModifiers()
        reader.checkGenerics()
        reader.checkResult()
        let signature = reader.parameters()
        return (reader.diagnostics.isEmpty ? signature : nil, reader.diagnostics)
    }

    private init(function: FunctionDeclSyntax) { self.function = function }

    private mutating func checkModifiers() {
        if let modifier = self.function.modifiers.first(of: .static, .class) {
            self.diagnose(modifier, .isStatic, self.removal(of: modifier))
        }
        if let modifier = self.function.modifiers.first(of: .mutating) {
            self.diagnose(modifier, .isMutating, self.removal(of: modifier))
        }
    }

    private mutating func checkGenerics() {
        if let clause = self.function.genericParameterClause { self.diagnose(clause, .isGeneric) }
    }

    private mutating func checkResult() {
        guard let clause = self.function.signature.returnClause else { return }
        let isVoid = clause.type.lastName == "Void" || clause.type.as(TupleTypeSyntax.self)?.elements.isEmpty == true
        guard !isVoid else { return }
        var signature = self.function.signature
        signature.returnClause = nil
        signature.trailingTrivia = clause.trailingTrivia
        let fixIt = Suggestion.noResult.replacing(self.function.signature, with: signature)
        self.diagnose(clause.type, .returnsValue, fixIt)
    }

    private mutating func parameters() -> TaskSignature? {
        let parameters = Array(self.function.signature.parameterClause.parameters)
        guard let context = parameters.first(where: { $0.type.plain.lastName == "Context" }) else {
            self.diagnose(self.function.signature.parameterClause, .needsContext, self.insertionOfContext())
            return nil
        }
        self.checkContext(context)
        let scope = parameters.first { $0.type.lastName == "TaskScope" && $0.ellipsis == nil }
        let transaction = parameters.first { $0.type.plain.lastName == "PostgresTransaction" }
        let signature = TaskSignature(context: context, scope: scope, transaction: transaction)
        let known = Set(signature.parameters.map(\.id))
        for parameter in parameters where !known.contains(parameter.id) { self.diagnose(parameter, .extraParameter) }
        if let transaction { self.checkTransaction(transaction) }
        for (first, second) in zip(signature.parameters, signature.parameters.dropFirst())
        where second.position < first.position {
            self.diagnose(first, .parametersHaveAnOrder)
        }
        return signature
    }

    private mutating func checkTransaction(_ transaction: FunctionParameterSyntax) {
        guard !transaction.type.has(.borrowing) else { return }
        let type = TypeSyntax("borrowing \(transaction.type.plain.trimmed)")
            .with(\.trailingTrivia, transaction.type.trailingTrivia)
        self.diagnose(
            transaction.type, .transactionIsNotBorrowed, Suggestion.borrowing.replacing(transaction.type, with: type))
    }

    private mutating func checkContext(_ context: FunctionParameterSyntax) {
        guard !context.type.has(.inout) else { return }
        let type = TypeSyntax("inout \(context.type.plain.trimmed)").with(\.trailingTrivia, context.type.trailingTrivia)
        self.diagnose(context.type, .contextIsNotInOut, Suggestion.inOut.replacing(context.type, with: type))
    }

    private func insertionOfContext() -> FixIt {
        let clause = self.function.signature.parameterClause
        var parameter = FunctionParameterSyntax("_ context: inout Context")
        if !clause.parameters.isEmpty { parameter.trailingComma = .commaToken(trailingTrivia: .space) }
        let parameters: FunctionParameterListSyntax = [parameter] + clause.parameters
        return Suggestion.context.replacing(clause, with: clause.with(\.parameters, parameters))
    }

    /// Takes a modifier away; what stood before it stays.
    private func removal(of modifier: DeclModifierSyntax) -> FixIt {
        var function = self.function
        guard let index = function.modifiers.firstIndex(where: { $0.id == modifier.id }) else {
            preconditionFailure("the modifier is one of the function's")
        }
        let isFirst = index == function.modifiers.startIndex
        function.modifiers.remove(at: index)
        if isFirst, let next = function.modifiers.first {
            function.modifiers[function.modifiers.startIndex] = next.with(\.leadingTrivia, modifier.leadingTrivia)
        } else if isFirst {
            function.funcKeyword.leadingTrivia = modifier.leadingTrivia
        }
        return Suggestion.noModifier(modifier.name.text).replacing(self.function, with: function)
    }

    private mutating func diagnose(_ node: some SyntaxProtocol, _ problem: TaskProblem, _ fixIt: FixIt? = nil) {
        self.diagnostics.append(Diagnostic(node: node, message: problem, fixIts: fixIt.map { [$0] } ?? []))
    }
}

extension TypeSyntax {
    /// The type without `inout` and other words before it.
    fileprivate var plain: TypeSyntax { self.as(AttributedTypeSyntax.self)?.baseType ?? self }

    /// Whether a word such as `inout` stands before the type.
    fileprivate func has(_ specifier: Keyword) -> Bool {
        self.as(AttributedTypeSyntax.self)?.specifiers.contains {
            $0.as(SimpleTypeSpecifierSyntax.self)?.specifier.tokenKind == .keyword(specifier)
        } ?? false
    }
}
