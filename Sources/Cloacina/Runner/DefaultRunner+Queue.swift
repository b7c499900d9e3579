public import CloacinaPostgres
public import CloacinaWorkflow
public import FoundationEssentials
import Logging
import Synchronization

/// The queue, and the runners that serve it.
extension DefaultRunner {
    /// Puts a workflow into the tenant's queue, where any runner that serves it and knows the workflow begins it.
    ///
    /// - Returns: The pipeline's id; an existing one's when that has the idempotency key.
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/workflowNotFound``, ``PipelineError/Code/invalidOptions`` or
    ///   ``PipelineError/Code/storageFailed``.
    @discardableResult
    public func enqueue(
        _ workflowName: String, context: Context = Context(), options: ExecutionOptions = ExecutionOptions()
    ) async throws(PipelineError) -> UUID {
        let new = try self.queued(workflowName, context, options)
        let creation = try await self.create(new)
        // The id is new, so when it exists, an earlier try was stored although its answer was lost: nobody was called.
        if case .exists(let id) = creation, id != new.id { return id }
        await self.ring(after: options.delay)
        return new.id
    }

    /// Puts a workflow into the queue inside a transaction of the caller's own: it is there when the transaction commits, and
    /// never was when it rolls back.
    ///
    /// The transaction must be one of this tenant's. Runners of other processes notice with their next sweep, or as soon as
    /// ``ring(after:)`` is called after the commit.
    ///
    /// - Returns: The pipeline's id; an existing one's when that has the idempotency key.
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/workflowNotFound`` or ``PipelineError/Code/invalidOptions``;
    ///   `PostgresError`.
    @discardableResult
    public func enqueue(
        _ workflowName: String, context: Context = Context(), options: ExecutionOptions = ExecutionOptions(),
        in transaction: borrowing PostgresTransaction
    ) async throws -> UUID {
        let new = try self.queued(workflowName, context, options)
        let created = try await transaction.query(PostgresWorkflowQueries.create([new]))
        guard created.isEmpty, let key = options.idempotencyKey else { return new.id }
        return try await transaction.query(PostgresWorkflowQueries.find(key: key)).single(as: UUID.self)
    }

    private func queued(
        _ workflowName: String, _ context: Context, _ options: ExecutionOptions
    ) throws(PipelineError) -> NewPipeline {
        let registered = try self.registered(workflowName)
        try options.check(fileID: #fileID, line: #line)
        let now = self.clock.now()
        return NewPipeline(
            id: .version7(at: now), workflow: workflowName, version: registered.version, input: context,
            options: options, owner: nil, at: now)
    }

    /// Calls the runners that serve the queue: this one, and those of other processes when it doesn't, or has its fill.
    ///
    /// - Parameter delay: When what is called for is due. They look then.
    public func ring(after delay: Duration = .zero) async {
        let (serves, isFull) = self.state.withLock { state in
            (state.serves, self.load(state) >= self.configuration.maximumQueuedPipelines)
        }
        if serves, delay > .zero {
            self.wake(at: self.clock.now().addingTimeInterval(delay.seconds))
        } else if serves {
            self.wake()
        }
        if !serves || isFull { await self.callOthers(after: delay) }
    }

    /// Calls the runners of other processes. Best effort: sweeps find what nobody was called for.
    func callOthers(after delay: Duration = .zero) async {
        guard let database = self.database else { return }
        _ = try? await database.pool.withConnection(database.label) { lease in
            try await lease.query(QueueCall(schema: database.label.schema, delay: delay).statement)
        }
    }

    /// Has the queue looked at when something is due, with one timer for whatever comes first. What is further off than the
    /// next sweep is left to that.
    func wake(at due: Date) {
        let delay = Duration.seconds(max(0, due.timeIntervalSince(self.clock.now())))
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
            if lookingAhead { state.mustLookAhead = true }
            guard !state.isPumping else { return false }
            state.isPumping = true
            return true
        }
        // Ends by itself when the queue is empty or the runner has its fill.
        if mustStart { self.inBackground { await self.pump() } }
    }

    private func pump() async {
        while true {
            let free = self.state.withLock { state -> Int in
                let free = self.configuration.maximumQueuedPipelines - self.load(state)
                guard state.mustPumpAgain, free > 0, !state.isShutDown else {
                    state.isPumping = false
                    return 0
                }
                state.mustPumpAgain = false
                return free
            }
            guard free > 0 else { return }
            do throws(PipelineError) {
                let claimed = try await self.claim(free)
                if claimed == free {
                    self.state.withLock { $0.mustPumpAgain = true }
                } else if self.state.withLock({ $0.mustLookAhead }) {
                    try await self.lookAhead()
                }
            } catch {
                self.logger.warning("the queue can't be read", metadata: [LogKeys.error: "\(error)"])
                self.wakeLater()
            }
        }
    }

    /// Finds out when what waits is due, when all that is due was claimed.
    private func lookAhead() async throws(PipelineError) {
        self.state.withLock { $0.mustLookAhead = false }
        let survey = try await self.store.survey(everyOwner: false, at: self.clock.now())
        if let due = survey.nextDue { self.wake(at: due) }
    }

    /// Looks at the queue again in a while, when it could not be read.
    private func wakeLater() {
        self.inBackground {
            try? await self.clock.sleep(for: self.configuration.heartbeatInterval)
            self.wake(lookingAhead: true)
        }
    }

    private func claim(_ limit: Int) async throws(PipelineError) -> Int {
        self.beginning.begin()
        defer { self.beginning.end() }
        let (known, isShutDown) = self.state.withLock { ($0.workflows, $0.isShutDown) }
        // A shutdown waits for what is beginning only if it has begun before.
        guard !isShutDown else { return 0 }
        let claim = QueueClaim(
            runner: self.id, workflows: known.mapValues(\.version), limit: limit, at: self.clock.now())
        do throws(PipelineError) {
            try await self.findLostClaims()
        } catch {
            // It reads every pipeline; where that takes too long, the queue must be served all the same.
            self.logger.warning("lost claims can't be looked for", metadata: [LogKeys.error: "\(error)"])
        }
        // What is claimed begins the heartbeat; a tenant with nothing to do is only read.
        let claimed: [StoredPipeline]
        do throws(PipelineError) {
            claimed = try await self.store.claim(claim)
        } catch {
            self.state.withLock { $0.lostClaims = (.now, false) }
            throw error
        }
        for pipeline in claimed {
            guard let registered = known[pipeline.workflow] else { continue }
            self.launch(pipeline, registered.workflow, fromQueue: true)
        }
        return claimed.count
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
            self.setAdrift(id, Adrift(epoch: epoch))
        }
        self.state.withLock { $0.lostClaims = isLast ? nil : (lost.since, true) }
    }
}
