import CloacinaWorkflow
import FoundationEssentials
import InMemoryTracing
import Logging
import Synchronization
import Testing
import Tracing

@testable import Cloacina

/// What a tracer and a logger are told.
@Suite(.timeLimit(.minutes(5))) struct EngineSpansTests {
    private struct Refused: Error, CustomStringConvertible {
        var description: String { "the card was refused" }
    }

    private static func workflow() throws -> Workflow {
        try Workflow("orders") {
            WorkflowTask("charge", retry: .fixed(2, delay: .zero)) { _, scope in
                if scope.attempt == 1 { throw Refused() }
            }
            WorkflowTask("ship", after: "charge") { _ in throw Refused() }
        }
    }

    private static func runner(_ tracer: any Tracer) throws -> DefaultRunner {
        try DefaultRunner(
            store: InMemoryWorkflowStore(), database: nil, workflows: [Self.workflow()],
            configuration: RunnerConfiguration(), logger: nil, spans: EngineSpans(tracer))
    }

    @Test func whatIsExecutedContinuesItsCallersTrace() async throws {
        let tracer = InMemoryTracer()
        let runner = try Self.runner(tracer)
        let result = try await tracer.withAnySpan("request") { _ in try await runner.execute("orders") }
        let spans = tracer.finishedSpans
        let request = try #require(spans.first { $0.operationName == "request" })
        let pipeline = try #require(spans.first { $0.operationName == "pipeline orders" })
        #expect(pipeline.parentSpanID == request.spanID)
        #expect(pipeline.attributes.get("cloacina.pipeline.id") == .string(result.id.uuidString))
        #expect(pipeline.attributes.get("cloacina.pipeline.status") == .string("failed"))
        #expect(pipeline.status?.code == .error)
        let attempts = spans.filter { $0.operationName.hasPrefix("task ") }
        #expect(attempts.map(\.operationName) == ["task charge", "task charge", "task ship"])
        #expect(attempts.allSatisfy { $0.parentSpanID == pipeline.spanID })
        #expect(attempts.map { $0.attributes.get("cloacina.task.attempt") } == [.int64(1), .int64(2), .int64(1)])
        #expect(attempts.map { $0.status?.message } == ["the card was refused", nil, "the card was refused"])
    }

    /// Whoever puts something into the queue is not the parent of all that the queue holds.
    @Test func whatComesFromTheQueueBeginsATrace() async throws {
        let tracer = InMemoryTracer()
        let runner = try Self.runner(tracer)
        await runner.serveOnce()
        let id = try await tracer.withAnySpan("request") { _ in try await runner.enqueue("orders").id }
        #expect(try await runner.result(of: id).status == .failed)
        await runner.shutDown()
        let pipeline = try #require(tracer.finishedSpans.first { $0.operationName == "pipeline orders" })
        #expect(pipeline.parentSpanID == nil)
        #expect(pipeline.kind == .consumer)
    }

    @Test func aLoggerHearsOfEveryLineOfTheHistory() async throws {
        let lines = LogLines()
        let logger = Logger(label: "test", factory: { _ in lines })
        let runner = try DefaultRunner(
            store: InMemoryWorkflowStore(), workflows: [Self.workflow()], logger: logger)
        let result = try await runner.execute("orders")
        #expect(
            lines.all.filter { $0.contains(result.id.uuidString) } == [
                "trace: task retrying attempt 1 of charge: the card was refused (\(result.id))",
                "trace: task completed attempt 2 of charge (\(result.id))",
                "trace: task failed attempt 1 of ship: the card was refused (\(result.id))",
                "debug: pipeline failed (\(result.id))",
            ])
    }
}
