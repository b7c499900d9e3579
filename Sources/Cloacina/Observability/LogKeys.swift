import Logging

/// The names of the facts in the engine's log lines.
enum LogKeys {
    static let pipeline = "pipeline.id"
    static let workflow = "pipeline.workflow"
    static let task = "task.id"
    static let attempt = "task.attempt"
    static let error = "error"
    static let stranded = "queue.stranded"
    static let recovered = "recovery.pipelines"

    /// The facts of a line of a pipeline's history.
    static func metadata(of event: PipelineEvent, in pipeline: StoredPipeline) -> Logger.Metadata {
        var metadata: Logger.Metadata = [
            self.pipeline: "\(pipeline.id)", self.workflow: .string(pipeline.workflow),
        ]
        if let task = event.task {
            metadata[self.task] = .string(task)
            metadata[self.attempt] = "\(event.attempt)"
        }
        if let detail = event.detail { metadata[self.error] = .string(detail) }
        return metadata
    }
}

extension Logger {
    /// Logs nowhere.
    static let silent = Logger(label: "cloacina", factory: { _ in SwiftLogNoOpLogHandler() })
}
