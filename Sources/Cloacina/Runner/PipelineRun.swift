import CloacinaPostgres
import CloacinaWorkflow
import FoundationEssentials
import Logging

/// What a runner lends to the pipelines it drives.
struct RunMeans: Sendable {
    let writer: WriteBatcher
    let store: any WorkflowStore
    let slots: TaskSlots
    let clock: any EngineClock
    let configuration: RunnerConfiguration
    let logger: Logger
    let makeResource: @Sendable (TaskPlace, HeldSlot) -> TaskMeans
}

/// How a runner's part in a pipeline ended.
enum RunEnd: Sendable {
    /// The pipeline has ended.
    case ended(PipelineResult)
    /// It is paused, or back in the queue.
    case left(PipelineStatus)
    case broken(PipelineError)
}

/// Drives one pipeline that its runner has claimed: asks the machine, writes what it decides, starts what it begins, until the
/// pipeline has ended or is given back.
struct PipelineRun {
    /// Code that runs, and who would stop it.
    private struct Running {
        let attempt: Int
        let startedAt: Date
        let slot: HeldSlot
        let task: Task<Void, Never>
        let timer: Task<Void, Never>?
    }

    private let pipeline: StoredPipeline
    private let means: RunMeans
    private let mailbox: Mailbox
    private let observe: (@Sendable (PipelineEvent) -> Void)?
    private var machine: PipelineStateMachine
    private var running: [Int: Running] = [:]
    /// What each task failed with last.
    private var failures: [Int: TaskFailure] = [:]
    private var timers: [Task<Void, Never>] = []
    private var callbacks: [Task<Void, Never>] = []
    private var isWaitingForSlot = false
    private var isInterrupting = false
    private var heldSlots = 0

    init(
        _ pipeline: StoredPipeline, workflow: Workflow, worker: UUID, means: RunMeans, mailbox: Mailbox,
        observe: (@Sendable (PipelineEvent) -> Void)? = nil
    ) {
        self.pipeline = pipeline
        self.means = means
        self.mailbox = mailbox
        self.observe = observe
        let limit = min(pipeline.input.byteLimit, means.configuration.maximumContextBytes)
        let input = Context(pipeline.input, byteLimit: limit)
        self.machine = PipelineStateMachine(
            workflow: workflow, input: input, worker: worker, resuming: pipeline,
            maximumRecoveries: means.configuration.maximumRecoveries, at: means.clock.now())
    }

    /// Runs the pipeline. Its task must not be cancelled; ``Mailbox/Mail/cancel`` is the way to stop it.
    mutating func run() async -> RunEnd {
        if let request = self.pipeline.request { self.mailbox.post(request == .cancel ? .cancel : .pause) }
        self.armTimers()
        let end: RunEnd
        do throws(PipelineError) {
            while self.machine.status == .running {
                try await self.advance()
                if self.machine.status == .running { try await self.read() }
            }
            end = self.machine.status.isTerminal ? .ended(try self.result()) : .left(self.machine.status)
        } catch {
            self.means.logger.debug(
                "pipeline given up", metadata: [LogKeys.pipeline: "\(self.pipeline.id)", LogKeys.error: "\(error)"])
            end = .broken(error)
        }
        await self.leave()
        return end
    }

    /// Begins what can begin, writes what was decided, and only then runs it.
    private mutating func advance() async throws(PipelineError) {
        let wanted = self.machine.startableCount - self.heldSlots
        if wanted > 0 { self.heldSlots += self.means.slots.take(upTo: wanted) }
        let now = self.means.clock.now()
        let starts = self.machine.begin(upTo: self.heldSlots, at: now)
        self.means.slots.give(self.heldSlots - starts.count)
        self.heldSlots = starts.count
        if self.machine.startableCount > 0, !self.isWaitingForSlot {
            self.isWaitingForSlot = true
            self.means.slots.wait(self.mailbox)
        }
        if let transition = self.machine.commit(at: now) { try await self.write(transition, at: now) }
        for start in starts { self.start(start) }
    }

    private mutating func read() async throws(PipelineError) {
        for mail in await self.mailbox.take() { self.receive(mail) }
    }

    private mutating func receive(_ mail: Mailbox.Mail) {
        let now = self.means.clock.now()
        switch mail {
        case .finished(let attempt): self.finish(attempt)
        case .slot:
            self.isWaitingForSlot = false
            self.heldSlots += 1
        case .cancel:
            self.machine.receive(.cancel(at: now))
            self.stopRunning()
        case .pause: self.machine.receive(.pause)
        case .release: self.machine.receive(.release)
        case .interrupt:
            self.machine.receive(.release)
            self.isInterrupting = true
            self.stopRunning()
        case .graceOver:
            self.machine.receive(.giveUp(at: now))
            self.abandonRunning()
        case .retryDue(let position, let attempt):
            self.machine.receive(.retryDue(position: position, attempt: attempt))
        case .timedOut(let position, let attempt): self.timeOut(position, attempt, at: now)
        case .pipelineTimedOut:
            self.machine.receive(.timedOut(at: now))
            self.abandonRunning()
        }
    }
}

// MARK: Tasks

extension PipelineRun {
    private mutating func start(_ start: TaskStart) {
        let task = self.machine.workflow.tasks[start.position]
        let given = Result { () throws(WorkflowError) in try self.machine.given(to: start.position) }
        let slot = HeldSlot(self.means.slots)
        self.heldSlots -= 1
        let place = TaskPlace(pipeline: self.pipeline.id, epoch: self.pipeline.epoch, position: start.position)
        let resource = self.means.makeResource(place, slot)
        let scope = TaskScope(
            executionID: self.pipeline.id, workflow: self.pipeline.workflow, task: task.id, attempt: start.attempt,
            resource: resource)
        // Not a child: code that ignores its cancellation must not hold up the pipeline's end.
        let clock = self.means.clock
        let running = Task(executorPreference: clock.executor) { [mailbox = self.mailbox] in
            var attempt = await HeldSlot.$current.withValue(slot) {
                await Attempt.run(task, start: start, given: given, scope: scope, clock: clock)
            }
            if let delta = resource.committed { attempt = attempt.committed(delta) }
            slot.release()
            mailbox.post(.finished(attempt))
        }
        let timer = task.timeout.map { timeout in
            self.timer(timeout, .timedOut(position: start.position, attempt: start.attempt))
        }
        self.running[start.position] = Running(
            attempt: start.attempt, startedAt: self.means.clock.now(), slot: slot, task: running, timer: timer)
    }

    private mutating func finish(_ attempt: Attempt) {
        guard self.running[attempt.position]?.attempt == attempt.number else { return }
        self.running.removeValue(forKey: attempt.position)?.timer?.cancel()
        var outcome = attempt.outcome
        if case .failed(let failure) = outcome { self.failures[attempt.position] = failure }
        if self.isInterrupting, case .failed = outcome { outcome = .interrupted }
        let isAccepted = self.machine.receive(
            .ended(
                position: attempt.position, attempt: attempt.number, outcome: outcome, startedAt: attempt.startedAt,
                at: attempt.endedAt, random: self.means.clock.random()))
        if isAccepted, let output = attempt.output { self.machine.remember(output, of: attempt.position) }
    }

    private mutating func timeOut(_ position: Int, _ attempt: Int, at now: Date) {
        guard let running = self.running[position], running.attempt == attempt else { return }
        running.task.cancel()
        running.slot.release()
        self.running[position] = nil
        let failure = TaskFailure.timedOut(after: self.machine.workflow.tasks[position].timeout ?? .zero)
        self.failures[position] = failure
        self.machine.receive(
            .ended(
                position: position, attempt: attempt, outcome: .failed(failure),
                startedAt: running.startedAt, at: now, random: self.means.clock.random()))
    }

    /// Asks what runs to stop, and sets it a time.
    private mutating func stopRunning() {
        guard !self.running.isEmpty else { return }
        for (_, running) in self.running.sorted(by: { $0.key < $1.key }) { running.task.cancel() }
        self.timers.append(self.timer(self.means.configuration.cancellationGrace, .graceOver))
    }

    /// Waits no longer for what runs; the machine has taken note already.
    private mutating func abandonRunning() {
        for (_, running) in self.running.sorted(by: { $0.key < $1.key }) {
            running.task.cancel()
            running.timer?.cancel()
            running.slot.release()
        }
        self.running = [:]
    }

    private func timer(_ delay: Duration, _ mail: Mailbox.Mail) -> Task<Void, Never> {
        Task(executorPreference: self.means.clock.executor) { [mailbox = self.mailbox, clock = self.means.clock] in
            do { try await clock.sleep(for: delay) } catch { return }
            mailbox.post(mail)
        }
    }

    private mutating func armTimers() {
        let now = self.means.clock.now()
        for retry in self.machine.retries {
            let delay = Duration.seconds(retry.due.timeIntervalSince(now))
            self.timers.append(self.timer(delay, .retryDue(position: retry.position, attempt: retry.attempt)))
        }
        if let timeout = self.pipeline.timeout {
            let elapsed = Duration.seconds(now.timeIntervalSince(self.pipeline.startedAt ?? now))
            self.timers.append(self.timer(max(.zero, timeout - elapsed), .pipelineTimedOut))
        }
    }

    /// Gives back whatever the run holds; nothing of it goes on but code that ignores its cancellation.
    private mutating func leave() async {
        for timer in self.timers { timer.cancel() }
        self.abandonRunning()
        self.means.slots.withdraw(self.mailbox)
        let late = self.mailbox.takeNow().count { if case .slot = $0 { true } else { false } }
        self.means.slots.give(self.heldSlots + late)
        for callback in self.callbacks { await callback.value }
    }
}

// MARK: Writing

extension PipelineRun {
    private mutating func write(_ transition: PipelineTransition, at now: Date) async throws(PipelineError) {
        let change = PipelineChange(
            id: self.pipeline.id, epoch: self.pipeline.epoch, at: now, transition: transition)
        let outcome = try await self.means.patiently { () throws(PipelineError) in
            try await self.means.writer.apply(change)
        }
        var request: PipelineRequest?
        switch outcome {
        case .applied(let asked): request = asked
        case .stale: try await self.checkWritten(transition)
        }
        self.note(transition.events)
        if request == .cancel { self.mailbox.post(.cancel) }
        if request == .pause { self.mailbox.post(.pause) }
    }

    /// A transition that comes too late was written before, when only the answer was lost, or the claim is lost. Nobody else
    /// changes a pipeline under our epoch.
    private func checkWritten(_ transition: PipelineTransition) async throws(PipelineError) {
        let stored = try await self.means.patiently { () throws(PipelineError) in
            try await self.means.store.load(self.pipeline.id)
        }
        guard let stored else {
            throw PipelineError(.pipelineVanished, "the pipeline's rows were deleted while it ran")
        }
        guard stored.epoch == self.pipeline.epoch, stored.revision == transition.expectedRevision + 1,
            stored.status == transition.status
        else {
            throw PipelineError(.takenOver, "another runner has claimed the pipeline")
        }
    }

    /// Tells whoever wants to know what is written.
    private mutating func note(_ events: [PipelineEvent]) {
        for event in events {
            self.observe?(event)
            guard let id = event.task, let position = self.machine.workflow.position(of: id) else { continue }
            switch event.kind {
            case .taskRetrying:
                guard let due = event.dueAt else { continue }
                let delay = Duration.seconds(due.timeIntervalSince(event.at))
                self.timers.append(self.timer(delay, .retryDue(position: position, attempt: event.attempt)))
            case .taskCompleted: self.callBack(position, event)
            case .taskFailed: self.callBack(position, event)
            default: break
            }
        }
    }

    private mutating func callBack(_ position: Int, _ event: PipelineEvent) {
        let task = self.machine.workflow.tasks[position]
        let scope = TaskScope(
            executionID: self.pipeline.id, workflow: self.pipeline.workflow, task: task.id, attempt: event.attempt)
        let executor = self.means.clock.executor
        if event.kind == .taskCompleted, let handler = task.onSuccess {
            let context = self.machine.contextAfter(position)
            self.callbacks.append(Task(executorPreference: executor) { await handler(scope, context) })
        } else if event.kind == .taskFailed, let handler = task.onFailure {
            let failure =
                self.failures[position]
                ?? TaskFailure(text: event.detail ?? "", typeName: "TaskAbandoned", isTransient: false)
            self.callbacks.append(Task(executorPreference: executor) { await handler(scope, failure) })
        }
    }

    private func result() throws(PipelineError) -> PipelineResult {
        try PipelineResult(self.machine, of: self.pipeline, endedAt: self.means.clock.now())
    }
}

extension RunMeans {
    /// Tries again as long as the connection, not the statement, is what fails.
    func patiently<Value>(
        _ operation: () async throws(PipelineError) -> Value
    ) async throws(PipelineError) -> Value {
        let deadline = ContinuousClock.now.advanced(by: self.configuration.databasePatience)
        var delay = Duration.milliseconds(20)
        while true {
            do throws(PipelineError) {
                return try await operation()
            } catch {
                guard error.isTransient, ContinuousClock.now.advanced(by: delay) < deadline else { throw error }
                self.logger.debug("database not reachable", metadata: [LogKeys.error: "\(error)"])
                // When this task is cancelled, trying again at once until patience ends is right: what happened must be
                // written.
                try? await Task.sleep(for: delay)
                delay = min(delay * 2, .seconds(1))
            }
        }
    }
}

extension PipelineError {
    /// Whether the same call may succeed when the database is back.
    var isTransient: Bool {
        guard self.code == .storageFailed else { return false }
        if let error = self.underlying as? SQLiteError { return error.isTransient }
        guard let error = self.underlying as? PostgresError else { return false }
        let codes: Set<PostgresError.Code> = [
            .connectionFailed, .connectionLost, .connectionClosed, .checkoutTimedOut, .tooManyWaiters,
        ]
        guard !codes.contains(error.code), let state = error.sqlState else { return codes.contains(error.code) }
        // Shutdown and start-up of the server, too many connections, no space, deadlock and serialisation.
        return state.hasPrefix("57P") || ["53100", "53200", "53300", "40001", "40P01"].contains(state)
    }
}

extension Attempt {
    /// The same attempt, whose completion is stored already, together with the task's own writes.
    func committed(_ delta: ContextDelta) -> Attempt {
        Attempt(
            position: self.position, number: self.number, outcome: .committed(delta), output: nil,
            startedAt: self.startedAt, endedAt: self.endedAt)
    }
}
