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
        let others = parameters.filter { $0.id != context.id }
        for parameter in others.dropFirst() { self.diagnose(parameter, .extraParameter) }
        guard let scope = others.first else { return TaskSignature(context: context, scope: nil) }
        if scope.type.lastName != "TaskScope" || scope.ellipsis != nil {
            self.diagnose(scope, .extraParameter)
        } else if scope.position < context.position {
            self.diagnose(context, .contextComesFirst)
        }
        return TaskSignature(context: context, scope: scope)
    }

    private mutating func checkContext(_ context: FunctionParameterSyntax) {
        let specifiers = context.type.as(AttributedTypeSyntax.self)?.specifiers
        let isInOut = specifiers?.contains {
            $0.as(SimpleTypeSpecifierSyntax.self)?.specifier.tokenKind == .keyword(.inout)
        }
        guard isInOut != true else { return }
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
}
