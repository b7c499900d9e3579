import Cloacina
import FoundationEssentials
import Synchronization

/// One process of a history: a runner with a store of its own, which may stop for good and say nothing.
///
/// A dead process reads and writes nothing more, and no task's code begins in it. What it had begun before goes on for a while, as
/// in a process that has lost sight of its database: own commits of its tasks may still arrive.
final class HistoryProcess: Sendable {
    /// What a dead process hears from its store: nothing that another try would help.
    static let dead = PipelineError(.storageFailed, "the process has died")

    private struct State {
        var isDead = false
        var isLeaving = false
        var writes = 0
        var bodies = 0
    }

    let number: Int
    let plan: ProcessPlan
    let world: HistoryWorld
    private let state = Mutex(State())

    init(number: Int, plan: ProcessPlan, world: HistoryWorld) {
        self.number = number
        self.plan = plan
        self.world = world
    }

    var isDead: Bool { self.state.withLock { $0.isDead } }
    /// Whether it was told to end in good order.
    var isLeaving: Bool { self.state.withLock { $0.isLeaving } }
    var isUp: Bool { self.state.withLock { !$0.isDead && !$0.isLeaving } }

    func die() {
        let isFirst = self.state.withLock { state in
            defer { state.isDead = true }
            return !state.isDead
        }
        guard isFirst else { return }
        self.world.count(.deaths)
        self.world.pulse("\(self.number) dies")
    }

    func leave() { self.state.withLock { $0.isLeaving = true } }

    func checkAlive() throws(PipelineError) {
        if self.isDead { throw Self.dead }
    }

    /// Counts a write; says whether the process dies of it, and if so whether it is stored.
    func beginWrite() throws(PipelineError) -> ProcessPlan.Death? {
        try self.checkAlive()
        let number = self.state.withLock { state in
            state.writes += 1
            return state.writes
        }
        guard case .write(number, _) = self.plan.death else { return nil }
        return self.plan.death
    }

    /// Counts a beginning of a task's code, and tells the world.
    func begin(_ scope: TaskScope, given context: Context) throws(PipelineError) {
        try self.checkAlive()
        let number = self.state.withLock { state in
            state.bodies += 1
            return state.bodies
        }
        if self.plan.death == .body(number) { self.die() }
        let body = HistoryWorld.Body(
            pipeline: scope.executionID, task: scope.task, attempt: scope.attempt, process: self.number,
            context: context)
        // Whoever finds it dead must not find that its code ran after that.
        let isNoted = self.state.withLock { state in
            guard !state.isDead else { return false }
            self.world.noteBody(body, isCancelled: Task.isCancelled)
            return true
        }
        guard isNoted else { throw Self.dead }
    }
}

/// Whose runner is whose.
final class HistoryRoster: Sendable {
    private let processes = Mutex<[(runner: UUID, process: HistoryProcess)]>([])

    func add(_ runner: UUID, of process: HistoryProcess) { self.processes.withLock { $0.append((runner, process)) } }

    func process(of runner: UUID?) -> HistoryProcess? {
        self.processes.withLock { $0.first { $0.runner == runner }?.process }
    }

    /// The runners whose processes have died.
    var dead: Set<UUID> {
        let processes = self.processes.withLock { $0 }
        return Set(processes.filter(\.process.isDead).map(\.runner))
    }

    func process(number: Int) -> HistoryProcess? {
        self.processes.withLock { $0.first { $0.process.number == number }?.process }
    }

    var all: [(runner: UUID, process: HistoryProcess)] { self.processes.withLock { $0 } }
}

/// The store as one process sees it.
///
/// Many histories share a database, so it hides other histories' runners and pipelines where they would be taken for this one's,
/// and whoever looks for runners that died finds those that did.
struct ProcessStore: ForwardingWorkflowStore {
    let underlying: any WorkflowStore
    let process: HistoryProcess
    let roster: HistoryRoster

    private var world: HistoryWorld { self.process.world }

    private func writing<R>(
        _ write: () async throws(PipelineError) -> R
    ) async throws(PipelineError) -> R {
        let death = try self.process.beginWrite()
        if case .write(_, isStored: false) = death { self.process.die() }
        try self.process.checkAlive()
        let answer = try await write()
        if death != nil { self.process.die() }
        // What is answered to a dead process it does not hear.
        try self.process.checkAlive()
        return answer
    }

    private func asking<R>(
        _ ask: () async throws(PipelineError) -> R
    ) async throws(PipelineError) -> R {
        try self.process.checkAlive()
        let answer = try await ask()
        try self.process.checkAlive()
        return answer
    }

    func create(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [Creation] {
        try await self.writing { () throws(PipelineError) in
            let creations = try await self.underlying.create(pipelines)
            for (new, creation) in zip(pipelines, creations) where creation == .created {
                self.world.noteCreated(new, by: self.process.number)
            }
            return creations
        }
    }

    func apply(_ changes: [PipelineChange]) async throws(PipelineError) -> [StoreOutcome] {
        try await self.writing { () throws(PipelineError) in
            let outcomes = try await self.underlying.apply(changes)
            for (change, outcome) in zip(changes, outcomes) {
                if case .applied = outcome {
                    self.world.noteApplied(change, by: self.process.number)
                } else {
                    self.world.note("\(self.process.number) is too late with \(change.id)")
                }
            }
            return outcomes
        }
    }

    func claim(_ claim: QueueClaim) async throws(PipelineError) -> [StoredPipeline] {
        try await self.asking { () throws(PipelineError) in
            let claimed = try await self.underlying.claim(claim)
            if !claimed.isEmpty {
                self.world.noteClaimed(claimed, by: self.process.number)
                // Only a claim that takes something is a write.
                if try self.process.beginWrite() != nil { self.process.die() }
            }
            return claimed
        }
    }

    func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
        try await self.asking { () throws(PipelineError) in try await self.underlying.load(id) }
    }

    func row(of id: UUID) async throws(PipelineError) -> StoredPipeline? {
        try await self.asking { () throws(PipelineError) in try await self.underlying.row(of: id) }
    }

    func standing(of id: UUID) async throws(PipelineError) -> PipelineStanding? {
        try await self.asking { () throws(PipelineError) in try await self.underlying.standing(of: id) }
    }

    func children(of id: UUID, after last: UUID?) async throws(PipelineError) -> [UUID] {
        try await self.asking { () throws(PipelineError) in try await self.underlying.children(of: id, after: last) }
    }

    func status(of id: UUID) async throws(PipelineError) -> PipelineStatus? {
        try await self.asking { () throws(PipelineError) in try await self.underlying.status(of: id) }
    }

    func ask(_ request: PipelineRequest, of id: UUID) async throws(PipelineError) {
        try await self.asking { () throws(PipelineError) in
            try await self.underlying.ask(request, of: id)
            self.world.note("\(self.process.number) asks \(id) to \(request)")
        }
    }

    func beat(
        _ runner: UUID, number: Int, pipelines: [UUID], isStopping: Bool, at: Date
    ) async throws(PipelineError) -> BeatAnswer {
        try await self.asking { () throws(PipelineError) in
            try await self.underlying.beat(runner, number: number, pipelines: pipelines, isStopping: isStopping, at: at)
        }
    }

    func survey(everyOwner: Bool, at: Date) async throws(PipelineError) -> QueueSurvey {
        let dead = self.roster.dead
        let known = Set(self.world.pipelines)
        var survey = try await self.asking { () throws(PipelineError) in
            try await self.underlying.survey(everyOwner: everyOwner, at: at)
        }
        survey.beats = survey.beats.filter { dead.contains($0.key) }
        survey.unheard = survey.unheard.filter { known.contains($0.key) }
        return survey
    }

    func recover(_ runner: UUID, beats: Int, by rescuer: UUID, at: Date) async throws(PipelineError) -> Int {
        try await self.asking { () throws(PipelineError) in
            let count = try await self.underlying.recover(runner, beats: beats, by: rescuer, at: at)
            if count > 0 {
                self.world.count(.recoveries, count)
                self.world.pulse("\(self.process.number) recovers \(count) of \(runner)")
            }
            return count
        }
    }

    func claims(of runner: UUID, includingCreated: Bool) async throws(PipelineError) -> [UUID: Int] {
        try await self.asking { () throws(PipelineError) in
            try await self.underlying.claims(of: runner, includingCreated: includingCreated)
        }
    }

    func leave(_ runner: UUID) async throws(PipelineError) {
        try await self.asking { () throws(PipelineError) in try await self.underlying.leave(runner) }
    }
}
