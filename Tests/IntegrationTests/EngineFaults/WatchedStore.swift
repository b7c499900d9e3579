import FoundationEssentials
import Synchronization

@testable import Cloacina
@testable import CloacinaPostgres

/// A store that counts what a runner asks of it, and may hold it up or keep the answer back.
final class WatchedStore: ForwardingWorkflowStore {
    enum Call: Sendable, Hashable { case create, apply, claim, beat, recover }

    /// Called around each call with its number among those of its kind, from 1. What it throws, the runner gets.
    typealias Hook = @Sendable (Call, Int) async throws(PipelineError) -> Void

    private struct State {
        var begun: [Call: Int] = [:]
        var ended: [Call: Int] = [:]
        var failed: [Call: Int] = [:]
        var recovered = 0

        mutating func count(_ call: Call, in calls: WritableKeyPath<State, [Call: Int]>) -> Int {
            self[keyPath: calls][call, default: 0] += 1
            return self[keyPath: calls][call, default: 0]
        }
    }

    let underlying: any WorkflowStore
    private let before: Hook
    private let after: Hook
    private let state = Mutex(State())

    init(
        _ store: any WorkflowStore, before: @escaping Hook = { _, _ throws(PipelineError) in },
        after: @escaping Hook = { _, _ throws(PipelineError) in }
    ) {
        self.underlying = store
        self.before = before
        self.after = after
    }

    /// What the runner gets to see when the connection breaks before the answer is there.
    static var answerLost: PipelineError {
        PipelineError(.storageFailed, "on demand", underlying: PostgresError(.connectionLost))
    }

    /// How many calls the store has answered. A claim that found nothing is none.
    func answered(_ call: Call) -> Int { self.state.withLock { $0.ended[call, default: 0] } }

    /// How many calls have failed.
    func failed(_ call: Call) -> Int { self.state.withLock { $0.failed[call, default: 0] } }

    /// How many pipelines were taken from runners that were believed to be dead.
    var recovered: Int { self.state.withLock { $0.recovered } }

    private func watch<R>(
        _ call: Call, counts: (R) -> Bool = { _ in true }, _ body: () async throws(PipelineError) -> R
    ) async throws(PipelineError) -> R {
        try await self.before(call, self.state.withLock { $0.count(call, in: \.begun) })
        let result: R
        do throws(PipelineError) {
            result = try await body()
        } catch {
            _ = self.state.withLock { $0.count(call, in: \.failed) }
            throw error
        }
        if counts(result) { try await self.after(call, self.state.withLock { $0.count(call, in: \.ended) }) }
        return result
    }

    func create(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [Creation] {
        try await self.watch(.create) { () throws(PipelineError) in try await self.underlying.create(pipelines) }
    }

    func apply(_ changes: [PipelineChange]) async throws(PipelineError) -> [StoreOutcome] {
        try await self.watch(.apply) { () throws(PipelineError) in try await self.underlying.apply(changes) }
    }

    func claim(_ claim: QueueClaim) async throws(PipelineError) -> [StoredPipeline] {
        try await self.watch(.claim, counts: { !$0.isEmpty }) { () throws(PipelineError) in
            try await self.underlying.claim(claim)
        }
    }

    func beat(
        _ runner: UUID, number: Int, pipelines: [UUID], isStopping: Bool, at: Date
    ) async throws(PipelineError) -> BeatAnswer {
        try await self.watch(.beat) { () throws(PipelineError) in
            try await self.underlying.beat(runner, number: number, pipelines: pipelines, isStopping: isStopping, at: at)
        }
    }

    func recover(_ runner: UUID, beats: Int, by rescuer: UUID, at: Date) async throws(PipelineError) -> Int {
        try await self.watch(.recover) { () throws(PipelineError) in
            let count = try await self.underlying.recover(runner, beats: beats, by: rescuer, at: at)
            self.state.withLock { $0.recovered += count }
            return count
        }
    }
}
