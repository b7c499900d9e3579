package import FoundationEssentials

/// A store that hands on what it doesn't do itself: for tests that stand between a runner and its store.
package protocol ForwardingWorkflowStore: WorkflowStore {
    /// The store that everything goes to in the end.
    var underlying: any WorkflowStore { get }
}

extension ForwardingWorkflowStore {
    package func create(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [Creation] {
        try await self.underlying.create(pipelines)
    }

    package func apply(_ changes: [PipelineChange]) async throws(PipelineError) -> [StoreOutcome] {
        try await self.underlying.apply(changes)
    }

    package func claim(_ claim: QueueClaim) async throws(PipelineError) -> [StoredPipeline] {
        try await self.underlying.claim(claim)
    }

    package func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
        try await self.underlying.load(id)
    }

    package func row(of id: UUID) async throws(PipelineError) -> StoredPipeline? {
        try await self.underlying.row(of: id)
    }

    package func standing(of id: UUID) async throws(PipelineError) -> PipelineStanding? {
        try await self.underlying.standing(of: id)
    }

    package func children(of id: UUID, after last: UUID?) async throws(PipelineError) -> [UUID] {
        try await self.underlying.children(of: id, after: last)
    }

    package func status(of id: UUID) async throws(PipelineError) -> PipelineStatus? {
        try await self.underlying.status(of: id)
    }

    package func ask(_ request: PipelineRequest, of id: UUID) async throws(PipelineError) {
        try await self.underlying.ask(request, of: id)
    }

    package func beat(
        _ runner: UUID, number: Int, pipelines: [UUID], isStopping: Bool, at: Date
    ) async throws(PipelineError) -> BeatAnswer {
        try await self.underlying.beat(runner, number: number, pipelines: pipelines, isStopping: isStopping, at: at)
    }

    package func survey(everyOwner: Bool, at: Date) async throws(PipelineError) -> QueueSurvey {
        try await self.underlying.survey(everyOwner: everyOwner, at: at)
    }

    package func stranded(
        _ claim: QueueClaim, dueBefore: Date, limit: Int
    ) async throws(PipelineError) -> [StrandedPipeline] {
        try await self.underlying.stranded(claim, dueBefore: dueBefore, limit: limit)
    }

    package func strandedPage(
        _ claim: QueueClaim, dueBefore: Date, after place: StrandedPlace?, limit: Int
    ) async throws(PipelineError) -> StrandedPage {
        try await self.underlying.strandedPage(claim, dueBefore: dueBefore, after: place, limit: limit)
    }

    package func recover(_ runner: UUID, beats: Int, by rescuer: UUID, at: Date) async throws(PipelineError) -> Int {
        try await self.underlying.recover(runner, beats: beats, by: rescuer, at: at)
    }

    package func claims(of runner: UUID, includingCreated: Bool) async throws(PipelineError) -> [UUID: Int] {
        try await self.underlying.claims(of: runner, includingCreated: includingCreated)
    }

    package func leave(_ runner: UUID) async throws(PipelineError) { try await self.underlying.leave(runner) }

    package func checkWritable() async throws(PipelineError) { try await self.underlying.checkWritable() }

    package func list(_ query: PipelineQuery) async throws(PipelineError) -> [PipelineSummary] {
        try await self.underlying.list(query)
    }

    package func events(_ query: EventQuery) async throws(PipelineError) -> [RecordedEvent] {
        try await self.underlying.events(query)
    }

    package func prune(endedBefore: Date, below bound: UUID, limit: Int) async throws(PipelineError) -> Int {
        try await self.underlying.prune(endedBefore: endedBefore, below: bound, limit: limit)
    }
}
