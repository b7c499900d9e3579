import SwiftDiagnostics

/// What can be wrong with one `@Task` function.
enum TaskProblem: Error {
    case notAFunction
    case outsideOfType
    case inExtension(of: String)
    case typeIsNoWorkflow(String?)
    case idIsNoLiteral
    case badID(String)
    case dependenciesAreNoLiteral
    case dependencyIsNoLiteral
    case isStatic
    case isMutating
    case isGeneric
    case returnsValue
    case needsContext
    case contextIsNotInOut
    case transactionIsNotBorrowed
    case parametersHaveAnOrder
    case extraParameter
}

extension TaskProblem: DiagnosticMessage {
    var severity: DiagnosticSeverity { .error }

    var diagnosticID: MessageID {
        MessageID(domain: "CloacinaMacros", id: "task." + (Mirror(reflecting: self).children.first?.label ?? "\(self)"))
    }

    var message: String {
        switch self {
        case .notAFunction: "@Task goes on a function"
        case .outsideOfType: "@Task goes on a method of a type marked with @Workflow"
        case .inExtension(let type): "@Workflow doesn't see extensions; move the task into \(type) itself"
        case .typeIsNoWorkflow(let type):
            "mark \(type ?? "the type") with @Workflow; without it, this task belongs to no workflow"
        case .idIsNoLiteral:
            "an id is a string literal without interpolation; make tasks with computed ids by WorkflowTask(…)"
        case .badID(let objection): "the task's id \(objection)"
        case .dependenciesAreNoLiteral:
            "dependencies are an array of string literals here; compute them with Workflow(…) { WorkflowTask(…) }"
        case .dependencyIsNoLiteral:
            "a dependency is a string literal without interpolation here; compute it with Workflow(…) { WorkflowTask(…) }"
        case .isStatic: "a task is an instance method; a static one has no type's values to work with"
        case .isMutating: "a task can't change its type's value, which many runs share; hand values on in the context"
        case .isGeneric: "a task can't be generic: nothing says for which types it should run"
        case .returnsValue: "a task returns nothing; hand its result on in the context"
        case .needsContext:
            "a task takes the context: (_ context: inout Context) or (_ context: inout Context, _ scope: TaskScope)"
        case .contextIsNotInOut: "a task takes its context inout"
        case .transactionIsNotBorrowed: "a task takes its transaction borrowing"
        case .parametersHaveAnOrder: "the context comes first, then the scope, then the transaction"
        case .extraParameter:
            "a task takes a Context, a TaskScope and a PostgresTransaction and nothing else; keep other values in the type"
        }
    }
}
