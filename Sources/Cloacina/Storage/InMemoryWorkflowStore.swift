package import FoundationEssentials
import Synchronization

/// Keeps pipelines as long as the process lives: the model that the databases are compared with.
package final class InMemoryWorkflowStore: WorkflowStore {
    fileprivate struct State {
        var pipelines: [UUID: StoredPipeline] = [:]
        /// By their bytes, as databases compare them: Swift takes different spellings for the same.
        var keys: [[UInt8]: UUID] = [:]
        var beats: [UUID: Int] = [:]
        var stopping: Set<UUID> = []
    }
    private let state = Mutex(State())

    package init() {}

    package func create(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [Creation] {
        self.state.withLock { state in pipelines.map { state.create($0) } }
    }

    package func apply(_ changes: [PipelineChange]) async throws(PipelineError) -> [StoreOutcome] {
        self.state.withLock { state in changes.map { state.apply($0) } }
    }

    package func claim(_ claim: QueueClaim) async throws(PipelineError) -> [StoredPipeline] {
        self.state.withLock { state in
            let due = state.pipelines.values.filter { $0.canBeClaimed(by: claim) }
                .sorted { ($1.priority, $0.dueAt ?? claim.at, $0.id) < ($0.priority, $1.dueAt ?? claim.at, $1.id) }
            var bytes = 0
            let claimable = due.prefix(max(0, claim.limit)).prefix { pipeline in
                // One is always taken, and then as many as the bytes before them leave room for.
                defer { bytes += pipeline.input.byteCount }
                return bytes < max(1, claim.byteLimit)
            }
            return claimable.map { pipeline in
                var (claimed, event) = pipeline.claimed(by: claim)
                claimed.events.append(event)
                state.pipelines[pipeline.id] = claimed
                return claimed
            }
        }
    }

    package func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
        self.state.withLock { $0.pipelines[id] }
    }

    package func row(of id: UUID) async throws(PipelineError) -> StoredPipeline? { try await self.load(id) }

    package func standing(of id: UUID) async throws(PipelineError) -> PipelineStanding? {
        self.state.withLock { state in
            state.pipelines[id].map {
                PipelineStanding(status: $0.status, revision: $0.revision, epoch: $0.epoch, owner: $0.owner)
            }
        }
    }

    package func children(of id: UUID, after last: UUID?) async throws(PipelineError) -> [UUID] {
        self.state.withLock { state in
            let ids = state.pipelines.values.filter { $0.parent == id && $0.endedAt == nil }.map(\.id)
            return Array(
                ids.filter { id in last.map { $0 < id } ?? true }.sorted { $0 < $1 }.prefix(StoredLimits.surveyRows))
        }
    }

    package func status(of id: UUID) async throws(PipelineError) -> PipelineStatus? {
        self.state.withLock { $0.pipelines[id]?.status }
    }

    package func ask(_ request: PipelineRequest, of id: UUID) async throws(PipelineError) {
        self.state.withLock { state in
            guard let pipeline = state.pipelines[id], pipeline.status == .running else { return }
            if pipeline.request != .cancel { state.pipelines[id]?.request = request }
        }
    }

    package func beat(
        _ runner: UUID, number: Int, pipelines: [UUID], isStopping: Bool, at: Date
    ) async throws(PipelineError) -> BeatAnswer {
        self.state.withLock { state in
            state.beats[runner] = number
            if isStopping { state.stopping.insert(runner) }
            var answer = BeatAnswer()
            for pipeline in pipelines.compactMap({ state.pipelines[$0] }) where pipeline.owner == runner {
                answer.held.insert(pipeline.id)
                answer.requests[pipeline.id] = pipeline.request
            }
            return answer
        }
    }

    package func survey(everyOwner: Bool, at: Date) async throws(PipelineError) -> QueueSurvey {
        self.state.withLock { state in
            let due = state.pipelines.values.compactMap(\.dueAt)
            var survey = QueueSurvey(
                beats: state.beats, isDue: due.contains { $0 <= at }, nextDue: due.filter { $0 > at }.min())
            if everyOwner {
                let owners = state.pipelines.values.filter { $0.status == .running }.compactMap(\.owner)
                survey.beats.merge(owners.map { ($0, 0) }) { beats, _ in beats }
                survey.unheard = state.pipelines.filter { _, pipeline in
                    pipeline.status == .paused || pipeline.status == .queued && pipeline.request == .cancel
                }.compactMapValues(\.request)
            }
            return survey
        }
    }

    package func stranded(
        _ claim: QueueClaim, dueBefore: Date, limit: Int
    ) async throws(PipelineError) -> [StrandedPipeline] {
        self.state.withLock { state in
            let found = state.pipelines.values.compactMap { pipeline -> (Int, StrandedPipeline)? in
                guard let dueAt = pipeline.dueAt, dueAt <= dueBefore,
                    let stranded = pipeline.stranded(for: claim, dueAt: dueAt)
                else { return nil }
                return (pipeline.priority, stranded)
            }
            return found.sorted { ($1.0, $0.1.dueAt, $0.1.id) < ($0.0, $1.1.dueAt, $1.1.id) }.map(\.1)
                .prefix(max(0, limit)).map { $0 }
        }
    }

    package func strandedPage(
        _ claim: QueueClaim, dueBefore: Date, after place: StrandedPlace?, limit: Int
    ) async throws(PipelineError) -> StrandedPage {
        self.state.withLock { state in
            let waiting = state.pipelines.values.compactMap { pipeline -> (StrandedPlace, StrandedPipeline)? in
                guard let dueAt = pipeline.dueAt,
                    let stranded = pipeline.stranded(for: claim, dueAt: dueAt)
                else { return nil }
                let lane = "\(pipeline.startedAt == nil ? "" : pipeline.version) \(pipeline.workflow)"
                let own = StrandedPlace(
                    format: StoredLimits.format, lane: lane, priority: pipeline.priority, dueAt: dueAt, id: pipeline.id)
                return place.map { $0 < own } ?? true ? (own, stranded) : nil
            }
            let page = waiting.sorted { $0.0 < $1.0 }.prefix(max(0, limit))
            return StrandedPage(
                page.map(\.1).filter { $0.dueAt <= dueBefore }, next: page.count < waiting.count ? page.last?.0 : nil)
        }
    }

    package func recover(_ runner: UUID, beats: Int, by rescuer: UUID, at: Date) async throws(PipelineError) -> Int {
        self.state.withLock { state in
            guard state.beats[runner, default: 0] == beats else { return 0 }
            state.beats[runner] = nil
            let wasStopping = state.stopping.remove(runner) != nil
            let lost = state.pipelines.values.filter { $0.owner == runner && $0.status == .running }
            for pipeline in lost {
                let reason = wasStopping ? PipelineEvent.Reason.runnerStopped : .runnerDied
                state.pipelines[pipeline.id] = pipeline.recovered(from: runner, by: rescuer, for: reason, at: at)
            }
            return lost.count
        }
    }

    package func claims(of runner: UUID, includingCreated: Bool) async throws(PipelineError) -> [UUID: Int] {
        self.state.withLock { state in
            state.pipelines.filter {
                $0.value.owner == runner && $0.value.status == .running && ($0.value.revision > 1 || includingCreated)
            }
            .mapValues(\.epoch)
        }
    }

    package func leave(_ runner: UUID) async throws(PipelineError) {
        self.state.withLock { $0.beats[runner] = nil }
    }

    package func list(_ query: PipelineQuery) async throws(PipelineError) -> [PipelineSummary] {
        self.state.withLock { state in
            let found = state.pipelines.values.filter { pipeline in
                (query.workflow == nil || pipeline.workflow == query.workflow)
                    && (query.statuses.isEmpty || query.statuses.contains(pipeline.status))
                    && query.after.map { pipeline.id < $0 } ?? true
            }
            return found.sorted { $0.id > $1.id }.prefix(max(0, query.limit)).map(\.summary)
        }
    }

    package func events(_ query: EventQuery) async throws(PipelineError) -> [RecordedEvent] {
        self.state.withLock { state in
            let pipelines = state.pipelines.values.filter { query.pipeline == nil || $0.id == query.pipeline }
            let events = pipelines.sorted { $0.id > $1.id }.lazy.flatMap(\.recordedEvents)
            return Array(events.filter { $0.isWanted(by: query) }.prefix(max(0, query.limit)))
        }
    }

    package func prune(endedBefore limit: Date, below bound: UUID, limit count: Int) async throws(PipelineError) -> Int
    {
        self.state.withLock { state in
            let old = state.pipelines.values.filter { $0.id < bound && $0.endedAt.map { $0 < limit } ?? false }
                .filter { !state.isNeeded($0) }.sorted { $0.id < $1.id }.prefix(max(0, count))
            for pipeline in old { state.delete(pipeline.id) }
            return old.count
        }
    }

    /// Commits a task's completion apart from the runner's transitions, as a transactional task does: for tests.
    ///
    /// - Returns: False when the claim does not hold any more, or the task was committed before.
    package func commit(_ event: PipelineEvent, of id: UUID, epoch: Int) -> Bool {
        self.state.withLock { state in
            guard let pipeline = state.pipelines[id], pipeline.epoch == epoch, pipeline.status == .running,
                event.worker == nil || pipeline.owner == event.worker,
                !pipeline.commits.contains(where: { $0.task == event.task })
            else { return false }
            state.pipelines[id]?.commits.append(event)
            return true
        }
    }

    /// Takes a pipeline away, as an operator's DELETE would.
    package func delete(_ id: UUID) {
        self.state.withLock { $0.delete(id) }
    }
}

extension InMemoryWorkflowStore.State {
    fileprivate mutating func create(_ new: NewPipeline) -> Creation {
        if self.pipelines[new.id] != nil { return .exists(new.id) }
        if let key = new.options.idempotencyKey.map({ Array($0.utf8) }) {
            if let stored = self.keys[key].flatMap({ self.pipelines[$0] }) {
                let holder = KeyHolder(id: stored.id, workflow: stored.workflow, parent: stored.parent)
                guard new.takesKey, new.isSame(as: holder), [.failed, .cancelled].contains(stored.status) else {
                    let text = stored.input.jsonText
                    return new.answer(for: holder, hasSameText: false) ?? new.answer(for: holder, storedInput: text)
                }
                self.pipelines[stored.id]?.idempotencyKey = nil
            }
            self.keys[key] = new.id
        }
        self.pipelines[new.id] = StoredPipeline(new)
        return .created
    }

    fileprivate mutating func apply(_ change: PipelineChange) -> StoreOutcome {
        guard let stored = self.pipelines[change.id], stored.epoch == change.epoch,
            change.owner == nil || stored.owner == change.owner, stored.revision == change.transition.expectedRevision
        else { return .stale }
        let changed = stored.applying(change)
        self.pipelines[change.id] = changed
        return .applied(changed.request)
    }

    /// Whether a pipeline is the child of one that has not ended, and would be run once more if it were gone.
    fileprivate func isNeeded(_ pipeline: StoredPipeline) -> Bool {
        pipeline.parent.flatMap { self.pipelines[$0] }.map { $0.endedAt == nil } ?? false
    }

    fileprivate mutating func delete(_ id: UUID) {
        if let key = self.pipelines.removeValue(forKey: id)?.idempotencyKey { self.keys[Array(key.utf8)] = nil }
    }
}

extension StoredPipeline {
    fileprivate func canBeClaimed(by claim: QueueClaim) -> Bool {
        guard self.status == .queued, let dueAt, dueAt <= claim.at, claim.workflows[self.workflow] != nil,
            claim.abovePriority.map({ self.priority > $0 }) ?? true, !claim.onlyChildren || self.parent != nil
        else { return false }
        return self.startedAt == nil || claim.knows(self.version, of: self.workflow)
    }

    /// The pipeline as one that a claim doesn't take; nil when it may, or when it doesn't wait.
    fileprivate func stranded(for claim: QueueClaim, dueAt: Date) -> StrandedPipeline? {
        guard self.status == .queued,
            let reason = claim.obstacle(
                workflow: self.workflow, version: self.version, hasBegun: self.startedAt != nil,
                format: StoredLimits.format)
        else { return nil }
        return StrandedPipeline(
            id: self.id, workflow: self.workflow, version: self.version, reason: reason, createdAt: self.createdAt,
            dueAt: dueAt)
    }

    fileprivate func recovered(
        from runner: UUID, by rescuer: UUID, for reason: PipelineEvent.Reason, at: Date
    ) -> StoredPipeline {
        var recovered = self
        recovered.status = .queued
        recovered.revision += 1
        recovered.epoch += 1
        recovered.owner = nil
        recovered.dueAt = self.place(at: at)
        recovered.recoveries += 1
        if recovered.request == .resume { recovered.request = nil }
        recovered.events += self.commits
        recovered.commits = []
        if !recovered.events.contains(where: { $0.task != nil }) { recovered.startedAt = nil }
        recovered.events.append(
            PipelineEvent(
                .pipelineRecovered, worker: rescuer, at: at, reason: reason,
                detail: PipelineEvent.recovery(of: runner)))
        return recovered
    }

    /// The pipeline as a change leaves it.
    package func applying(_ change: PipelineChange) -> StoredPipeline {
        var changed = self
        changed.status = change.transition.status
        changed.revision += 1
        changed.dueAt = change.transition.dueAt
        if change.transition.status != .running { changed.owner = nil }
        changed.request = change.transition.keeps(self.request)
        if change.transition.status.isTerminal { changed.endedAt = change.at }
        if change.transition.foldsEverything {
            changed.events += self.commits
            changed.commits = []
        } else if !change.transition.folds.isEmpty {
            changed.commits.removeAll { commit in change.transition.folds.contains { $0 == commit.task } }
        }
        // Whoever found no task's line may have looked before one committed itself.
        if change.transition.isUnbegun, !(change.transition.foldsEverything && !self.commits.isEmpty) {
            changed.startedAt = nil
        }
        if let version = change.transition.version { changed.version = version }
        changed.output = change.transition.output
        changed.outcomes = change.transition.outcomes
        changed.events += change.transition.events
        return changed
    }

    package var summary: PipelineSummary {
        PipelineSummary(
            id: self.id, workflow: self.workflow, version: self.version, status: self.status,
            createdAt: self.createdAt, startedAt: self.startedAt, endedAt: self.endedAt, recoveries: self.recoveries)
    }

    /// The latest first. No revision is kept with an event here, so they are counted.
    fileprivate var recordedEvents: [RecordedEvent] {
        self.events.indices.reversed().map { index in
            RecordedEvent(self.events[index], at: EventCursor(pipeline: self.id, revision: 0, position: index))
        }
    }
}

extension RecordedEvent {
    /// Whether a query asks for it, of whichever pipeline.
    fileprivate func isWanted(by query: EventQuery) -> Bool {
        (query.kinds.isEmpty || query.kinds.contains(self.event.kind))
            && (query.task == nil || query.task == self.event.task)
            && query.after.map { self.cursor < $0 } ?? true
    }
}

extension EventCursor {
    fileprivate static func < (left: EventCursor, right: EventCursor) -> Bool {
        left.pipeline == right.pipeline
            ? (left.revision, left.position) < (right.revision, right.position) : left.pipeline < right.pipeline
    }
}

extension StrandedPlace {
    /// The order of the queue's index.
    fileprivate static func < (left: Self, right: Self) -> Bool {
        guard left.format == right.format else { return left.format < right.format }
        guard left.lane.utf8.elementsEqual(right.lane.utf8) else {
            return left.lane.utf8.lexicographicallyPrecedes(right.lane.utf8)
        }
        guard (left.priority, left.dueAt) == (right.priority, right.dueAt) else {
            return (left.priority, left.dueAt) < (right.priority, right.dueAt)
        }
        return left.id < right.id
    }
}

extension UUID {
    /// The order in which databases sort ids: byte by byte.
    fileprivate static func < (left: UUID, right: UUID) -> Bool { left.uuidString < right.uuidString }
    fileprivate static func > (left: UUID, right: UUID) -> Bool { right.uuidString < left.uuidString }
}
