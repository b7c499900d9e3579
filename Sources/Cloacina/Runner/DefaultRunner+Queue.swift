public import CloacinaPostgres
public import CloacinaWorkflow
import FoundationEssentials
import Logging
import Synchronization

/// The queue, and the runners that serve it.
extension DefaultRunner {
    /// Puts a workflow into the tenant's queue, where any runner that serves it and knows the workflow begins it.
    ///
    /// - Returns: The pipeline; an earlier call's when that has the idempotency key, see ``PipelineExecution/isNew``.
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/workflowNotFound``, ``PipelineError/Code/invalidOptions``,
    ///   ``PipelineError/Code/keyConflict`` when the idempotency key belongs to another workflow or another input, or
    ///   ``PipelineError/Code/storageFailed``.
    @discardableResult
    public func enqueue(
        _ workflowName: String, context: Context = Context(), options: ExecutionOptions = ExecutionOptions()
    ) async throws(PipelineError) -> PipelineExecution {
        let new = try self.queued(workflowName, context, options)
        if let earlier = try await self.create(new).earlier(than: new) {
            return PipelineExecution(id: earlier, runner: self, isNew: false)
        }
        // Also when an earlier try was stored although its answer was lost: nobody was called.
        await self.ring(after: options.delay)
        return PipelineExecution(id: new.id, runner: self, isNew: true)
    }

    /// Puts a workflow into the queue inside a transaction of the caller's own: it is there when the transaction commits, and
    /// never was when it rolls back.
    ///
    /// The transaction must be one of this tenant's. Runners of other processes notice with their next sweep, or as soon as
    /// ``ring(after:)`` is called after the commit.
    ///
    /// A caller whose idempotency key another transaction has stored and not yet committed waits for that one's end. A refusal
    /// leaves the transaction as it was.
    ///
    /// - Returns: The pipeline, which nobody finds before the commit; an earlier call's when that has the idempotency key, see
    ///   ``PipelineExecution/isNew``.
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/workflowNotFound``, ``PipelineError/Code/invalidOptions`` or
    ///   ``PipelineError/Code/keyConflict``; `PostgresError`.
    @discardableResult
    public func enqueue(
        _ workflowName: String, context: Context = Context(), options: ExecutionOptions = ExecutionOptions(),
        in transaction: borrowing PostgresTransaction
    ) async throws -> PipelineExecution {
        let new = try self.queued(workflowName, context, options)
        let creation = try await PostgresWorkflowStore.create(
            new, byServersClock: self.clock is SystemEngineClock, in: transaction)
        let earlier = try creation.earlier(than: new)
        return PipelineExecution(id: earlier ?? new.id, runner: self, isNew: earlier == nil)
    }

    private func queued(
        _ workflowName: String, _ context: Context, _ options: ExecutionOptions
    ) throws(PipelineError) -> NewPipeline {
        let registered = try self.registered(workflowName)
        try options.check(fileID: #fileID, line: #line)
        let now = self.clock.now()
        return NewPipeline(
            id: .version7(at: now), workflow: registered.workflow.name, version: registered.version, input: context,
            options: options, owner: nil, at: now)
    }

    /// Calls the runners that serve the queue: this one, and those of other processes when it doesn't, or has its fill.
    ///
    /// - Parameter delay: When what is called for is due. They look then.
    public func ring(after delay: Duration = .zero) async {
        let (serves, isFull) = (self.state.withLock { $0.serves }, self.isFull)
        if serves, delay > .zero {
            self.wake(at: self.clock.now().addingTimeInterval(delay.seconds))
        } else if serves {
            self.wake()
        }
        if !serves || isFull { await self.callOthers(after: delay) }
    }

    /// Calls the runners of other processes. Best effort: sweeps find what nobody was called for.
    func callOthers(after delay: Duration = .zero) async {
        _ = await self.askForWord(QueueCall.statement(after: delay))
    }

    /// Has the queue looked at when something is due, with one timer for whatever comes first. What is further off than the
    /// next sweep is left to that.
    func wake(at due: Date) {
        let delay = Duration.clamped(seconds: max(0, due.timeIntervalSince(self.clock.now())))
        guard delay <= self.configuration.sweepInterval + .seconds(30) else { return }
        self.state.withLock { state in
            guard state.serves, !state.isShutDown, state.alarm.map({ due < $0.due }) ?? true else { return }
            state.alarm?.task.cancel()
            let task = Task.detached(executorPreference: self.clock.executor) {
                do { try await self.clock.sleep(for: delay) } catch { return }
                // A later one may have taken its place.
                self.state.withLock { if $0.alarm?.due == due { $0.alarm = nil } }
                self.wake(lookingAhead: true)
            }
            state.alarm = (due, task)
        }
    }

    /// Has the queue looked at, soon and once, however many call.
    ///
    /// - Parameter lookingAhead: Whether to ask, once nothing is left to claim, when the next pipeline is due.
    func wake(lookingAhead: Bool = false) {
        let mustStart = self.state.withLock { state in
            guard state.serves, !state.isShutDown else { return false }
            state.mustPumpAgain = true
            state.isCalled = true
            if lookingAhead { state.mustLookAhead = true }
            guard !state.isPumping else { return false }
            state.isPumping = true
            return true
        }
        // Ends by itself when the queue is empty or the runner has its fill.
        if mustStart { self.inBackground { await self.pump() } }
    }

    /// One look at the queue: how much to claim, and of what.
    private struct Look {
        var limit: Int
        var byteLimit: Int
        var abovePriority: Int?
        var onlyChildren = false
    }

    private func pump() async {
        while let look = self.nextLook() {
            do throws(PipelineError) {
                let isFull = try await self.claim(look)
                if isFull {
                    self.state.withLock { $0.mustPumpAgain = true }
                } else if look.abovePriority == nil, self.state.withLock({ $0.mustLookAhead }) {
                    try await self.lookAhead()
                }
            } catch {
                self.logger.warning("the queue can't be read", metadata: [LogKeys.error: "\(error)"])
                self.wakeLater()
            }
        }
    }

    /// Decides how to look at the queue next; nil when there is no reason to, or no room.
    private func nextLook() -> Look? {
        let (free, waiting) = (self.slots.freeCount, self.slots.waitingCount)
        let highest = self.slots.highestWaitingPriority
        let now = ContinuousClock.now
        return self.state.withLock { state -> Look? in
            guard state.mustPumpAgain, !state.isShutDown else {
                state.isPumping = false
                return nil
            }
            let limit = state.admission.claimLimit(at: now, freeSlots: free, waitingForSlots: waiting)
            if limit > 0 {
                state.mustPumpAgain = false
                state.isCalled = false
                return Look(
                    limit: limit, byteLimit: state.admission.claimByteLimit,
                    onlyChildren: state.admission.mayClaimOnlyChildren)
            }
            // What is more urgent than all that waits here need not wait for it.
            if state.isCalled {
                switch state.admission.urgentLook(at: now, highestWaitingPriority: highest) {
                case .claim(let limit, let above):
                    state.isCalled = false
                    return Look(limit: limit, byteLimit: state.admission.claimByteLimit, abovePriority: above)
                case .later(let instant):
                    state.isCalled = false
                    self.wakeLater(now.duration(to: instant))
                case .none: break
                }
            }
            state.isPumping = false
            return nil
        }
    }

    /// Finds out when what waits is due, when all that is due was claimed.
    ///
    /// A pipeline that came due since the claim is claimed by one more, after which nobody looks ahead: it may be one that no runner
    /// here can take.
    private func lookAhead() async throws(PipelineError) {
        self.state.withLock { $0.mustLookAhead = false }
        let survey = try await self.store.survey(everyOwner: false, at: self.clock.now())
        if let due = survey.nextDue { self.wake(at: due) }
        if survey.isDue { self.state.withLock { $0.mustPumpAgain = true } }
    }

    /// Looks at the queue again in a while, when it could not be read or that was done just now.
    private func wakeLater(_ delay: Duration? = nil) {
        self.inBackground {
            try? await self.clock.sleep(for: delay ?? self.configuration.heartbeatInterval)
            self.wake(lookingAhead: delay == nil)
        }
    }

    /// Claims and launches.
    ///
    /// - Returns: Whether there may be more.
    private func claim(_ look: Look) async throws(PipelineError) -> Bool {
        self.beginning.begin()
        defer { self.beginning.end() }
        // A shutdown waits for what is beginning only if it has begun before.
        guard !self.state.withLock({ $0.isShutDown }) else { return false }
        var claim = self.capabilities(at: self.clock.now())
        claim.limit = look.limit
        claim.byteLimit = look.byteLimit
        claim.abovePriority = look.abovePriority
        claim.onlyChildren = look.onlyChildren
        do throws(PipelineError) {
            try await self.findLostClaims()
        } catch {
            // Where that takes too long, the queue must be served all the same.
            self.logger.warning("lost claims can't be looked for", metadata: [LogKeys.error: "\(error)"])
        }
        let number = self.beginBeginning(isClaim: true)
        defer { self.endBeginning(number) }
        // What is claimed begins the heartbeat; a tenant with nothing to do is only read.
        var claimed: [StoredPipeline]
        do throws(PipelineError) {
            claimed = try await self.store.claim(claim)
            if claimed.isEmpty, look.onlyChildren, self.state.withLock({ $0.admission.mayClaimOneMore }) {
                claim.onlyChildren = false
                claim.limit = 1
                claimed = try await self.store.claim(claim)
            }
        } catch {
            self.refusals.note(error)
            self.state.withLock { $0.lostClaims = (.now, false) }
            throw error
        }
        let bytes = claimed.reduce(0) { $0 &+ $1.storedBytes }
        self.state.withLock { $0.admission.claimed(claimed.count, bytes: bytes, at: .now) }
        for var pipeline in claimed {
            if let parent = pipeline.parent, await self.hasEnded(parent) { pipeline.request = .cancel }
            do throws(PipelineError) {
                self.launch(pipeline, try self.workflow(of: pipeline), fromQueue: true)
            } catch {
                // It was claimed, so somebody must give it back.
                self.setAdrift(pipeline.id, Adrift(epoch: pipeline.epoch))
                self.note([.arrived, .began, .left], bytes: pipeline.storedBytes)
            }
        }
        return claimed.count == look.limit || bytes >= look.byteLimit
    }

    /// Notes that pipelines may be this runner's from now on that are not active yet.
    func beginBeginning(isClaim: Bool) -> Int {
        self.state.withLock { state in
            state.lastBeginning += 1
            state.beginnings[state.lastBeginning] = isClaim
            return state.lastBeginning
        }
    }

    func endBeginning(_ number: Int) { self.state.withLock { _ = $0.beginnings.removeValue(forKey: number) } }

    /// True when the pipeline that another one is a part of has ended meanwhile, without anybody there to cancel the part.
    func hasEnded(_ parent: UUID) async -> Bool {
        do throws(PipelineError) {
            return try await self.store.status(of: parent)?.isTerminal ?? true
        } catch {
            return false
        }
    }

    /// After a claim whose answer was lost, finds what it took, and has it given back. Between two claims, so that everything
    /// that this runner has claimed from the queue and knows of is active. Once at first, and once more when a server that
    /// had lost sight of this process has had the time of a lease to commit.
    func findLostClaims(mustLook: Bool = false) async throws(PipelineError) {
        guard let lost = self.state.withLock({ $0.lostClaims }) else { return }
        let isLast = lost.since.duration(to: .now) >= self.configuration.leaseDuration
        guard isLast || !lost.isLookedUp || mustLook else { return }
        for (id, epoch) in try await self.store.claims(of: self.id)
        where self.state.withLock({ $0.active[id].map { $0.isOver || $0.epoch < epoch } ?? true }) {
            let wasDriven = self.state.withLock { $0.active[id]?.epoch == epoch }
            self.setAdrift(id, Adrift(epoch: epoch, isLostClaim: !wasDriven))
        }
        self.state.withLock { $0.lostClaims = isLast ? nil : (lost.since, true) }
    }
}
