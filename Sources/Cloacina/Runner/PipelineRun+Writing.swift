import CloacinaWorkflow
import FoundationEssentials
import Logging

/// What is stored, and who is told.
extension PipelineRun {
    mutating func write(_ transition: PipelineTransition, at now: Date) async throws(PipelineError) {
        var transition = transition
        // One that goes back and could go on at once waits where it would have, had it never been claimed.
        if transition.status == .queued, transition.dueAt == now { transition.dueAt = self.pipeline.place(at: now) }
        let change = self.change(transition, at: now)
        let begun = self.means.clock.instant()
        var mustGoAlone = false
        let outcome = try await self.persistently { means throws(PipelineError) in
            do throws(PipelineError) {
                guard mustGoAlone else { return try await means.writer.apply(change) }
                return try await means.store.apply([change])[0]
            } catch {
                mustGoAlone = mustGoAlone || error.mustGoAlone
                throw error
            }
        }
        switch outcome {
        case .applied(let asked): self.answered = asked
        case .stale: try await self.checkWritten(transition)
        }
        self.writtenRevision = transition.expectedRevision + 1
        // A delay begins when it is stored.
        let taken = begun.duration(to: self.means.clock.instant()).seconds
        if transition.status == .queued { self.releasedUntil = transition.dueAt?.addingTimeInterval(taken) }
        if transition.status.isTerminal { self.endedAt = now }
        self.note(transition.untold)
    }

    /// A transition as this run's runner, and nobody else, may store it.
    private func change(_ transition: PipelineTransition, at now: Date) -> PipelineChange {
        PipelineChange(
            id: self.pipeline.id, owner: self.machine.worker, epoch: self.pipeline.epoch, at: now,
            transition: transition)
    }

    /// A transition that comes too late was written before, when only the answer was lost, or the claim is lost. Who takes a
    /// pipeline over ends its epoch; after a failover that lost the claim, another one, or this runner once more, may have been
    /// given the same epoch, and written other lines.
    private mutating func checkWritten(_ transition: PipelineTransition) async throws(PipelineError) {
        let stored = try await self.stored()
        guard stored.epoch == self.pipeline.epoch, stored.revision == transition.expectedRevision + 1,
            stored.status == transition.status, stored.owner == nil || stored.owner == self.machine.worker,
            stored.events.count >= transition.events.count,
            zip(stored.events.suffix(transition.events.count), transition.events).allSatisfy({ $0.isLine($1) })
        else { throw Self.takenOver }
    }

    /// Makes sure that the pipeline is still this run's.
    mutating func checkClaim() async throws(PipelineError) {
        let stored = try await self.stored()
        guard stored.epoch == self.pipeline.epoch, stored.status == .running, stored.owner == self.machine.worker else {
            throw Self.takenOver
        }
    }

    /// Pauses a pipeline of which the database refuses what is to be stored: going on would do the same work again and again. The
    /// reason is in plain letters, which every database takes. What was begun and is stored nowhere has a line before it, so that
    /// no attempt's number is given twice, unless the database refuses those lines too.
    ///
    /// - Returns: Whether that is stored.
    mutating func pauseRefused(_ error: PipelineError) async -> Bool {
        let now = self.means.clock.now()
        let pause = PipelineEvent(
            .pipelinePaused, worker: self.machine.worker, at: now, reason: .refused,
            detail:
                "the database refuses what is to be stored (\(error.refusalCode)); resume the pipeline when that is mended"
        )
        let begun = await self.attemptsWithoutLine(at: now)
        for events in begun.isEmpty ? [[pause]] : [begun + [pause], [pause]] {
            var transition = PipelineTransition(expectedRevision: self.writtenRevision)
            transition.status = .paused
            transition.foldsEverything = true
            transition.events = events
            let change = self.change(transition, at: now)
            do throws(PipelineError) {
                let outcome = try await self.persistently { means throws(PipelineError) in
                    try await means.store.apply([change])[0]
                }
                guard case .applied = outcome else { return false }
            } catch {
                if error.isRefusal { continue }
                return false
            }
            self.means.logger.warning(
                "pipeline paused: the database refuses what is to be stored",
                metadata: [LogKeys.pipeline: "\(self.pipeline.id)", LogKeys.error: "\(error)"])
            self.note(events)
            return true
        }
        return false
    }

    /// A line for the last attempt of each task that was begun, as far as this run knows, and of which nothing is stored.
    private mutating func attemptsWithoutLine(at now: Date) async -> [PipelineEvent] {
        // One that can't be read is paused without.
        guard let stored = try? await self.stored() else { return [] }
        let known = PipelineStateMachine(
            workflow: self.machine.workflow, input: Context(stored.input, byteLimit: .max), worker: self.machine.worker,
            resuming: stored, maximumRecoveries: .max, at: now)
        return known.tasks.indices.compactMap { position -> PipelineEvent? in
            switch known.tasks[position].state {
            case .ready, .running, .retrying: break
            case .waiting, .completed, .failed, .skipped: return nil
            }
            let attempt = self.machine.tasks[position].attempt
            guard attempt > known.tasks[position].attempt else { return nil }
            return PipelineEvent(
                .taskInterrupted, task: self.machine.workflow.tasks[position].id, attempt: attempt,
                worker: self.machine.worker, at: now, reason: .refused)
        }
    }

    static var takenOver: PipelineError {
        PipelineError(.takenOver, "another runner has claimed the pipeline")
    }

    private mutating func stored() async throws(PipelineError) -> StoredPipeline {
        let id = self.pipeline.id
        let stored = try await self.persistently { means throws(PipelineError) in try await means.store.load(id) }
        guard let stored else {
            throw PipelineError(.pipelineVanished, "the pipeline's rows were deleted while it ran")
        }
        return stored
    }

    /// Tells whoever wants to know what is written.
    mutating func note(_ events: [PipelineEvent]) {
        for event in events {
            self.means.metrics.note(event)
            self.log(event)
            self.observe?(event)
            guard let id = event.task, let position = self.machine.workflow.position(of: id) else { continue }
            switch event.kind {
            case .taskRetrying:
                guard let due = event.dueAt else { continue }
                self.armRetry(position, event.attempt, after: due.timeIntervalSince(event.at))
            case .taskCompleted, .taskFailed: self.callBack(position, event)
            default: break
            }
        }
    }

    private func log(_ event: PipelineEvent) {
        self.means.logger.log(
            level: event.task == nil ? .debug : .trace, "\(event.kind.rawValue)",
            metadata: LogKeys.metadata(of: event, in: self.pipeline))
    }

    /// Tells of a completion that its task has stored itself.
    mutating func noteOwnCommit(_ attempt: Attempt) {
        guard case .committed(let delta) = attempt.outcome else { return }
        self.note([
            PipelineEvent(
                .taskCompleted, task: self.machine.workflow.tasks[attempt.position].id, attempt: attempt.number,
                worker: self.machine.worker, startedAt: attempt.startedAt, at: attempt.endedAt, delta: delta)
        ])
    }

    private mutating func callBack(_ position: Int, _ event: PipelineEvent) {
        let task = self.machine.workflow.tasks[position]
        let scope = TaskScope(
            executionID: self.pipeline.id, workflow: self.pipeline.workflow, task: task.id, attempt: event.attempt)
        let executor = self.means.bodies ?? self.means.clock.executor
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

    mutating func result() throws(PipelineError) -> PipelineResult {
        try PipelineResult(&self.machine, of: self.pipeline, endedAt: self.endedAt ?? self.means.clock.now())
    }
}

extension PipelineEvent {
    /// True when a stored line is the one that was to be written; databases keep a time in microseconds.
    fileprivate func isLine(_ written: PipelineEvent) -> Bool {
        self.kind == written.kind && self.task == written.task && self.attempt == written.attempt
            && self.worker == written.worker && abs(self.at.timeIntervalSince(written.at)) < 0.001
    }
}
