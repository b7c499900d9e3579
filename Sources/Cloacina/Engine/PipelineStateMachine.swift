package import FoundationEssentials

/// Decides what becomes of a pipeline: events go in, a ``PipelineTransition`` comes out.
///
/// It knows no clock, no database and no concurrency. Events collect in a draft until ``commit(slots:)`` turns them into one
/// transition. The machine assumes that the transition is applied; when the store rejects it, somebody else was faster, and
/// a new machine is made of what is stored.
///
/// The rule: a task runs when everything it depends on has completed. When a task fails, whatever depends on it, directly or
/// not, is skipped, and the pipeline fails.
package struct PipelineStateMachine: Sendable {
    /// What happens to a pipeline.
    package enum Event: Sendable, Hashable {
        /// A task ended under the claim of an epoch.
        case ended(position: Int, epoch: Int, outcome: TaskOutcome, at: Date)
        /// The caller wants no more: what has not begun will not.
        case cancel
    }

    /// What the machine makes of an event.
    package enum Reception: Sendable, Hashable {
        /// It is part of the next transition.
        case accepted
        /// The claim is not, or no longer, this runner's; the event must not have any effect.
        case staleLease
        /// It belongs into the transition after the next: one transition skips for one reason.
        case notYet
    }

    /// The tasks' ids, by position.
    package let ids: [String]
    package let graph: TaskGraph
    /// The runner for which tasks are claimed.
    package let owner: UUID

    package private(set) var status = PipelineStatus.running
    package private(set) var revision: Int
    package private(set) var tasks: [TaskRecord]

    private var unmet: [Int]
    private var open: Int
    private var ready: ReadyQueue
    private var isCancelled = false
    private var draft: PipelineTransition
    /// The tasks that the draft made ready.
    private var draftReady: Set<Int> = []

    /// Begins a pipeline; the tasks without dependencies are ready.
    package init(ids: [String], graph: TaskGraph, owner: UUID) {
        self.init(
            ids: ids, graph: graph, owner: owner, status: .running, revision: 0,
            tasks: Array(repeating: TaskRecord(), count: ids.count))
        for root in graph.roots { self.makeReady(root) }
    }

    /// Takes up a pipeline where it is stored.
    package init(
        ids: [String], graph: TaskGraph, owner: UUID, status: PipelineStatus, revision: Int, tasks: [TaskRecord]
    ) {
        self.ids = ids
        self.graph = graph
        self.owner = owner
        self.status = status
        self.revision = revision
        self.tasks = tasks
        self.unmet = graph.dependencies.map { $0.count { tasks[$0].state != .completed } }
        self.open = tasks.count { !$0.state.status.isTerminal }
        self.ready = ReadyQueue(tasks.indices.filter { tasks[$0].state == .ready })
        self.draft = PipelineTransition(expectedRevision: revision)
    }

    /// How many tasks wait for a runner to claim them.
    package var readyCount: Int { self.ready.count }

    /// Adds an event to the next transition.
    package mutating func receive(_ event: Event) -> Reception {
        switch event {
        case .ended(let position, let epoch, let outcome, let at):
            guard self.tasks.indices.contains(position), self.status == .running,
                self.tasks[position].state == .running(owner: self.owner, epoch: epoch)
            else { return .staleLease }
            return self.end(position, epoch: epoch, outcome: outcome, at: at)
        case .cancel:
            return self.cancel()
        }
    }

    /// Claims as many ready tasks as there are slots and closes the transition; nil when there is nothing to change.
    package mutating func commit(slots: Int) -> PipelineTransition? {
        while self.draft.claimed.count < slots, let position = self.ready.popFirst() { self.claim(position) }
        self.draft.queued = self.draftReady.sorted().map { self.ids[$0] }
        if self.open == 0, self.status == .running {
            self.status = self.finalStatus
            self.draft.status = self.status
        }
        guard !self.draft.isEmpty else { return nil }
        let transition = self.draft
        self.revision += 1
        self.draft = PipelineTransition(expectedRevision: self.revision)
        self.draftReady = []
        return transition
    }
}

// MARK: Rules

extension PipelineStateMachine {
    private mutating func end(_ position: Int, epoch: Int, outcome: TaskOutcome, at: Date) -> Reception {
        switch outcome {
        case .completed:
            self.tasks[position].state = .completed
            for dependent in self.graph.dependents[position] {
                self.unmet[dependent] -= 1
                if self.unmet[dependent] == 0, self.tasks[dependent].state == .waiting { self.makeReady(dependent) }
            }
        case .failed:
            let waiting = self.graph.descendants(of: position).filter { self.tasks[$0].state == .waiting }
            guard self.skip(waiting, .dependencyFailed(self.ids[position])) else { return .notYet }
            self.tasks[position].state = .failed
        }
        self.open -= 1
        self.draft.ended.append(
            PipelineTransition.Ended(
                task: self.ids[position], epoch: epoch, attempt: self.tasks[position].attempt, outcome: outcome, at: at)
        )
        return .accepted
    }

    private mutating func cancel() -> Reception {
        guard self.status == .running else { return .accepted }
        let unbegun = self.tasks.indices.filter { [.waiting, .ready].contains(self.tasks[$0].state) }
        guard self.skip(unbegun, .cancelled) else { return .notYet }
        self.ready = ReadyQueue([])
        self.draftReady = []
        self.isCancelled = true
        return .accepted
    }

    private mutating func skip(_ positions: [Int], _ reason: SkipReason) -> Bool {
        guard !positions.isEmpty else { return true }
        guard self.draft.skipped.isEmpty || self.draft.skipReason == reason else { return false }
        for position in positions { self.tasks[position].state = .skipped(reason) }
        self.open -= positions.count
        self.draft.skipped += positions.map { self.ids[$0] }
        self.draft.skipReason = reason
        return true
    }

    private mutating func makeReady(_ position: Int) {
        self.tasks[position].state = .ready
        self.ready.append(position)
        self.draftReady.insert(position)
    }

    private mutating func claim(_ position: Int) {
        self.tasks[position].epoch += 1
        self.tasks[position].attempt += 1
        let record = self.tasks[position]
        self.tasks[position].state = .running(owner: self.owner, epoch: record.epoch)
        self.draftReady.remove(position)
        self.draft.claimed.append(
            PipelineTransition.Claim(
                position: position, task: self.ids[position], epoch: record.epoch, attempt: record.attempt))
    }

    private var finalStatus: PipelineStatus {
        if self.tasks.allSatisfy({ $0.state == .completed }) { return .completed }
        return self.isCancelled ? .cancelled : .failed
    }
}

/// Positions in the order in which they came.
private struct ReadyQueue: Sendable {
    private var positions: [Int]
    private var head = 0

    init(_ positions: [Int]) { self.positions = positions }

    var count: Int { self.positions.count - self.head }

    mutating func append(_ position: Int) { self.positions.append(position) }

    mutating func popFirst() -> Int? {
        guard self.head < self.positions.count else { return nil }
        defer { self.head += 1 }
        return self.positions[self.head]
    }
}
