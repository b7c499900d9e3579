import Cloacina
import FoundationEssentials
import Synchronization

/// A store as one process sees it, which dies at one of its writes.
///
/// What changes a pipeline is a write. Heartbeats are none: dying at one is dying between two writes.
final class MortalStore: ForwardingWorkflowStore {
    let underlying: any WorkflowStore
    private let point: CrashPoint?
    private let die: @Sendable (Crash) -> Void
    private let state = Mutex((writes: [String](), first: UUID?.none))

    init(_ store: InMemoryWorkflowStore, until point: CrashPoint?, die: @escaping @Sendable (Crash) -> Void) {
        self.underlying = store
        self.point = point
        self.die = die
    }

    /// What was written, in order.
    var writes: [String] { self.state.withLock { $0.writes } }
    /// The pipeline that was created first, or was to be.
    var first: UUID? { self.state.withLock { $0.first } }

    func create(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [Creation] {
        self.state.withLock { $0.first = $0.first ?? pipelines.first?.id }
        return try await self.writing("create") { () throws(PipelineError) in
            try await self.underlying.create(pipelines)
        }
    }

    func apply(_ changes: [PipelineChange]) async throws(PipelineError) -> [StoreOutcome] {
        let events = changes.flatMap(\.transition.events)
        let words = events.map { event in event.task.map { "\(event.kind.rawValue): \($0)" } ?? event.kind.rawValue }
        return try await self.writing(words.joined(separator: ", ")) { () throws(PipelineError) in
            try await self.underlying.apply(changes)
        }
    }

    func claim(_ claim: QueueClaim) async throws(PipelineError) -> [StoredPipeline] {
        try await self.writing("claim") { () throws(PipelineError) in try await self.underlying.claim(claim) }
    }

    func recover(_ runner: UUID, beats: Int, by rescuer: UUID, at: Date) async throws(PipelineError) -> Int {
        try await self.writing("recover") { () throws(PipelineError) in
            try await self.underlying.recover(runner, beats: beats, by: rescuer, at: at)
        }
    }

    private func writing<R>(
        _ write: String, _ body: () async throws(PipelineError) -> R
    ) async throws(PipelineError) -> R {
        let number = self.state.withLock { state in
            state.writes.append(write)
            return state.writes.count
        }
        if self.point == .before(number) { await self.end(Crash(point: .before(number), place: write)) }
        let answer = try await body()
        if self.point == .after(number) { await self.end(Crash(point: .after(number), place: write)) }
        return answer
    }

    /// Never goes on, as nothing does in a process that is no more.
    private func end(_ crash: Crash) async {
        self.die(crash)
        await Self.nothing()
    }

    /// Never returns.
    static func nothing() async {
        await unsafe withUnsafeContinuation { (_: UnsafeContinuation<Void, Never>) in }
    }
}
