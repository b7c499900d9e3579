import SwiftDiagnostics
import SwiftSyntax

/// Reads one `@Task` function, and notes what is wrong with it.
struct TaskReader {
    private let function: FunctionDeclSyntax
    private let attribute: AttributeSyntax
    private var diagnostics: [Diagnostic] = []

    /// Reads a function. What can be read is, whatever else is wrong.
    static func read(
        _ function: FunctionDeclSyntax, attribute: AttributeSyntax
    ) -> (task: TaskDeclaration, diagnostics: [Diagnostic]) {
        var reader = Self(function: function, attribute: attribute)
        let task = TaskDeclaration(
            function: function, attribute: attribute, id: reader.id(), dependencies: reader.dependencies(),
            ruleNames: attribute.argument("triggerRules").map(RuleNames.collected) ?? [],
            handledNames: reader.handledNames(),
            signature: reader.signature())
        return (task, reader.diagnostics)
    }

    private init(function: FunctionDeclSyntax, attribute: AttributeSyntax) {
        self.function = function
        self.attribute = attribute
    }

    private mutating func id() -> NameLiteral? {
        var id = NameLiteral(self.function.name)
        if let expression = self.attribute.argument("id") {
            guard let literal = NameLiteral(expression) else {
                self.diagnose(expression, .idIsNoLiteral)
                return nil
            }
            id = literal
        }
        if let objection = NameRule.objection(to: id.text) { self.diagnose(id.node, .badID(objection)) }
        return id
    }

    private mutating func dependencies() -> [NameLiteral]? {
        guard let expression = self.attribute.argument("dependencies") else { return [] }
        guard let array = expression.as(ArrayExprSyntax.self) else {
            self.diagnose(expression, .dependenciesAreNoLiteral)
            return nil
        }
        var names: [NameLiteral]? = []
        for element in array.elements {
            if let name = NameLiteral(element.expression) {
                names?.append(name)
            } else {
                self.diagnose(element.expression, .dependencyIsNoLiteral)
                names = nil
            }
        }
        return names
    }

    /// Those that aren't literals are left to the check when the program runs.
    private func handledNames() -> [NameLiteral] {
        let array = self.attribute.argument("handles")?.as(ArrayExprSyntax.self)
        return array?.elements.compactMap { NameLiteral($0.expression) } ?? []
    }

    private mutating func signature() -> TaskSignature? {
        let reading = SignatureReader.read(self.function)
        self.diagnostics += reading.diagnostics
        return reading.signature
    }

    private mutating func diagnose(_ node: some SyntaxProtocol, _ problem: TaskProblem) {
        self.diagnostics.append(Diagnostic(node: node, message: problem))
    }
}
