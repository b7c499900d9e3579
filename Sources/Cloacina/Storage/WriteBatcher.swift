import Synchronization

/// Gathers what many pipelines write at the same time into few commits.
///
/// A write that finds nothing under way goes at once; what comes while the database is busy goes together when it is done. So
/// the commits per task fall as the load rises, and nobody waits for company when there is none.
final class WriteBatcher: Sendable {
    private typealias Creating = CheckedContinuation<Result<Creation, PipelineError>, Never>
    private typealias Applying = CheckedContinuation<Result<StoreOutcome, PipelineError>, Never>

    private struct State {
        var creations: [(NewPipeline, Creating)] = []
        var changes: [(PipelineChange, Applying)] = []
        var flushing = 0
        var statistics = WriteStatistics()
    }

    /// How many writes go together at most.
    private static var maximumBatch: Int { 256 }

    private let store: any WorkflowStore
    private let maximumFlushes: Int
    private let executor: (any TaskExecutor)?
    private let metrics: EngineMetrics
    private let state = Mutex(State())

    init(
        _ store: any WorkflowStore, maximumFlushes: Int = 2, executor: (any TaskExecutor)? = nil,
        metrics: EngineMetrics = .shared
    ) {
        self.metrics = metrics
        self.store = store
        self.maximumFlushes = maximumFlushes
        self.executor = executor
    }

    var statistics: WriteStatistics { self.state.withLock { $0.statistics } }

    func create(_ pipeline: NewPipeline) async throws(PipelineError) -> Creation {
        let result: Result<Creation, PipelineError> = await withCheckedContinuation { continuation in
            self.enqueue { $0.creations.append((pipeline, continuation)) }
        }
        return try result.get()
    }

    func apply(_ change: PipelineChange) async throws(PipelineError) -> StoreOutcome {
        let result: Result<StoreOutcome, PipelineError> = await withCheckedContinuation { continuation in
            self.enqueue { $0.changes.append((change, continuation)) }
        }
        return try result.get()
    }

    private func enqueue(_ add: (inout State) -> Void) {
        let mustStart = self.state.withLock { state in
            add(&state)
            guard state.flushing < self.maximumFlushes else { return false }
            state.flushing += 1
            return true
        }
        // Not a child of whoever writes: it serves the others too, and ends by itself when nothing is left to write.
        if mustStart { Task(executorPreference: self.executor) { await self.flush() } }
    }

    private func flush() async {
        while true {
            let (creations, changes) = self.state.withLock { state in
                let creations = Array(state.creations.prefix(Self.maximumBatch))
                let changes = Array(state.changes.prefix(Self.maximumBatch))
                state.creations.removeFirst(creations.count)
                state.changes.removeFirst(changes.count)
                if creations.isEmpty, changes.isEmpty { state.flushing -= 1 }
                state.statistics.note(creations.count)
                state.statistics.note(changes.count)
                return (creations, changes)
            }
            if creations.isEmpty, changes.isEmpty { return }
            self.metrics.noteCommit(of: creations.count)
            self.metrics.noteCommit(of: changes.count)
            await Self.write(creations) { pipelines throws(PipelineError) in try await self.store.create(pipelines) }
            await Self.write(changes) { changes throws(PipelineError) in try await self.store.apply(changes) }
        }
    }

    private static func write<Item: Sendable, Answer: Sendable>(
        _ batch: [(Item, CheckedContinuation<Result<Answer, PipelineError>, Never>)],
        _ operation: ([Item]) async throws(PipelineError) -> [Answer]
    ) async {
        guard !batch.isEmpty else { return }
        do throws(PipelineError) {
            let answers = try await operation(batch.map(\.0))
            for ((_, continuation), answer) in zip(batch, answers) { continuation.resume(returning: .success(answer)) }
        } catch {
            guard batch.count > 1, !error.isTransient else {
                for (_, continuation) in batch { continuation.resume(returning: .failure(error)) }
                return
            }
            // Nothing was stored, and one of them may be why: each for itself.
            for entry in batch { await self.write([entry], operation) }
        }
    }
}

/// How writes were gathered.
public struct WriteStatistics: Sendable, Hashable {
    /// Pipelines created and transitions written.
    public var writes = 0
    /// The commits it took.
    public var commits = 0

    /// Makes statistics of numbers.
    public init(writes: Int = 0, commits: Int = 0) {
        self.writes = writes
        self.commits = commits
    }

    mutating func note(_ count: Int) {
        guard count > 0 else { return }
        self.writes += count
        self.commits += 1
    }
}
