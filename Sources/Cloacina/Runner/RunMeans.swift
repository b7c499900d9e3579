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
    /// Tries again as long as the connection, not the statement, is what fails, and the task is not cancelled; that of a
    /// pipeline never is.
    func patiently<Value>(
        _ operation: () async throws(PipelineError) -> Value
    ) async throws(PipelineError) -> Value {
        let deadline = ContinuousClock.now.advanced(by: self.configuration.databasePatience)
        var delay = Duration.milliseconds(20)
        var timeouts = 0
        while true {
            do throws(PipelineError) {
                return try await operation()
            } catch {
                // A server that ends statements after a time of its own will do so again.
                if error.isTimeoutOfServer { timeouts += 1 }
                guard timeouts < 3 else {
                    var error = error
                    error.isLasting = true
                    throw error
                }
                guard error.isTransient, !Task.isCancelled, ContinuousClock.now.advanced(by: delay) < deadline else {
                    throw error
                }
                self.logger.debug("database not reachable", metadata: [LogKeys.error: "\(error)"])
                try? await Task.sleep(for: delay)
                delay = min(delay * 2, .seconds(1))
            }
        }
    }
}
