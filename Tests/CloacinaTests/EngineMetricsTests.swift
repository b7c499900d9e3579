import CoreMetrics
import FoundationEssentials
import Synchronization
import Testing

@testable import Cloacina

@Suite(.timeLimit(.minutes(1))) struct EngineMetricsTests {
    struct Broken: Error {}

    @Test func metricsSayWhatEndedHowAndInHowManyCommits() async throws {
        let recorder = MetricsRecorder()
        let good = try Workflow("good") {
            WorkflowTask("a") { _ in }
            WorkflowTask("b", after: "a", retry: .fixed(2, delay: .zero)) { _, scope in
                if scope.attempt == 1 { throw Broken() }
            }
        }
        let bad = try Workflow("bad") {
            WorkflowTask("a") { _ in throw Broken() }
            WorkflowTask("b", after: "a") { _ in }
        }
        let runner = try DefaultRunner(
            store: InMemoryWorkflowStore(), database: nil, workflows: [good, bad], configuration: RunnerConfiguration(),
            logger: nil, metrics: EngineMetrics(factory: recorder))
        for _ in 0..<3 { try await runner.execute("good").completed() }
        _ = try await runner.execute("bad")
        let statistics = runner.writeStatistics
        #expect(
            recorder.counts == [
                "cloacina_pipelines_ended status=completed": 3, "cloacina_pipelines_ended status=failed": 1,
                "cloacina_task_attempts outcome=completed": 6, "cloacina_task_attempts outcome=retrying": 3,
                "cloacina_task_attempts outcome=failed": 1, "cloacina_task_attempt_time": 10,
                "cloacina_writes": statistics.writes, "cloacina_commits": statistics.commits,
            ])
        #expect(statistics.commits > 0)
    }
}

/// Counts what is counted, and how often times are recorded.
private final class MetricsRecorder: MetricsFactory {
    private let state = Mutex<[String: Int]>([:])

    var counts: [String: Int] { self.state.withLock { $0 } }

    final class Line: CounterHandler, TimerHandler {
        private let recorder: MetricsRecorder
        private let name: String

        init(_ recorder: MetricsRecorder, _ label: String, _ dimensions: [(String, String)]) {
            self.recorder = recorder
            self.name = ([label] + dimensions.map { "\($0)=\($1)" }).joined(separator: " ")
        }

        func increment(by amount: Int64) { self.recorder.state.withLock { $0[self.name, default: 0] += Int(amount) } }
        func recordNanoseconds(_ duration: Int64) { self.increment(by: 1) }
        func reset() {}
    }

    func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        Line(self, label, dimensions)
    }
    func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler { Line(self, label, dimensions) }
    func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        NOOPMetricsHandler.instance
    }
    func destroyCounter(_ handler: any CounterHandler) {}
    func destroyRecorder(_ handler: any RecorderHandler) {}
    func destroyTimer(_ handler: any TimerHandler) {}
}
