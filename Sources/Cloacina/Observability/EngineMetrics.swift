import CloacinaWorkflow
import CoreMetrics
import FoundationEssentials

/// The engine's metrics, made once for the process. No label carries a tenant's name or a pipeline's id: that would have no
/// bound.
final class EngineMetrics: Sendable {
    static let shared = EngineMetrics(factory: MetricsSystem.factory)

    /// Pipelines whose end was stored, by how they ended.
    private let pipelines: [PipelineEvent.Kind: Counter]
    /// Attempts whose end was stored, by how they ended.
    private let attempts: [PipelineEvent.Kind: Counter]
    /// How long attempts took.
    private let attemptTime: Timer
    /// Pipelines taken over from runners that died.
    private let recovered: Counter
    /// Pipelines that wait and that no runner of this process takes.
    private let stranded: Meter
    /// Pipelines created and transitions written, and the commits it took: their ratio is what gathering saves.
    private let writes: Counter
    private let commits: Counter

    init(factory: any MetricsFactory) {
        func counters(
            _ label: String, _ dimension: String, _ kinds: [PipelineEvent.Kind: String]
        ) -> [PipelineEvent.Kind: Counter] {
            kinds.mapValues { Counter(label: label, dimensions: [(dimension, $0)], factory: factory) }
        }
        self.pipelines = counters(
            "cloacina_pipelines_ended", "status",
            [.pipelineCompleted: "completed", .pipelineFailed: "failed", .pipelineCancelled: "cancelled"])
        self.attempts = counters(
            "cloacina_task_attempts", "outcome",
            [
                .taskCompleted: "completed", .taskFailed: "failed", .taskRetrying: "retrying",
                .taskInterrupted: "interrupted",
            ])
        self.attemptTime = Timer(label: "cloacina_task_attempt_time", factory: factory)
        self.recovered = Counter(label: "cloacina_pipelines_recovered", factory: factory)
        self.stranded = Meter(label: "cloacina_pipelines_stranded", factory: factory)
        self.writes = Counter(label: "cloacina_writes", factory: factory)
        self.commits = Counter(label: "cloacina_commits", factory: factory)
    }

    /// Counts a line of a pipeline's history.
    func note(_ event: PipelineEvent) {
        guard event.task != nil else {
            self.pipelines[event.kind]?.increment()
            return
        }
        guard let counter = self.attempts[event.kind] else { return }
        counter.increment()
        if let startedAt = event.startedAt {
            let duration = Duration.clamped(seconds: max(0, event.at.timeIntervalSince(startedAt)))
            self.attemptTime.recordNanoseconds(
                duration.wholeMilliseconds.multipliedReportingOverflow(by: 1_000_000).partialValue)
        }
    }

    /// Counts pipelines that were taken over.
    func noteRecovered(_ count: Int) { self.recovered.increment(by: count) }

    /// Takes note of how many more pipelines of a tenant are stranded, or fewer.
    func noteStranded(_ change: Int) { self.stranded.increment(by: Double(change)) }

    /// Counts what went into one commit.
    func noteCommit(of writes: Int) {
        guard writes > 0 else { return }
        self.writes.increment(by: writes)
        self.commits.increment()
    }
}
