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
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/workflowNotFound`` or ``PipelineError/Code/storageFailed``.
    @discardableResult
    public func enqueue(
        _ workflowName: String, context: Context = Context(), options: ExecutionOptions = ExecutionOptions()
    ) async throws(PipelineError) -> UUID {
        let new = try self.queued(workflowName, context, options)
        let creation = try await self.means.patiently { () throws(PipelineError) in
            try await self.writer.create(new)
        }
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
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/workflowNotFound``; `PostgresError`.
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
        let now = self.clock.now()
        return NewPipeline(
            id: .version7(at: now), workflow: workflowName, version: registered.version, input: context,
            options: options, owner: nil, at: now)
    }

    /// Calls the runners that serve the queue: this one, or else those of other processes.
    public func ring(after delay: Duration = .zero) async {
        if self.state.withLock({ $0.serves }) {
            guard delay > .zero else { return self.wake() }
            // Not waited for: whoever puts something into the queue goes on.
            Task(executorPreference: self.clock.executor) {
                try? await self.clock.sleep(for: delay)
                self.wake()
            }
            return
        }
        guard let database = self.database else { return }
        // Best effort: sweeps find what nobody was called for.
        _ = try? await database.pool.withConnection(database.label) { lease in
            try await lease.query(RunnerGroup.call(schema: database.label.schema))
        }
    }

    /// Has the queue looked at, soon and once, however many call.
    func wake() {
        let mustStart = self.state.withLock { state in
            guard state.serves, !state.isShutDown else { return false }
            state.mustPumpAgain = true
            guard !state.isPumping else { return false }
            state.isPumping = true
            return true
        }
        // Ends by itself when the queue is empty or the runner has its fill.
        if mustStart { Task(executorPreference: self.clock.executor) { await self.pump() } }
    }

    private func pump() async {
        while true {
            let free = self.state.withLock { state -> Int in
                // Pipelines that only wait for others take up no place.
                let free = self.configuration.maximumQueuedPipelines + self.slots.lent - state.fromQueue
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
                if claimed == free { self.state.withLock { $0.mustPumpAgain = true } }
            } catch {
                self.logger.debug("the queue can't be read", metadata: [LogKeys.error: "\(error)"])
                self.wakeLater()
            }
        }
    }

    /// Looks at the queue again in a while, when it could not be read.
    private func wakeLater() {
        Task(executorPreference: self.clock.executor) {
            try? await self.clock.sleep(for: self.configuration.heartbeatInterval)
            self.wake()
        }
    }

    private func claim(_ limit: Int) async throws(PipelineError) -> Int {
        let known = self.state.withLock { $0.workflows }
        let claim = QueueClaim(
            runner: self.id, workflows: known.mapValues(\.version), limit: limit, at: self.clock.now())
        try await self.findLostClaims()
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
    private func findLostClaims() async throws(PipelineError) {
        guard let lost = self.state.withLock({ $0.lostClaims }) else { return }
        let isLast = lost.since.duration(to: .now) >= self.configuration.leaseDuration
        guard isLast || !lost.isLookedUp else { return }
        for id in try await self.store.claims(of: self.id) where self.state.withLock({ $0.active[id] == nil }) {
            self.setAdrift(id)
        }
        self.state.withLock { $0.lostClaims = isLast ? nil : (lost.since, true) }
    }

    // MARK: Life

    /// Says regularly that the runner lives, as long as it has pipelines and once after that.
    func beginBeating() {
        let mustStart = self.state.withLock { state in
            guard !state.isBeating else { return false }
            state.isBeating = true
            return true
        }
        // Ends by itself when the runner has nothing to do.
        if mustStart { Task(executorPreference: self.clock.executor) { await self.beat() } }
    }

    private func beat() async {
        while true {
            let active = self.state.withLock { Array($0.active.keys) }
            do {
                let requests = try await self.life.withTurn {
                    guard !self.state.withLock({ $0.hasLeft }) else { return [UUID: PipelineRequest]() }
                    return try await self.store.beat(self.id, pipelines: active, at: self.clock.now())
                }
                for (id, request) in requests {
                    let mailbox = self.state.withLock { $0.active[id]?.mailbox }
                    mailbox?.post(request == .cancel ? .cancel : .pause)
                }
                try await self.giveBackAdrift()
            } catch {
                self.logger.debug("a heartbeat failed", metadata: [LogKeys.error: "\(error)"])
            }
            try? await self.clock.sleep(for: self.configuration.heartbeatInterval)
            let mustEnd = self.state.withLock { state in
                guard active.isEmpty, state.active.isEmpty && state.adrift.isEmpty || state.isShutDown else {
                    return false
                }
                state.isBeating = false
                return true
            }
            if mustEnd { return }
        }
    }

    /// Looks once after the queue and after runners that died, as a ``RunnerGroup`` does again and again: for tests.
    package func serveOnce() async {
        self.state.withLock { $0.serves = true }
        _ = await self.sweep()
    }

    /// Notes that this runner can't go on with a pipeline that the database may still call its own: nobody else would.
    func setAdrift(_ id: UUID) {
        _ = self.state.withLock { $0.adrift.insert(id) }
        self.beginBeating()
    }

    /// Puts such pipelines back into the queue, once the database answers again.
    private func giveBackAdrift() async throws(PipelineError) {
        // One that was given back without an answer may be active again.
        for id in self.state.withLock({ state in state.adrift.filter { state.active[$0] == nil } }) {
            if let stored = try await self.store.load(id), stored.status == .running, stored.owner == self.id {
                let now = self.clock.now()
                var transition = PipelineTransition(expectedRevision: stored.revision)
                transition.status = .queued
                transition.dueAt = now
                transition.events = [
                    PipelineEvent(.pipelineRecovered, worker: self.id, at: now, detail: PipelineEvent.givenBack)
                ]
                let change = PipelineChange(id: id, epoch: stored.epoch, at: now, transition: transition)
                guard try await self.store.apply([change]) != [.stale] else { continue }
                await self.ring()
            }
            _ = self.state.withLock { $0.adrift.remove(id) }
        }
    }

    /// Looks after the queue and after runners that died. What is slow is done now and then only.
    ///
    /// - Returns: Until when to come again, if somebody is under suspicion.
    func sweep() async -> Duration? {
        let everyOwner = self.state.withLock { state in
            state.sweeps += 1
            return state.sweeps % 16 == 1 || state.silent.values.contains { $0.beats == 0 }
        }
        var suspicion: Duration?
        do throws(PipelineError) {
            let survey = try await self.store.survey(everyOwner: everyOwner, at: self.clock.now())
            let recovered = try await self.recover(survey.beats)
            suspicion = self.state.withLock { $0.silent.isEmpty } ? nil : self.configuration.leaseDuration
            if survey.isDue || recovered > 0 || self.state.withLock({ $0.lostClaims != nil }) { self.wake() }
            if let retention = self.configuration.retention {
                let limit = self.clock.now().addingTimeInterval(-retention.seconds)
                _ = try await self.store.prune(endedBefore: limit, limit: 1_000)
            }
        } catch {
            self.logger.debug("a sweep failed", metadata: [LogKeys.error: "\(error)"])
        }
        return suspicion
    }

    /// Puts back into the queue what runners had that have said nothing for the duration of a lease, by this process's own
    /// monotonic clock.
    ///
    /// - Returns: How many pipelines that were.
    private func recover(_ beats: [UUID: Int]) async throws(PipelineError) -> Int {
        let beats = beats.filter { $0.key != self.id }
        let now = ContinuousClock.now
        let due = self.state.withLock { state -> [(key: UUID, value: Int)] in
            state.silent = beats.reduce(into: [:]) { silent, entry in
                let known = state.silent[entry.key]
                silent[entry.key] = known?.beats == entry.value ? known : (entry.value, now)
            }
            return state.silent.filter { $0.value.since.duration(to: now) >= self.configuration.leaseDuration }
                .mapValues(\.beats).sorted { $0.key < $1.key }
        }
        var recovered = 0
        for (runner, beats) in due {
            let count = try await self.store.recover(runner, beats: beats, at: self.clock.now())
            self.state.withLock { $0.silent[runner] = nil }
            recovered += count
            if count > 0 {
                self.metrics.noteRecovered(count)
                self.logger.warning(
                    "took over the pipelines of a runner that died", metadata: [LogKeys.recovered: "\(count)"])
            }
        }
        return recovered
    }

    // MARK: Shutdown

    /// Ends the runner in good order: nothing new begins; what runs has `drain` to come to an end, is then cancelled, and
    /// after the time of grace given up. Pipelines that have not ended go back into the queue for other runners.
    ///
    /// Who waits for a pipeline here is told ``PipelineError/Code/released``. Calling again does nothing.
    public func shutDown(drain: Duration = .seconds(30)) async {
        let active = self.state.withLock { state -> [Active] in
            state.isShutDown = true
            state.serves = false
            return Array(state.active.values)
        }
        for run in active { run.mailbox.post(.release) }
        let timer = Task(executorPreference: self.clock.executor) { [clock = self.clock] in
            do { try await clock.sleep(for: drain) } catch { return }
            for run in active { run.mailbox.post(.interrupt) }
        }
        for run in active { _ = await run.task.value }
        timer.cancel()
        try? await self.giveBackAdrift()
        // After the last heartbeat, whoever has cancelled the caller.
        let leaving = Task(executorPreference: self.clock.executor) {
            try? await self.life.withTurn {
                self.state.withLock { $0.hasLeft = true }
                try await self.store.leave(self.id)
            }
        }
        await leaving.value
    }
}
