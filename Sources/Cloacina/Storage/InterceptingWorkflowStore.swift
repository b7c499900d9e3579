package import FoundationEssentials

/// What a runner writes with.
package enum StoreWrite: String, Sendable, Hashable, Codable, CaseIterable {
    case create, apply, claim, recover, beat, ask, leave, prune
}

/// A store that hands every write to one function: for tests that do something at each of them.
package protocol InterceptingWorkflowStore: ForwardingWorkflowStore {
    /// Does a write, or not.
    func writing<R>(
        _ call: StoreWrite, _ write: () async throws(PipelineError) -> R
    ) async throws(PipelineError) -> R
}

extension InterceptingWorkflowStore {
    package func create(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [Creation] {
        try await self.writing(.create) { () throws(PipelineError) in try await self.underlying.create(pipelines) }
    }

    package func apply(_ changes: [PipelineChange]) async throws(PipelineError) -> [StoreOutcome] {
        try await self.writing(.apply) { () throws(PipelineError) in try await self.underlying.apply(changes) }
    }

    package func claim(_ claim: QueueClaim) async throws(PipelineError) -> [StoredPipeline] {
        try await self.writing(.claim) { () throws(PipelineError) in try await self.underlying.claim(claim) }
    }

    package func recover(_ runner: UUID, beats: Int, by rescuer: UUID, at: Date) async throws(PipelineError) -> Int {
        try await self.writing(.recover) { () throws(PipelineError) in
            try await self.underlying.recover(runner, beats: beats, by: rescuer, at: at)
        }
    }

    package func beat(
        _ runner: UUID, number: Int, pipelines: [UUID], isStopping: Bool, at: Date
    ) async throws(PipelineError) -> BeatAnswer {
        try await self.writing(.beat) { () throws(PipelineError) in
            try await self.underlying.beat(
                runner, number: number, pipelines: pipelines, isStopping: isStopping, at: at)
        }
    }

    package func ask(_ request: PipelineRequest, of id: UUID) async throws(PipelineError) {
        try await self.writing(.ask) { () throws(PipelineError) in try await self.underlying.ask(request, of: id) }
    }

    package func leave(_ runner: UUID) async throws(PipelineError) {
        try await self.writing(.leave) { () throws(PipelineError) in try await self.underlying.leave(runner) }
    }

    package func prune(endedBefore: Date, below bound: UUID, limit: Int) async throws(PipelineError) -> Int {
        try await self.writing(.prune) { () throws(PipelineError) in
            try await self.underlying.prune(endedBefore: endedBefore, below: bound, limit: limit)
        }
    }
}
