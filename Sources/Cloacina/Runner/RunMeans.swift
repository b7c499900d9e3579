import CloacinaWorkflow
import FoundationEssentials
import Logging
import Tracing

/// What a runner lends to the pipelines it drives.
struct RunMeans: Sendable {
    let writer: WriteBatcher
    let store: any WorkflowStore
    let slots: TaskSlots
    /// The one place for pipelines during whose tasks processes have died again and again, so that they don't take each other's
    /// deaths upon them.
    let quarantine: TaskSlots
    let clock: any EngineClock
    let configuration: RunnerConfiguration
    let logger: Logger
    let metrics: EngineMetrics
    /// Who traces the pipeline, if somebody does.
    let tracer: (any Tracer)?
    let makeResource: @Sendable (TaskPlace, HeldSlot) -> TaskMeans
    /// Where tasks' code runs; where the clock says when nil.
    let bodies: (any TaskExecutor)?
    /// The pipeline's place in the count of what was claimed; nil when it is not from the queue.
    var place: QueuePlace?
    /// Told when a pipeline begins, or ends, to wait for nothing but the time of a retry.
    var noteRetrying: @Sendable (Bool) -> Void = { _ in }
    /// Counts the pipeline's tasks that wait for others, where that matters.
    var lending: Lending?
}

extension RunMeans {
    /// Tries again for ``RunnerConfiguration/databasePatience``, as long as the connection, not the statement, is what fails, and
    /// the task is not cancelled: for whoever waits for the answer. A pipeline's own writes are tried for longer; see
    /// ``PipelineRun/persistently(_:)``.
    func patiently<Value>(
        _ operation: () async throws(PipelineError) -> Value
    ) async throws(PipelineError) -> Value {
        let deadline = ContinuousClock.now.advanced(by: self.configuration.databasePatience)
        var retry = DatabaseRetry()
        while true {
            do throws(PipelineError) {
                return try await operation()
            } catch {
                let pause = try retry.pause(after: error)
                guard !Task.isCancelled, ContinuousClock.now.advanced(by: pause) < deadline else { throw error }
                self.logger.debug("database not reachable", metadata: [LogKeys.error: "\(error)"])
                try? await Task.sleep(for: pause)
            }
        }
    }
}
