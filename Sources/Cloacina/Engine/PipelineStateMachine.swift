package import FoundationEssentials

/// Decides what becomes of a pipeline: events go in, a ``PipelineTransition`` comes out.
///
/// It knows no clock, no database and no concurrency. A runner that has claimed a pipeline is the only one to change it, so
/// what the machine assumes is what is stored, until a compare-and-set says that the claim is lost. Everything can be
/// computed again from the stored history; see ``init(workflow:input:worker:resuming:maximumRecoveries:at:)``.
///
/// The rules: a task without a rule runs when everything it depends on has completed, and is skipped as soon as one of them
/// has not. A task with a rule is decided when its whole ancestry has ended: a task that is skipped early may have ended
/// before what it waited for. So whoever is given a context is given the changes of everything above it, and those never change.
package struct PipelineStateMachine: Sendable {
    /// What happens to a pipeline.
    package enum Event: Sendable {
        /// An attempt ended. The random number decides the jitter of a retry.
        case ended(position: Int, attempt: Int, outcome: TaskOutcome, startedAt: Date, at: Date, random: UInt64)
        /// The time until a retry has passed.
        case retryDue(position: Int, attempt: Int)
        /// Nobody wants it any more: what has not begun will not.
        case cancel(at: Date)
        /// Nothing new begins; when nothing runs, it stands still.
        case pause
        /// It is not to stand still after all.
        case resume
        /// Nothing new begins; when nothing runs, it goes back to the queue.
        case release
        /// What runs did not stop in time and is not waited for.
        case giveUp(at: Date)
        /// The pipeline's time ran out.
        case timedOut(at: Date)
    }

    /// What stops a pipeline from beginning tasks.
    enum Stop: Sendable {
        case none, cancelled, timedOut, pausing, releasing

        /// Whether what has not begun never will.
        var isFinal: Bool { self == .cancelled || self == .timedOut }
    }

    package let workflow: Workflow
    /// The runner that writes the history.
    package let worker: UUID

    package internal(set) var status = PipelineStatus.running
    package private(set) var revision: Int
    package internal(set) var tasks: [TaskRecord]
    /// Every attempt that ended, by task.
    package private(set) var attempts: [[TaskAttempt]]

    var ledger: ContextLedger
    /// The number of each task's dependencies that have not ended.
    var undecided: [Int]
    /// The number of each task's dependencies that have not ended together with all that they wait for.
    var unsettled: [Int]
    /// True for each task with a failed one above it.
    var failedAbove: [Bool]
    /// The tasks that may be due for a decision, each with the dependency that ended, if that is why.
    var decisions = DecisionQueue()
    var open: Int
    var runningCount = 0
    var ready = ReadyQueue()
    var stop = Stop.none
    var draft: PipelineTransition
    /// Whether what is decided is stored already.
    var isReplaying = false
    /// The tasks of which one may have killed a process. Until they have ended, tasks run one at a time.
    var suspects: Set<Int> = []
    /// The tasks that a replay decided to skip without a line that says so.
    var unrecorded: Set<Int> = []
    /// True once a task has failed after the pipeline was cancelled: most likely of that.
    var hasFailedWhileCancelling = false
    /// True once a task has a line in the history.
    var isTouched = false
    /// The first line that the workflow doesn't explain, counted from 0, and why.
    package internal(set) var misfit: (line: Int, reason: String)?
    var replayedLines = 0
    /// The context that the pipeline hands back, once it has ended.
    package internal(set) var output: Context?

    var graph: TaskGraph { self.workflow.graph }

    /// Begins a pipeline; the tasks without dependencies are ready.
    package init(workflow: Workflow, input: Context, worker: UUID) {
        self.init(workflow: workflow, input: input, worker: worker, revision: 0)
        self.decide(at: .distantPast)
    }

    private init(workflow: Workflow, input: Context, worker: UUID, revision: Int) {
        let graph = workflow.graph
        self.workflow = workflow
        self.worker = worker
        self.revision = revision
        self.tasks = Array(repeating: TaskRecord(), count: graph.count)
        self.attempts = Array(repeating: [], count: graph.count)
        self.ledger = ContextLedger(graph: graph, input: input)
        self.undecided = graph.dependencies.map(\.count)
        self.unsettled = self.undecided
        self.failedAbove = Array(repeating: false, count: graph.count)
        self.open = graph.count
        self.draft = PipelineTransition(expectedRevision: revision)
        for root in graph.roots { self.decisions.append(root, after: nil) }
    }

    /// Takes up a pipeline from its history.
    ///
    /// A task during which process after process died, with nothing else of the pipeline running, is begun again after
    /// `maximumRecoveries` such deaths, and fails with the next.
    package init(
        workflow: Workflow, input: Context, worker: UUID, resuming stored: StoredPipeline, maximumRecoveries: Int,
        at now: Date
    ) {
        self.init(workflow: workflow, input: input, worker: worker, revision: stored.revision)
        // What stands apart from the history becomes a part of it before anything follows from it.
        self.draft.events = stored.commits
        self.draft.folds = stored.commits.compactMap(\.task)
        self.replay(stored.history, at: now)
        self.status = stored.status
        guard self.status == .running else { return }
        for position in self.suspects.sorted() where self.tasks[position].interruptions > maximumRecoveries {
            let count = self.tasks[position].interruptions
            self.fail(
                position, "abandoned: \(count) processes died while they ran it", reason: .abandoned, startedAt: nil,
                at: now)
        }
        self.decide(at: now)
        self.runningCount = 0
        switch self.stop {
        case .cancelled: self.skipUnbegun(.cancelled, at: now)
        case .timedOut: self.skipUnbegun(.timedOut, at: now)
        default: self.ready = ReadyQueue(self.tasks.indices.filter { self.tasks[$0].state == .ready })
        }
    }

    /// How many tasks could begin now if there were slots for all.
    package var startableCount: Int {
        guard self.status == .running, self.stop == .none else { return 0 }
        guard self.suspects.isEmpty else { return self.runningCount == 0 ? min(1, self.ready.count) : 0 }
        return self.ready.count
    }

    /// The number of attempts that run, and whether the next transition would say nothing: for tests that look on.
    package var runningCountForTests: Int { self.runningCount }
    package var hasNothingToWriteForTests: Bool { self.draft.isEmpty }

    /// Whether a process has died already while one of the tasks ran alone, or the next death is held against it at once.
    package func hasGraveSuspects(maximumRecoveries: Int) -> Bool {
        self.suspects.contains { self.tasks[$0].interruptions > 0 || maximumRecoveries < 1 }
    }

    /// What is asked of whoever has the pipeline next: what this runner was asked and did not get to.
    package var unheard: PipelineRequest? {
        switch self.stop {
        case .cancelled: .cancel
        case .pausing: .pause
        case .none, .timedOut, .releasing: nil
        }
    }

    /// Whether nothing runs, nothing can begin, and the time until a retry is all that it waits for.
    package var isOnlyRetrying: Bool {
        self.status == .running && self.stop == .none && self.runningCount == 0 && self.ready.count == 0
    }

    /// The tasks whose next attempt waits for its time, and when that is.
    package var retries: [(position: Int, attempt: Int, due: Date)] {
        self.tasks.enumerated().compactMap { position, record in
            guard case .retrying(let due) = record.state else { return nil }
            return (position, record.attempt, due)
        }
    }

    /// The context that a task starts from.
    package mutating func given(to position: Int) throws(WorkflowError) -> Context {
        try self.ledger.given(to: position)
    }

    /// The context as it is after a task.
    package mutating func contextAfter(_ position: Int) -> Context { self.ledger.output(of: position) }

    /// Everything the pipeline hands back.
    package mutating func finalContext() throws(WorkflowError) -> Context {
        if let output = self.output { return output }
        return try self.ledger.final()
    }

    /// Notes the context that a running attempt left, which spares merging it again. Before the event that says so.
    package mutating func remember(_ output: Context, of position: Int, attempt: Int) {
        guard self.isRunning(position, attempt) else { return }
        self.ledger.remember(output, of: position)
    }

    /// Why those of a task's ancestors failed that did.
    package func failures(above position: Int) -> [Int] {
        guard self.failedAbove[position] else { return [] }
        return self.graph.ancestry(of: self.graph.dependencies[position]).filter { self.tasks[$0].state == .failed }
    }

    /// Adds an event to the next transition.
    ///
    /// - Returns: False when it has no effect: an attempt that is not running any more, or a pipeline that has ended.
    @discardableResult
    package mutating func receive(_ event: Event) -> Bool {
        guard self.status == .running else { return false }
        switch event {
        case .ended(let position, let attempt, let outcome, let startedAt, let at, let random):
            guard self.isRunning(position, attempt) else { return false }
            self.runningCount -= 1
            self.end(position, outcome, startedAt: startedAt, at: at, random: random)
            self.decide(at: at)
        case .retryDue(let position, let attempt):
            guard self.tasks.indices.contains(position), case .retrying = self.tasks[position].state,
                self.tasks[position].attempt == attempt
            else { return false }
            self.makeReady(position)
        case .cancel(let at): self.cancel(at: at)
        case .pause: if self.stop == .none || self.stop == .releasing { self.stop = .pausing }
        case .resume: if self.stop == .pausing { self.stop = .none }
        // One that is to stand still does so; going back to the queue would begin it again.
        case .release: if self.stop == .none { self.stop = .releasing }
        case .giveUp(let at): self.giveUp(at: at)
        case .timedOut(let at): self.timeOut(at: at)
        }
        return true
    }

    /// Begins tasks that are ready, the oldest first, as far as there are slots.
    package mutating func begin(upTo slots: Int, at: Date) -> [TaskStart] {
        var starts: [TaskStart] = []
        while starts.count < slots, self.startableCount > 0, let position = self.ready.popFirst() {
            self.tasks[position].attempt += 1
            self.tasks[position].state = .running
            self.runningCount += 1
            let attempt = self.tasks[position].attempt
            starts.append(TaskStart(position: position, attempt: attempt))
            if !self.suspects.isEmpty { self.write(.taskStarted, position, attempt: attempt, at: at) }
        }
        return starts
    }

    /// Takes back the beginning of an attempt whose code has not run: it waits again, or is skipped when nothing begins any more.
    package mutating func withdraw(_ start: TaskStart, at: Date) {
        guard self.status == .running, self.isRunning(start.position, start.attempt) else { return }
        self.runningCount -= 1
        // Of one among suspects the history says that it began.
        if self.suspects.isEmpty { self.tasks[start.position].attempt -= 1 }
        self.makeReady(start.position)
        switch self.stop {
        case .cancelled: self.skipUnbegun(.cancelled, at: at)
        case .timedOut: self.skipUnbegun(.timedOut, at: at)
        case .none, .pausing, .releasing: break
        }
    }

    /// Closes the transition; nil when there is nothing to write.
    package mutating func commit(at: Date) -> PipelineTransition? {
        if self.status == .running { self.settle(at: at) }
        guard !self.draft.events.isEmpty, self.status != .running || !self.draft.isEmpty else { return nil }
        self.draft.status = self.status
        self.draft.isUntouched = !self.isTouched
        let transition = self.draft
        self.revision += 1
        self.draft = PipelineTransition(expectedRevision: self.revision)
        return transition
    }
}

// MARK: Attempts

extension PipelineStateMachine {
    private func isRunning(_ position: Int, _ attempt: Int) -> Bool {
        self.tasks.indices.contains(position) && self.tasks[position].state == .running
            && self.tasks[position].attempt == attempt
    }

    mutating func end(_ position: Int, _ outcome: TaskOutcome, startedAt: Date, at: Date, random: UInt64) {
        switch outcome {
        case .completed(let delta): self.complete(position, delta, startedAt: startedAt, at: at)
        case .committed(let delta):
            // That is stored already, and stands apart until the next transition folds it in here, where it happened.
            self.draft.folds.append(self.workflow.tasks[position].id)
            self.complete(position, delta, startedAt: startedAt, at: at)
        case .failed(let failure):
            if let delay = self.delay(of: position, after: failure, random: random) {
                self.retry(position, failure.text, due: at.addingTimeInterval(delay.seconds), startedAt, at)
            } else {
                self.fail(position, failure.text, startedAt: startedAt, at: at)
            }
        case .interrupted where self.stop.isFinal:
            self.fail(position, "it was interrupted", startedAt: startedAt, at: at)
        case .interrupted:
            let attempt = self.tasks[position].attempt
            self.write(.taskInterrupted, position, attempt: attempt, startedAt: startedAt, at: at)
            self.makeReady(position)
        }
    }

    /// How long to wait for the next attempt; nil when there is none.
    private func delay(of position: Int, after failure: TaskFailure, random: UInt64) -> Duration? {
        guard !self.stop.isFinal else { return nil }
        let policy = self.workflow.tasks[position].retry
        // Attempts that a crash or a shutdown ended are no failures of the task.
        let failures = self.tasks[position].failures + 1
        guard policy.shouldRetry(failure, attempt: failures) else { return nil }
        var generator = SplitMix64(seed: random)
        return policy.delay(beforeAttempt: failures + 1, after: failure, using: &generator)
    }

    mutating func complete(_ position: Int, _ delta: ContextDelta, startedAt: Date?, at: Date) {
        self.write(
            .taskCompleted, position, attempt: self.tasks[position].attempt, startedAt: startedAt, at: at,
            delta: delta)
        self.tasks[position].state = .completed
        self.ledger.record(delta, of: position)
        self.didEnd(position)
    }

    mutating func retry(_ position: Int, _ error: String, due: Date, _ startedAt: Date?, _ at: Date) {
        let attempt = self.tasks[position].attempt
        self.write(.taskRetrying, position, attempt: attempt, startedAt: startedAt, at: at, detail: error, dueAt: due)
        self.tasks[position].failures += 1
        self.tasks[position].state = .retrying(due: due)
        self.ledger.forgetGiven(to: position)
    }

    mutating func fail(
        _ position: Int, _ error: String, reason: PipelineEvent.Reason? = nil, startedAt: Date?, at: Date
    ) {
        let attempt = self.tasks[position].attempt
        let error = PipelineEvent.storable(error)
        self.write(
            .taskFailed, position, attempt: attempt, startedAt: startedAt, at: at, reason: reason, detail: error)
        self.tasks[position].failures += 1
        self.tasks[position].state = .failed
        if self.stop == .cancelled { self.hasFailedWhileCancelling = true }
        self.didEnd(position)
    }

    /// Notes that a task will not run.
    mutating func close(_ position: Int, _ reason: SkipReason, at: Date) {
        self.tasks[position].state = .skipped(reason)
        if self.isReplaying { self.unrecorded.insert(position) }
        self.write(
            .taskSkipped, position, attempt: self.tasks[position].attempt, at: at, reason: reason.code,
            detail: reason.text)
        self.didEnd(position)
    }

    mutating func makeReady(_ position: Int) {
        self.tasks[position].state = .ready
        self.ready.append(position)
    }
}

// MARK: What follows

extension PipelineStateMachine {
    /// Counts a task that has ended, and notes what may be decided now.
    mutating func didEnd(_ position: Int) {
        self.open -= 1
        self.suspects.remove(position)
        self.ledger.forgetGiven(to: position)
        self.ledger.release(position)
        for dependent in self.graph.dependents[position] {
            self.undecided[dependent] -= 1
            if self.workflow.tasks[dependent].triggerRule == nil { self.decisions.append(dependent, after: position) }
        }
        self.settle(from: position)
    }

    /// Counts the tasks that have ended together with all that they wait for: this one, and those that ended before it. A loop,
    /// not recursion: a chain of skipped tasks can be as long as the workflow.
    private mutating func settle(from position: Int) {
        guard self.unsettled[position] == 0 else { return }
        var settled = [position]
        while let next = settled.popLast() {
            let hasFailed = self.failedAbove[next] || self.tasks[next].state == .failed
            for dependent in self.graph.dependents[next] {
                self.unsettled[dependent] -= 1
                if hasFailed { self.failedAbove[dependent] = true }
                guard self.unsettled[dependent] == 0 else { continue }
                if self.tasks[dependent].state.status.isTerminal {
                    settled.append(dependent)
                } else if self.workflow.tasks[dependent].triggerRule != nil {
                    self.decisions.append(dependent, after: nil)
                }
            }
        }
    }

    /// Decides about the tasks for which that may be due, and what follows from it.
    mutating func decide(at: Date) {
        while let (position, dependency) = self.decisions.popFirst() {
            guard self.tasks[position].state == .waiting else { continue }
            if let rule = self.workflow.tasks[position].triggerRule {
                guard self.unsettled[position] == 0 else { continue }
                if self.holds(rule, for: position) {
                    self.makeReady(position)
                } else {
                    self.close(position, .rule(rule), at: at)
                }
            } else if let reason = dependency.flatMap({ self.reasonToSkip(after: $0) }) {
                self.close(position, reason, at: at)
            } else if self.undecided[position] == 0 {
                self.makeReady(position)
            }
        }
    }

    /// Why a task without a rule will not run after a dependency has ended; nil when that completed.
    private func reasonToSkip(after dependency: Int) -> SkipReason? {
        switch self.tasks[dependency].state {
        case .failed: return .dependencyFailed(self.workflow.tasks[dependency].id)
        case .skipped(let reason):
            if case .some = self.workflow.tasks[dependency].triggerRule {
                return .dependencySkipped(self.workflow.tasks[dependency].id)
            }
            return reason
        default: return nil
        }
    }

    mutating func holds(_ rule: TriggerRule, for position: Int) -> Bool {
        let context = self.ledger.preview(of: position)
        return rule.isSatisfied(
            outcome: { id in
                guard let position = self.workflow.position(of: id) else { return nil }
                return switch self.tasks[position].state {
                case .completed: .succeeded
                case .failed: .failed
                case .skipped: .skipped
                case .waiting, .ready, .running, .retrying: nil
                }
            }, context: context, ancestorFailed: self.failedAbove[position])
    }
}

/// Tasks about which something may be decided, in the order in which that came up.
struct DecisionQueue: Sendable {
    private var entries: [(position: Int, dependency: Int?)] = []
    private var head = 0

    mutating func append(_ position: Int, after dependency: Int?) { self.entries.append((position, dependency)) }

    mutating func popFirst() -> (position: Int, dependency: Int?)? {
        guard self.head < self.entries.count else {
            self.entries.removeAll(keepingCapacity: true)
            self.head = 0
            return nil
        }
        defer { self.head += 1 }
        return self.entries[self.head]
    }
}

// MARK: History

extension PipelineStateMachine {
    func event(_ kind: PipelineEvent.Kind, at: Date) -> PipelineEvent {
        PipelineEvent(kind, worker: self.worker, at: at)
    }

    mutating func write(
        _ kind: PipelineEvent.Kind, _ position: Int, attempt: Int, startedAt: Date? = nil, at: Date,
        reason: PipelineEvent.Reason? = nil, detail: String? = nil, delta: ContextDelta? = nil, dueAt: Date? = nil
    ) {
        guard !self.isReplaying else { return }
        let event = PipelineEvent(
            kind, task: self.workflow.tasks[position].id, attempt: attempt, worker: self.worker, startedAt: startedAt,
            at: at, reason: reason, detail: detail, delta: delta, dueAt: dueAt)
        self.draft.events.append(event)
        self.isTouched = true
        self.keep(event, position)
    }

    mutating func keep(_ event: PipelineEvent, _ position: Int) {
        if let attempt = TaskAttempt(event) { self.attempts[position].keep(attempt) }
    }
}

extension TaskAttempt {
    /// Reads a line of a history about an attempt that ended; nil for any other line.
    init?(_ event: PipelineEvent) {
        switch event.kind.known {
        case .taskCompleted, .taskFailed, .taskRetrying, .taskInterrupted:
            self.init(
                number: event.attempt, startedAt: event.startedAt, endedAt: event.at, error: event.detail,
                worker: event.worker, succeeded: event.kind == .taskCompleted)
        default: return nil
        }
    }

    /// The number of a task's attempts that are kept at each end of the list.
    static let keptAtEachEnd = 10
}

extension [TaskAttempt] {
    /// Adds an attempt; of very many, the first and the last ones stay. What is kept of a task that is tried for days is bounded.
    mutating func keep(_ attempt: TaskAttempt) {
        self.append(attempt)
        if self.count > TaskAttempt.keptAtEachEnd * 2 { self.remove(at: TaskAttempt.keptAtEachEnd) }
    }
}

/// Positions in the order in which they came.
struct ReadyQueue: Sendable {
    private var positions: [Int]
    private var head = 0

    init(_ positions: [Int] = []) { self.positions = positions }

    var count: Int { self.positions.count - self.head }

    mutating func append(_ position: Int) { self.positions.append(position) }

    mutating func popFirst() -> Int? {
        guard self.head < self.positions.count else { return nil }
        defer { self.head += 1 }
        return self.positions[self.head]
    }
}

extension Duration {
    var seconds: Double {
        Double(self.components.seconds) + Double(self.components.attoseconds) / 1_000_000_000_000_000_000
    }
}
