import CloacinaWorkflow
import FoundationEssentials
import Logging

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
        let resource: TaskMeans
        let task: Task<Void, Never>
        let timer: Task<Void, Never>?
        /// Set once a commit that is under way has been set a time.
        var commitTimer: Task<Void, Never>?
    }

    let pipeline: StoredPipeline
    let means: RunMeans
    let mailbox: Mailbox
    let observe: (@Sendable (PipelineEvent) -> Void)?
    var machine: PipelineStateMachine
    private var running: [Int: Running] = [:]
    /// What each task failed with last.
    var failures: [Int: TaskFailure] = [:]
    private var timers: [Task<Void, Never>] = []
    /// The timers of tasks' next attempts, by position, with the instant since which each waits.
    private var retryTimers: [Int: (task: Task<Void, Never>, since: ContinuousClock.Instant)] = [:]
    var callbacks: [Task<Void, Never>] = []
    /// What to do once a task that is storing its own completion has done so.
    private var deferred: [Mailbox.Mail] = []
    /// Why the run can't go on: only what is stored knows what became of a task.
    private(set) var lost: PipelineError?
    /// Whether somebody else may have claimed the pipeline.
    var mayBeLost = false
    /// True once mail was read while a write was being tried again: the machine may have more to say.
    var hasHeard = false
    /// What was asked of the run while its last write was being tried again.
    var late: PipelineRequest?
    private var isWaitingForQuarantine = false
    private var isInQuarantine = false
    private var isWaitingForSlot = false
    private var isShuttingDown = false
    private(set) var isInterrupting = false
    private var isOnlyRetrying = false
    private var heldSlots = 0
    /// What the last write found asked: older than any mail.
    var answered: PipelineRequest?
    /// What was asked of the run and came too late for it.
    private(set) var unheard: PipelineRequest?
    /// True when the pipeline was paused because the database refuses what is to be stored.
    private(set) var isSetAside = false
    /// When the pipeline is due again, after it was put back into the queue.
    var releasedUntil: Date?
    /// When the pipeline ended, as it is stored.
    var endedAt: Date?
    /// The revision that is stored, as far as this run knows.
    var writtenRevision: Int

    init(
        _ stored: StoredPipeline, workflow: Workflow, worker: UUID, means: RunMeans, mailbox: Mailbox,
        observe: (@Sendable (PipelineEvent) -> Void)? = nil
    ) {
        var pipeline = stored
        self.means = means
        self.mailbox = mailbox
        self.observe = observe
        let limit = min(pipeline.input.byteLimit, means.configuration.maximumContextBytes)
        let input = Context(pipeline.input, byteLimit: limit)
        self.machine = PipelineStateMachine(
            workflow: workflow, input: input, worker: worker, resuming: stored,
            maximumRecoveries: means.configuration.maximumRecoveries, at: means.clock.now())
        // What the history says is in the machine; it may be long.
        self.writtenRevision = stored.revision
        pipeline.events = Array(stored.events.prefix(1))
        pipeline.commits = []
        self.pipeline = pipeline
    }

    /// Runs the pipeline. Its task must not be cancelled; ``Mailbox/Mail/cancel`` is the way to stop it.
    mutating func run() async -> RunEnd {
        if let request = self.pipeline.request { self.receive(request.mail) }
        // What was said before it began must not find tasks running.
        for mail in self.mailbox.takeNow() { self.receive(mail) }
        self.armTimers()
        let end: RunEnd
        do throws(PipelineError) {
            while self.machine.status == .running {
                if let lost = self.lost { throw lost }
                if self.mayBeLost { try await self.checkClaim() }
                self.mayBeLost = false
                try await self.advance()
                if self.machine.status == .running, !self.hasHeard { await self.read() }
            }
            if let lost = self.lost { throw lost }
            end = self.machine.status.isTerminal ? .ended(try self.result()) : .left(self.machine.status)
        } catch {
            // Who waits here is told; what the database refuses is not tried again before somebody has mended it.
            // What has ended stays as it is, whatever can't be read of it.
            let isPaused = error.isRefusal && self.endedAt == nil ? await self.pauseRefused(error) : false
            self.isSetAside = isPaused
            self.means.logger.debug(
                isPaused ? "pipeline paused" : "pipeline given up",
                metadata: [LogKeys.pipeline: "\(self.pipeline.id)", LogKeys.error: "\(error)"])
            end = .broken(error)
        }
        self.leave(end)
        return end
    }

    /// Begins what can begin, writes what was decided, and only then runs it.
    private mutating func advance() async throws(PipelineError) {
        self.hasHeard = false
        // Nothing begins while the end of everything only waits for a commit.
        var startable = self.deferred.isEmpty ? self.machine.startableCount : 0
        if startable > 0, !self.mayBeginSuspects() { startable = 0 }
        let wanted = startable - self.heldSlots
        if wanted > 0 { self.heldSlots += self.means.slots.take(upTo: wanted) }
        let now = self.means.clock.now()
        let starts = self.machine.begin(upTo: min(startable, self.heldSlots), at: now)
        self.means.slots.give(self.heldSlots - starts.count)
        self.heldSlots = starts.count
        if startable > starts.count, !self.isWaitingForSlot {
            self.isWaitingForSlot = true
            self.means.slots.wait(
                self.mailbox, priority: self.pipeline.priority, since: self.pipeline.createdAt)
        }
        self.means.place?.arrive()
        if !starts.isEmpty { self.means.place?.begin() }
        if let transition = self.machine.commit(at: now) { try await self.write(transition, at: now) }
        // What came in while the database was away may have stopped the pipeline.
        let mayStart = !self.hasHeard || self.machine.stop == .none && self.lost == nil
        for start in starts {
            if mayStart { self.start(start) } else { self.machine.withdraw(start, at: self.means.clock.now()) }
        }
        // Others' turn, while nothing of this one runs.
        if self.running.isEmpty { self.leaveQuarantine() }
        self.noteRetrying(self.machine.isOnlyRetrying)
    }

    /// Says when the pipeline begins, or ends, to wait for nothing but the time of a retry.
    private mutating func noteRetrying(_ isOnlyRetrying: Bool) {
        guard isOnlyRetrying != self.isOnlyRetrying else { return }
        self.isOnlyRetrying = isOnlyRetrying
        self.means.noteRetrying(isOnlyRetrying)
    }

    /// Whether the tasks that could begin may: those that processes have died of before, one pipeline's at a time.
    private mutating func mayBeginSuspects() -> Bool {
        let limit = self.means.configuration.maximumRecoveries
        guard !self.isInQuarantine, self.machine.hasGraveSuspects(maximumRecoveries: limit) else { return true }
        if self.means.quarantine.take(upTo: 1) == 1 {
            self.isInQuarantine = true
        } else if !self.isWaitingForQuarantine {
            self.isWaitingForQuarantine = true
            self.means.quarantine.wait(self.mailbox)
        }
        return self.isInQuarantine
    }

    private mutating func leaveQuarantine() {
        if self.isInQuarantine { self.means.quarantine.give(1) }
        self.isInQuarantine = false
    }

    private mutating func read() async {
        if let request = self.answered.take() { return self.receive(request.mail) }
        for mail in await self.mailbox.take() { self.receive(mail) }
    }

    mutating func receive(_ mail: Mailbox.Mail) {
        switch mail {
        case .tryAgain: break
        case .finished(let attempt):
            self.finish(attempt)
            let deferred = self.deferred
            self.deferred = []
            for mail in deferred { self.receive(mail) }
        case .slot:
            self.isWaitingForSlot = false
            self.heldSlots += 1
        case .quarantine:
            self.isWaitingForQuarantine = false
            self.isInQuarantine = true
        case .cancel:
            self.machine.receive(.cancel(at: self.means.clock.now()))
            self.stopRunning()
        case .pause: self.machine.receive(.pause)
        case .resume:
            self.machine.receive(.resume)
            if self.isShuttingDown { self.machine.receive(.release) }
        case .mayBeLost: self.mayBeLost = true
        case .superseded: self.lost = self.lost ?? Self.takenOver
        case .release:
            self.isShuttingDown = true
            self.machine.receive(.release)
        case .interrupt:
            self.isShuttingDown = true
            self.machine.receive(.release)
            self.isInterrupting = true
            self.stopRunning()
        case .graceOver:
            guard self.mayAbandonRunning(or: mail) else { return }
            self.machine.receive(.giveUp(at: self.means.clock.now()))
            self.abandonRunning()
        case .commitOverdue(let position, let attempt): self.cancelCommit(position, attempt)
        case .retryDue(let position, let attempt):
            // An attempt that is due begins without a write, and a runner that was cut off, or suspended, all the while is not told
            // that another one has the pipeline.
            if let since = self.retryTimers.removeValue(forKey: position)?.since,
                since.duration(to: self.means.clock.instant()) >= self.means.configuration.heartbeatInterval
            {
                self.mayBeLost = true
            }
            self.machine.receive(.retryDue(position: position, attempt: attempt))
        case .timedOut(let position, let attempt): self.timeOut(position, attempt, at: self.means.clock.now())
        case .pipelineTimedOut:
            guard self.mayAbandonRunning(or: mail) else { return }
            self.machine.receive(.timedOut(at: self.means.clock.now()))
            self.abandonRunning()
        }
    }
}

// MARK: Tasks

extension PipelineRun {
    private mutating func start(_ start: TaskStart) {
        let task = self.machine.workflow.tasks[start.position]
        let given = Result { () throws(WorkflowError) in try self.machine.given(to: start.position) }
        let slot = HeldSlot(
            self.means.slots, quarantine: self.isInQuarantine ? self.means.quarantine : nil,
            lending: self.means.lending)
        self.heldSlots -= 1
        let place = TaskPlace(
            pipeline: self.pipeline.id, epoch: self.pipeline.epoch, task: task.id, depth: self.pipeline.depth,
            priority: self.pipeline.priority)
        let resource = self.means.makeResource(place, slot)
        let scope = TaskScope(
            executionID: self.pipeline.id, workflow: self.pipeline.workflow, task: task.id, attempt: start.attempt,
            resource: resource, failures: self.failures(above: start.position))
        // Not a child: code that ignores its cancellation must not hold up the pipeline's end.
        let clock = self.means.clock
        let running = Task(executorPreference: self.means.bodies ?? clock.executor) {
            [mailbox = self.mailbox, tracer = self.means.tracer] in
            var attempt = await HeldSlot.$current.withValue(slot) {
                await EngineSpans.attempt(scope, tracer: tracer) {
                    await Attempt.run(task, start: start, given: given, scope: scope, clock: clock)
                }
            }
            if let delta = resource.committed { attempt = attempt.committed(delta) }
            slot.release()
            mailbox.post(.finished(attempt))
        }
        let timer = task.timeout.map { timeout in
            self.timer(timeout, .timedOut(position: start.position, attempt: start.attempt))
        }
        self.running[start.position] = Running(
            attempt: start.attempt, startedAt: self.means.clock.now(), resource: resource, task: running, timer: timer)
    }

    /// Why those of a task's ancestors failed that did.
    private func failures(above position: Int) -> [String: TaskFailure] {
        var failures: [String: TaskFailure] = [:]
        for ancestor in self.machine.failures(above: position) {
            failures[self.machine.workflow.tasks[ancestor].id] =
                self.failures[ancestor]
                ?? TaskFailure(
                    text: self.machine.attempts[ancestor].last?.error ?? "", typeName: "StoredFailure",
                    isTransient: false)
        }
        return failures
    }

    private mutating func finish(_ attempt: Attempt) {
        guard let running = self.running[attempt.position], running.attempt == attempt.number else { return }
        guard !running.resource.isUndecided else {
            self.lost = PipelineError(.storageFailed, "whether a task's own commit succeeded can't be found out")
            return
        }
        running.timer?.cancel()
        running.commitTimer?.cancel()
        self.running[attempt.position] = nil
        var outcome = attempt.outcome
        if case .failed(let failure) = outcome { self.failures[attempt.position] = failure }
        let hasWaitedInVain = running.resource.hasWaitedInVain || attempt.failure?.code == .released
        let isInterrupted =
            self.isInterrupting || self.isShuttingDown && hasWaitedInVain || attempt.failure?.isCutOff == true
        if isInterrupted, case .failed = outcome { outcome = .interrupted }
        // Asking the system for chance takes a while, and only a retry needs it.
        let random = if case .failed = outcome { self.means.clock.random() } else { 0 as UInt64 }
        if let output = attempt.output {
            self.machine.remember(output, of: attempt.position, attempt: attempt.number)
        }
        let isAccepted = self.machine.receive(
            .ended(
                position: attempt.position, attempt: attempt.number, outcome: outcome, startedAt: attempt.startedAt,
                at: attempt.endedAt, random: random))
        if isAccepted, case .committed = outcome { self.noteOwnCommit(attempt) }
    }

    private mutating func timeOut(_ position: Int, _ attempt: Int, at now: Date) {
        guard let running = self.running[position], running.attempt == attempt else { return }
        // What is being committed is waited for: it counts.
        guard running.resource.forbidCommit() else { return self.limitCommit(position) }
        running.task.cancel()
        running.resource.slot.release()
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

    /// Whether nothing that runs is storing its own completion just now; else the mail comes again after that.
    private mutating func mayAbandonRunning(or mail: Mailbox.Mail) -> Bool {
        let committing = self.running.filter { !$0.value.resource.forbidCommit() }
        guard !committing.isEmpty else { return true }
        self.deferred.append(mail)
        for (position, running) in committing.sorted(by: { $0.key < $1.key }) {
            if case .graceOver = mail, running.commitTimer == nil {
                self.cancelCommit(position, running.attempt)
            } else {
                self.limitCommit(position)
            }
        }
        return false
    }

    /// Sets the commit that an attempt has under way a time, once.
    private mutating func limitCommit(_ position: Int, atLeast pause: Duration = .zero) {
        guard let running = self.running[position], running.commitTimer == nil else { return }
        let timer = self.timer(
            max(self.means.configuration.cancellationGrace, pause),
            .commitOverdue(position: position, attempt: running.attempt))
        self.running[position]?.commitTimer = timer
    }

    /// Ends the wait for an attempt's commit, again and again: a cancel that comes between two statements is lost.
    private mutating func cancelCommit(_ position: Int, _ attempt: Int) {
        guard let running = self.running[position], running.attempt == attempt, running.resource.isUndecided else {
            return
        }
        running.resource.cancelCommit()
        self.running[position]?.commitTimer = nil
        self.limitCommit(position, atLeast: .seconds(1))
    }

    /// Waits no longer for what runs; the machine has taken note already.
    private mutating func abandonRunning() {
        for (_, running) in self.running.sorted(by: { $0.key < $1.key }) {
            running.task.cancel()
            running.timer?.cancel()
            running.commitTimer?.cancel()
            running.resource.slot.release()
        }
        self.running = [:]
    }

    func timer(_ delay: Duration, _ mail: Mailbox.Mail) -> Task<Void, Never> {
        Task(executorPreference: self.means.clock.executor) { [mailbox = self.mailbox, clock = self.means.clock] in
            do { try await clock.sleep(for: delay) } catch { return }
            mailbox.post(mail)
        }
    }

    private mutating func armTimers() {
        guard !self.machine.retries.isEmpty || self.pipeline.timeout != nil else { return }
        let now = self.means.clock.now()
        for retry in self.machine.retries {
            self.armRetry(retry.position, retry.attempt, after: retry.due.timeIntervalSince(now))
        }
        if let timeout = self.pipeline.timeout {
            let elapsed = Duration.clamped(seconds: now.timeIntervalSince(self.pipeline.startedAt ?? now))
            self.timers.append(
                self.timer(max(.zero, timeout.atMostACentury - elapsed), .pipelineTimedOut))
        }
    }

    /// Waits for the time of a task's next attempt.
    mutating func armRetry(_ position: Int, _ attempt: Int, after seconds: Double) {
        self.retryTimers[position]?.task.cancel()
        let timer = self.timer(.clamped(seconds: seconds), .retryDue(position: position, attempt: attempt))
        self.retryTimers[position] = (timer, self.means.clock.instant())
    }

    /// Gives back whatever the run holds; nothing of it goes on but handlers, and code that ignores its cancellation.
    private mutating func leave(_ end: RunEnd) {
        for timer in self.timers { timer.cancel() }
        for (_, timer) in self.retryTimers { timer.task.cancel() }
        if case .broken(let error) = end, error.code != .pipelineVanished {
            for (_, running) in self.running { running.resource.abandon() }
        }
        self.abandonRunning()
        if self.isWaitingForSlot { self.means.slots.withdraw(self.mailbox) }
        if self.isWaitingForQuarantine { self.means.quarantine.withdraw(self.mailbox) }
        let mail = self.mailbox.close()
        self.means.slots.give(self.heldSlots + mail.count { if case .slot = $0 { true } else { false } })
        self.means.quarantine.give(mail.count { if case .quarantine = $0 { true } else { false } })
        self.leaveQuarantine()
        self.noteRetrying(false)
        var stands = false
        switch end {
        case .ended: return
        case .left(let status): stands = status == .paused
        // What was asked before is not stored.
        case .broken: self.unheard = self.machine.unheard
        }
        if let late = self.late { self.keep(late.mail, stands: stands) }
        // What stands still, and was not to any more just when that was being written, must be told.
        if stands, let request = self.answered, self.unheard != .cancel { self.unheard = request }
        for mail in mail { self.keep(mail, stands: stands) }
    }

    /// Keeps what was asked too late for the run. Nothing takes back a cancel.
    private mutating func keep(_ mail: Mailbox.Mail, stands: Bool) {
        guard self.unheard != .cancel else { return }
        switch mail {
        case .cancel: self.unheard = .cancel
        case .pause: self.unheard = stands ? nil : .pause
        case .resume: self.unheard = stands ? .resume : nil
        default: break
        }
    }

    /// Waits for the handlers that still run: for the time of grace, and after that no longer. They are cancelled then.
    func finishCallbacks() async {
        guard !self.callbacks.isEmpty else { return }
        let (end, sink) = AsyncStream.makeStream(of: Void.self)
        // Neither is a child: a handler that ignores its cancellation must not hold up whoever waits for the pipeline.
        let waiting = Task(executorPreference: self.means.clock.executor) { [callbacks = self.callbacks] in
            for callback in callbacks { await callback.value }
            sink.finish()
        }
        let timer = Task(executorPreference: self.means.clock.executor) {
            [callbacks = self.callbacks, means = self.means] in
            do { try await means.clock.sleep(for: means.configuration.cancellationGrace) } catch { return }
            for callback in callbacks { callback.cancel() }
            sink.finish()
        }
        for await _ in end {}
        timer.cancel()
        waiting.cancel()
    }
}

extension PipelineRequest {
    /// What tells the pipeline's run.
    var mail: Mailbox.Mail {
        switch self {
        case .cancel: .cancel
        case .pause: .pause
        case .resume: .resume
        }
    }
}
