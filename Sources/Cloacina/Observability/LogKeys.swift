import Logging

/// The names of the facts in the engine's log lines.
enum LogKeys {
    static let pipeline = "pipeline.id"
    static let workflow = "pipeline.workflow"
    static let status = "pipeline.status"
    static let task = "task.id"
    static let attempt = "task.attempt"
    static let error = "error"
    static let recovered = "recovery.pipelines"
}

extension Logger {
    /// Logs nowhere.
    static let silent = Logger(label: "cloacina", factory: { _ in SwiftLogNoOpLogHandler() })
}
