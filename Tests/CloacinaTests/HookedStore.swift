import FoundationEssentials

@testable import Cloacina

/// A store that lets a test in before it does something, and again before the runner learns of it: to hold that up or to lose
/// it.
final class HookedStore: ForwardingWorkflowStore {
    enum Call: Sendable, Hashable {
        case create, apply, claim, claims, beat, checkWritable
        case survey(everyOwner: Bool)
        case recover(UUID)
    }

    /// What it throws, the runner gets.
    typealias Hook = @Sendable (Call) async throws(PipelineError) -> Void

    /// What a runner gets that trying again would not help.
    static let fault = PipelineError(.storageFailed, "on demand")

    let underlying: any WorkflowStore
    private let before: Hook
    private let after: Hook

    init(
        _ store: any WorkflowStore, before: @escaping Hook = { _ throws(PipelineError) in },
        after: @escaping Hook = { _ throws(PipelineError) in }
    ) {
        self.underlying = store
        self.before = before
        self.after = after
    }

    func create(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [Creation] {
        try await self.before(.create)
        let creations = try await self.underlying.create(pipelines)
        try await self.after(.create)
        return creations
    }

    func apply(_ changes: [PipelineChange]) async throws(PipelineError) -> [StoreOutcome] {
        try await self.before(.apply)
        let outcomes = try await self.underlying.apply(changes)
        try await self.after(.apply)
        return outcomes
    }

    func claim(_ claim: QueueClaim) async throws(PipelineError) -> [StoredPipeline] {
        try await self.before(.claim)
        let claimed = try await self.underlying.claim(claim)
        try await self.after(.claim)
        return claimed
    }

    func claims(of runner: UUID, includingCreated: Bool) async throws(PipelineError) -> [UUID: Int] {
        try await self.before(.claims)
        let claims = try await self.underlying.claims(of: runner, includingCreated: includingCreated)
        try await self.after(.claims)
        return claims
    }

    func beat(
        _ runner: UUID, number: Int, pipelines: [UUID], isStopping: Bool, at date: Date
    ) async throws(PipelineError) -> BeatAnswer {
        try await self.before(.beat)
        let answer = try await self.underlying.beat(
            runner, number: number, pipelines: pipelines, isStopping: isStopping, at: date)
        try await self.after(.beat)
        return answer
    }

    func checkWritable() async throws(PipelineError) {
        try await self.before(.checkWritable)
        try await self.underlying.checkWritable()
        try await self.after(.checkWritable)
    }

    func survey(everyOwner: Bool, at date: Date) async throws(PipelineError) -> QueueSurvey {
        try await self.before(.survey(everyOwner: everyOwner))
        let survey = try await self.underlying.survey(everyOwner: everyOwner, at: date)
        try await self.after(.survey(everyOwner: everyOwner))
        return survey
    }

    func recover(_ runner: UUID, beats: Int, by rescuer: UUID, at date: Date) async throws(PipelineError) -> Int {
        try await self.before(.recover(runner))
        let count = try await self.underlying.recover(runner, beats: beats, by: rescuer, at: date)
        try await self.after(.recover(runner))
        return count
    }
}

extension NewPipeline {
    /// A pipeline of a workflow, as some process leaves it in the store.
    init(_ workflow: Workflow, owner: UUID? = nil, options: ExecutionOptions = ExecutionOptions(), at date: Date) {
        self.init(
            id: .version7(at: date), workflow: workflow.name, version: workflow.contentVersion.hex, input: Context(),
            options: options, owner: owner, at: date)
    }
}
