import CloacinaWorkflow
import FoundationEssentials
import Tracing

/// The engine's spans: one for a runner's part in a pipeline, and within it one for each attempt at a task.
///
/// What is executed continues its caller's trace, what comes from the queue begins one. Names have few values; ids are
/// attributes. Without a tracer it costs one look for it.
struct EngineSpans: Sendable {
    /// The program's when nil: it may be set up later than a runner is made.
    private let given: (any Tracer)?

    init(_ tracer: (any Tracer)? = nil) { self.given = tracer }

    /// Who traces what begins now; nil when nobody does.
    var tracer: (any Tracer)? {
        let tracer = self.given ?? InstrumentationSystem.tracer
        return tracer is NoOpTracer ? nil : tracer
    }

    static func pipeline(
        _ pipeline: StoredPipeline, fromQueue: Bool, tracer: (any Tracer)?, _ body: () async -> RunEnd
    ) async -> RunEnd {
        guard let tracer else { return await body() }
        return await tracer.withAnySpan(
            "pipeline \(pipeline.workflow)", context: fromQueue ? .topLevel : .current ?? .topLevel,
            ofKind: fromQueue ? .consumer : .internal
        ) { span in
            span.attributes["cloacina.pipeline.id"] = pipeline.id.uuidString
            span.attributes["cloacina.workflow"] = pipeline.workflow
            let end = await body()
            switch end {
            case .ended(let result):
                span.attributes["cloacina.pipeline.status"] = result.status.rawValue
                if let error = result.error { span.setStatus(SpanStatus(code: .error, message: error)) }
            case .left(let status): span.attributes["cloacina.pipeline.status"] = status.rawValue
            case .broken(let error): span.recordError(error)
            }
            return end
        }
    }

    static func attempt(
        _ scope: TaskScope, tracer: (any Tracer)?, _ body: () async -> Attempt
    ) async -> Attempt {
        guard let tracer else { return await body() }
        return await tracer.withAnySpan("task \(scope.task)") { span in
            span.attributes["cloacina.workflow"] = scope.workflow
            span.attributes["cloacina.task"] = scope.task
            span.attributes["cloacina.task.attempt"] = scope.attempt
            let attempt = await body()
            if case .failed(let failure) = attempt.outcome {
                span.setStatus(SpanStatus(code: .error, message: failure.text))
            }
            return attempt
        }
    }
}
