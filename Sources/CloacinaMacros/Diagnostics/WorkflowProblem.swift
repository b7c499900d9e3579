import SwiftDiagnostics

/// What can be wrong with a `@Workflow` type and between its tasks.
enum WorkflowProblem {
    case unsupportedType
    case nameIsNoLiteral
    case badName(String)
    case noTasks(String)
    case conditionalAttribute
    case secondAttribute
    case propertyExists
    case duplicateID(String)
    case unknownTask(String, workflow: String?, nearest: String?)
    case selfDependency(String)
    case circle([String])
    case ruleAsksStranger(String, task: String)
    case handlesStranger(String, task: String)
    case handlesWithoutRule(String, task: String)
}

extension WorkflowProblem: DiagnosticMessage {
    var severity: DiagnosticSeverity { .error }

    var diagnosticID: MessageID {
        MessageID(
            domain: "CloacinaMacros", id: "workflow." + (Mirror(reflecting: self).children.first?.label ?? "\(self)"))
    }

    var message: String {
        switch self {
        case .unsupportedType: "@Workflow goes on a struct, an enum, a class or an actor"
        case .nameIsNoLiteral:
            "a workflow's name is a string literal without interpolation here; compute it with Workflow(…) { … }"
        case .badName(let objection): "the workflow's name \(objection)"
        case .noTasks(let type): "\(type) has no tasks; mark its functions with @Task"
        case .conditionalAttribute: "put the #if around the whole function, not around its @Task"
        case .secondAttribute: "a function is one task; write another function for this one"
        case .propertyExists: "@Workflow writes the property \"workflow\"; give this one another name"
        case .duplicateID(let id): "two tasks are called \"\(id)\""
        case .unknownTask(let name, let workflow, let nearest):
            "\(workflow.map { "workflow \"\($0)\"" } ?? "the workflow") has no task \"\(name)\""
                + (nearest.map { "; did you mean \"\($0)\"?" } ?? "")
        case .selfDependency(let id): "\"\(id)\" can't come after itself"
        case .circle(let path): "tasks wait for each other: \(path.joined(separator: " → "))"
        case .ruleAsksStranger(let name, let task):
            "the rule asks about \"\(name)\", which \"\(task)\" doesn't wait for"
        case .handlesStranger(let name, let task):
            "\"\(task)\" handles the failure of \"\(name)\", which it doesn't wait for"
        case .handlesWithoutRule(let name, let task):
            "without a trigger rule, \"\(task)\" is skipped when \"\(name)\" fails; add triggerRules: .taskFailed(\"\(name)\")"
        }
    }
}

/// What a note beside a diagnostic points at.
enum TaskNote: NoteMessage {
    case firstUse(String)

    var noteID: MessageID { MessageID(domain: "CloacinaMacros", id: "note.firstUse") }

    var message: String {
        switch self {
        case .firstUse(let id): "\"\(id)\" is used here first"
        }
    }
}
