import CloacinaWorkflow
import Synchronization

/// Gathers what many pipelines write at the same time into few commits.
///
/// New pipelines and transitions go apart: a creation may have to wait for somebody else's transaction, which has stored its
/// idempotency key and not yet committed, and no transition must wait for that.
final class WriteBatcher: Sendable {
    private let creations: WriteLane<NewPipeline, Creation>
    private let changes: WriteLane<PipelineChange, StoreOutcome>

    init(
        _ store: any WorkflowStore, maximumFlushes: Int = 2, executor: (any TaskExecutor)? = nil,
        metrics: EngineMetrics = .shared, noting note: @escaping @Sendable (PipelineError?) -> Void = { _ in }
    ) {
        self.creations = WriteLane(
            maximumFlushes: maximumFlushes, executor: executor, metrics: metrics, noting: note, size: \.writtenBytes
        ) { (pipelines: [NewPipeline]) throws(PipelineError) in try await store.create(pipelines)
        }
        self.changes = WriteLane(
            maximumFlushes: maximumFlushes, executor: executor, metrics: metrics, noting: note, size: \.writtenBytes
        ) { (changes: [PipelineChange]) throws(PipelineError) in try await store.apply(changes)
        }
    }

    var statistics: WriteStatistics {
        let (creations, changes) = (self.creations.statistics, self.changes.statistics)
        return WriteStatistics(
            writes: creations.writes + changes.writes, commits: creations.commits + changes.commits)
    }

    func create(_ pipeline: NewPipeline) async throws(PipelineError) -> Creation {
        try await self.creations.write(pipeline)
    }

    func apply(_ change: PipelineChange) async throws(PipelineError) -> StoreOutcome {
        try await self.changes.write(change)
    }
}

/// Writes of one kind.
///
/// A write that finds nothing under way goes at once; what comes while the database is busy goes together when it is done. So
/// the commits per task fall as the load rises, and nobody waits for company when there is none.
final class WriteLane<Item: Sendable, Answer: Sendable>: Sendable {
    private typealias Entry = (
        item: Item, bytes: Int, waiting: CheckedContinuation<Result<Answer, PipelineError>, Never>
    )

    private struct State {
        var entries: [Entry] = []
        var flushing = 0
        var statistics = WriteStatistics()
    }

    /// The most bytes of text, or about that, that go together in one commit: a server and this process hold several times as much.
    private static var maximumBytes: Int { 16 << 20 }

    private let maximumFlushes: Int
    private let maximumBatch: Int
    private let size: @Sendable (Item) -> Int
    private let executor: (any TaskExecutor)?
    private let metrics: EngineMetrics
    private let note: @Sendable (PipelineError?) -> Void
    private let operation: @Sendable ([Item]) async throws(PipelineError) -> [Answer]
    private let state = Mutex(State())

    /// - Parameters:
    ///   - maximumFlushes: How many commits may be under way at the same time.
    ///   - maximumBatch: How many writes go together at most.
    ///   - note: Is told what came of each commit: nil, or why it failed.
    ///   - size: About how many bytes of text a write has. Those that go together have ``maximumBytes`` at most; one always goes.
    init(
        maximumFlushes: Int, maximumBatch: Int = 256, executor: (any TaskExecutor)? = nil, metrics: EngineMetrics,
        noting note: @escaping @Sendable (PipelineError?) -> Void = { _ in },
        size: @escaping @Sendable (Item) -> Int = { _ in 0 },
        operation: @escaping @Sendable ([Item]) async throws(PipelineError) -> [Answer]
    ) {
        self.size = size
        self.maximumFlushes = maximumFlushes
        self.maximumBatch = maximumBatch
        self.executor = executor
        self.metrics = metrics
        self.note = note
        self.operation = operation
    }

    var statistics: WriteStatistics { self.state.withLock { $0.statistics } }

    func write(_ item: Item) async throws(PipelineError) -> Answer {
        let bytes = self.size(item)
        let result: Result<Answer, PipelineError> = await withCheckedContinuation { waiting in
            let mustStart = self.state.withLock { state in
                state.entries.append((item, bytes, waiting))
                guard state.flushing < self.maximumFlushes else { return false }
                state.flushing += 1
                return true
            }
            // Not a child of whoever writes: it serves the others too, and ends by itself when nothing is left to write.
            if mustStart { Task.detached(executorPreference: self.executor) { await self.flush() } }
        }
        return try result.get()
    }

    private func flush() async {
        while true {
            let batch = self.state.withLock { state in
                let batch = Array(state.entries.prefix(self.batchCount(state.entries)))
                state.entries.removeFirst(batch.count)
                if batch.isEmpty { state.flushing -= 1 }
                return batch
            }
            if batch.isEmpty { return }
            await self.write(batch)
        }
    }

    /// The number of waiting writes that go together.
    private func batchCount(_ entries: [Entry]) -> Int {
        var bytes = 0
        for (index, entry) in entries.prefix(self.maximumBatch).enumerated() {
            bytes += entry.bytes
            if bytes > Self.maximumBytes { return max(1, index) }
        }
        return min(entries.count, self.maximumBatch)
    }

    private func write(_ batch: [Entry]) async {
        do throws(PipelineError) {
            let answers = try await self.operation(batch.map(\.item))
            self.state.withLock { $0.statistics.note(batch.count) }
            self.metrics.noteCommit(of: batch.count)
            self.note(nil)
            for (entry, answer) in zip(batch, answers) { entry.waiting.resume(returning: .success(answer)) }
        } catch {
            self.note(error)
            guard batch.count > 1, !error.isUnreached, !error.isTransient || error.isContention else {
                for entry in batch { entry.waiting.resume(returning: .failure(error)) }
                return
            }
            // Nothing was stored, and one of them may be why: each for itself. Not children: what comes next must not wait for one
            // that has to wait for somebody's lock. Each ends by itself, and its writer waits for it.
            for entry in batch { Task.detached(executorPreference: self.executor) { await self.write([entry]) } }
        }
    }
}

/// How writes were gathered.
public struct WriteStatistics: Sendable, Hashable {
    /// Pipelines created and transitions written.
    public var writes = 0
    /// The commits it took. Claims, heartbeats and what tasks commit themselves are not among them.
    public var commits = 0

    /// Makes statistics of numbers.
    public init(writes: Int = 0, commits: Int = 0) {
        self.writes = writes
        self.commits = commits
    }

    mutating func note(_ count: Int) {
        self.writes += count
        self.commits += 1
    }
}

extension NewPipeline {
    /// About how many bytes of text are stored of it.
    var writtenBytes: Int { self.input.byteCount }
}

extension PipelineChange {
    /// About how many bytes of text are stored of it.
    var writtenBytes: Int {
        let results = (self.transition.output?.utf8.count ?? 0) + (self.transition.outcomes?.utf8.count ?? 0)
        return self.transition.events.reduce(results) { bytes, event in
            bytes + (event.detail?.utf8.count ?? 0) + (event.delta?.writtenBytes ?? 0)
        }
    }
}

extension ContextDelta {
    fileprivate var writtenBytes: Int {
        self.changes.reduce(0) { bytes, change in
            switch change.value {
            case .set(let value): bytes + change.key.utf8.count + value.writtenBytes
            case .removed: bytes + change.key.utf8.count
            case .merged(let delta): bytes + change.key.utf8.count + delta.writtenBytes
            }
        }
    }
}

extension JSONValue {
    fileprivate var writtenBytes: Int {
        switch self {
        case .string(let text): text.utf8.count + 2
        case .array(let values): values.reduce(2) { $0 + $1.writtenBytes }
        case .object(let values): values.reduce(2) { $0 + $1.key.utf8.count + $1.value.writtenBytes }
        case .null, .bool, .integer, .double, .number: 8
        }
    }
}
