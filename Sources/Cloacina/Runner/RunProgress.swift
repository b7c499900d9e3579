import FoundationEssentials

/// What a ``PipelineRun`` knows while it runs: the machine, what tasks handed on, and what is not written yet.
struct RunProgress {
    /// When a task ran, and why it did not succeed.
    struct Report {
        var startedAt: Date?
        var endedAt: Date?
        var duration: Duration?
        var error: String?
    }

    private(set) var machine: PipelineStateMachine
    private var ledger: ContextLedger
    private var reports: [Int: Report] = [:]
    private let workflow: Workflow

    /// Events that no transition has yet.
    private var pending: [PipelineStateMachine.Event] = []
    /// Events of a transition whose writing is not confirmed.
    private var unconfirmed: [PipelineStateMachine.Event] = []
    /// The contexts that tasks left, until the machine has accepted that they ended.
    private var outputs: [Int: Context] = [:]

    /// The tasks whose code runs, and the epoch they run under.
    private var inFlight: [Int: Int] = [:]
    private var isWaitingForSlot = false
    /// Slots that came and are not used yet.
    private var freeSlots = 0
    /// Slots for tasks that are claimed and not started.
    private var reservedSlots = 0

    init(workflow: Workflow, input: Context, owner: UUID) {
        self.workflow = workflow
        self.machine = PipelineStateMachine(ids: workflow.tasks.map(\.id), graph: workflow.graph, owner: owner)
        self.ledger = ContextLedger(graph: workflow.graph, input: input)
    }

    /// Whether there is something to decide before anything else happens.
    var hasPending: Bool { !self.pending.isEmpty }

    /// Whether mail can still come.
    var expectsMail: Bool { !self.inFlight.isEmpty || self.isWaitingForSlot }

    /// Whether code runs whose result nobody waits for any more.
    var hasInFlight: Bool { !self.inFlight.isEmpty }

    /// The slots of a run that has ended and whose tasks have returned.
    var heldSlots: Int { self.freeSlots + self.reservedSlots + self.inFlight.count }
}

// MARK: Events

extension RunProgress {
    /// Takes note of what came in. The slot of a task that ended goes to whoever has waited longest.
    mutating func receive(_ mail: [Mailbox.Mail], slots: TaskSlots) {
        for mail in mail {
            switch mail {
            case .finished(let attempt):
                self.finish(attempt)
                slots.give(1)
            case .slot:
                self.isWaitingForSlot = false
                self.freeSlots += 1
            case .cancel:
                self.pending.append(.cancel)
            }
        }
    }

    private mutating func finish(_ attempt: Attempt) {
        let position = attempt.claim.position
        self.inFlight[position] = nil
        self.outputs[position] = attempt.output
        var report = Report(startedAt: attempt.startedAt, endedAt: attempt.endedAt, duration: attempt.duration)
        if case .failed(let error) = attempt.outcome { report.error = error }
        self.reports[position] = report
        self.pending.append(
            .ended(
                position: position, epoch: attempt.claim.epoch, outcome: attempt.outcome, at: attempt.endedAt))
    }

    /// Gives the machine the events that belong into one transition, and closes it.
    mutating func commit(slots: TaskSlots, mailbox: Mailbox) -> PipelineTransition? {
        self.deliver()
        self.freeSlots += slots.take(upTo: max(0, self.machine.readyCount - self.freeSlots))
        let transition = self.machine.commit(slots: self.freeSlots)
        let claimed = transition?.claimed.count ?? 0
        self.reservedSlots += claimed
        slots.give(self.freeSlots - claimed)
        self.freeSlots = 0
        if self.machine.readyCount > 0, !self.isWaitingForSlot {
            self.isWaitingForSlot = true
            slots.wait(mailbox)
        }
        return transition
    }

    private mutating func deliver() {
        while let event = self.pending.first {
            let reception = self.machine.receive(event)
            guard reception != .notYet else { return }
            self.pending.removeFirst()
            guard reception == .accepted else { continue }
            self.unconfirmed.append(event)
            if case .ended(let position, _, .completed(let delta), _) = event {
                self.ledger.record(delta, of: position, output: self.outputs.removeValue(forKey: position))
            }
        }
    }

    /// Notes that the last transition is stored.
    mutating func confirm() {
        self.unconfirmed = []
    }

    /// Notes that a claimed task's code runs, and says what it is given.
    mutating func start(_ claim: PipelineTransition.Claim) -> Result<Context, WorkflowError> {
        self.reservedSlots -= 1
        self.inFlight[claim.position] = claim.epoch
        return Result { () throws(WorkflowError) in try self.ledger.given(to: claim.position) }
    }
}

// MARK: Taking up what is stored

extension RunProgress {
    /// Replaces the machine by one made of what is stored, and delivers again what may not have been.
    ///
    /// - Returns: The tasks that this runner has claimed and not started.
    mutating func restore(_ stored: StoredPipeline, slots: TaskSlots) -> [PipelineTransition.Claim] {
        let ids = self.machine.ids
        let tasks = ids.map { stored.tasks[$0]?.record ?? TaskRecord() }
        self.machine = PipelineStateMachine(
            ids: ids, graph: self.workflow.graph, owner: self.machine.owner, status: stored.status,
            revision: stored.revision, tasks: tasks)
        for (position, id) in ids.enumerated() {
            if let task = stored.tasks[id], task.record.state.status.isTerminal { self.adopt(task, at: position) }
        }
        self.pending = self.unconfirmed + self.pending
        self.unconfirmed = []
        let finished = Set(
            self.pending.compactMap { event in
                if case .ended(let position, _, _, _) = event { position } else { nil }
            })
        let claims = tasks.indices.filter { position in
            guard case .running(self.machine.owner, let epoch) = tasks[position].state else { return false }
            return self.inFlight[position] != epoch && !finished.contains(position)
        }.map { position in
            PipelineTransition.Claim(
                position: position, task: ids[position], epoch: tasks[position].epoch,
                attempt: tasks[position].attempt)
        }
        slots.settle(self.reservedSlots - claims.count)
        self.reservedSlots = claims.count
        return claims
    }

    private mutating func adopt(_ task: StoredPipeline.Task, at position: Int) {
        if let delta = task.delta, !self.ledger.has(delta, of: position) {
            self.ledger.record(delta, of: position, output: nil)
            self.reports[position] = nil
        }
        guard self.reports[position] == nil else { return }
        var report = Report(startedAt: task.startedAt, endedAt: task.endedAt, error: task.reason)
        if let startedAt = task.startedAt, let endedAt = task.endedAt {
            report.duration = .seconds(endedAt.timeIntervalSince(startedAt))
        }
        self.reports[position] = report
    }
}

// MARK: The end

extension RunProgress {
    /// What came of the pipeline.
    func result(id: UUID, startedAt: Date, duration: Duration) throws(PipelineError) -> PipelineResult {
        let tasks = self.machine.ids.indices.map { self.result(of: $0) }
        do {
            return PipelineResult(
                id: id, workflow: self.workflow.name, status: self.machine.status,
                finalContext: try self.ledger.final(), tasks: tasks, startedAt: startedAt, duration: duration)
        } catch {
            throw PipelineError(.storageFailed, "the final context can't be merged", underlying: error)
        }
    }

    private func result(of position: Int) -> TaskResult {
        let record = self.machine.tasks[position]
        let report = record.attempt > 0 ? self.reports[position] : nil
        var error = report?.error
        if case .skipped(let reason) = record.state { error = reason.text }
        return TaskResult(
            id: self.machine.ids[position], status: record.state.status, attempt: record.attempt,
            startedAt: report?.startedAt, completedAt: report?.endedAt, duration: report?.duration, error: error)
    }
}
