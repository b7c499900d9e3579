import CloacinaPostgres
import CloacinaWorkflow
import FoundationEssentials
import Logging
import Synchronization

/// That a runner lives, what it does for runners that don't, and its end.
extension DefaultRunner {
    /// Says regularly that the runner lives, as long as it has pipelines, and takes itself off the list after that: who has
    /// nothing to do is not waited for, and can't be taken for dead.
    func beginBeating() {
        let mustStart = self.state.withLock { state in
            guard !state.isBeating else { return false }
            state.isBeating = true
            return true
        }
        // Ends by itself when the runner has nothing to do.
        if mustStart { self.inBackground { await self.beat() } }
    }

    /// Starts something that serves everybody: nothing of its caller's, such as a priority or a trace, goes with it.
    func inBackground(_ body: @escaping @Sendable () async -> Void) {
        Task.detached(executorPreference: self.clock.executor) { await body() }
    }

    private func beat() async {
        var wasIdle = false
        while true {
            let (active, isIdle) = self.state.withLock { state in
                (state.active.filter { !$0.value.isOver }, state.isIdle)
            }
            var hasLeft = false
            do throws(PipelineError) {
                if wasIdle, isIdle {
                    try await self.leave()
                    hasLeft = true
                } else {
                    try await self.beat(for: active)
                }
            } catch {
                self.logger.warning("a heartbeat failed", metadata: [LogKeys.error: "\(error)"])
            }
            self.beginGivingBack()
            let mustEnd = self.state.withLock { state in
                guard hasLeft && state.isIdle || state.hasLeft else { return false }
                state.isBeating = false
                return true
            }
            if mustEnd { return }
            wasIdle = isIdle
            // What has come since is announced at once.
            if !hasLeft { try? await self.clock.sleep(for: self.configuration.heartbeatInterval) }
        }
    }

    private func beat(for active: [UUID: Active]) async throws(PipelineError) {
        let answer = try await self.inTurn { () async throws(PipelineError) -> BeatAnswer? in
            let number = self.state.withLock { state -> Int? in
                guard !state.hasLeft else { return nil }
                state.beats += 1
                return state.beats
            }
            guard let number else { return nil }
            return try await self.store.beat(
                self.id, number: number, pipelines: Array(active.keys), at: self.clock.now())
        }
        guard let answer else { return }
        for (id, run) in active {
            if let request = answer.requests[id] {
                // Not between what is asked here being stored and being told.
                self.state.withLock { if $0.active[id]?.asked == run.asked { _ = run.mailbox.post(request.mail) } }
            }
            if !answer.held.contains(id) { run.mailbox.post(.mayBeLost) }
        }
    }

    private func leave() async throws(PipelineError) {
        try await self.inTurn { () async throws(PipelineError) in try await self.store.leave(self.id) }
    }

    /// Keeps heartbeats and leaving apart.
    private func inTurn<Value: Sendable>(
        _ body: () async throws(PipelineError) -> Value
    ) async throws(PipelineError) -> Value {
        do {
            return try await self.life.withTurn { try await body() }
        } catch let error as PipelineError {
            throw error
        } catch {
            throw PipelineError(.storageFailed, "the caller was cancelled", underlying: error)
        }
    }

    /// Looks once after the queue and after runners that died, as a ``RunnerGroup`` does again and again: for tests.
    package func serveOnce() async {
        self.state.withLock { $0.serves = true }
        _ = await self.sweep()
        await self.pruneOld()
    }

    /// Notes that this runner can't go on with a pipeline that the database may still call its own: nobody else would.
    func setAdrift(_ id: UUID, _ adrift: Adrift) {
        self.state.withLock { state in
            var adrift = adrift
            if let known = state.adrift[id] {
                // The later claim counts, and what was asked under it.
                guard known.epoch <= adrift.epoch else { return }
                if known.epoch == adrift.epoch { adrift.request = adrift.request ?? known.request }
            }
            state.adrift[id] = adrift
        }
        self.beginBeating()
    }

    /// Begins to put such pipelines back, beside the heartbeats, which must not wait for anybody's lock.
    private func beginGivingBack() {
        let mustStart = self.state.withLock { state in
            guard !state.isGivingBack, !state.adrift.isEmpty else { return false }
            state.isGivingBack = true
            return true
        }
        guard mustStart else { return }
        self.inBackground {
            await self.giveBackAdrift()
            self.state.withLock { $0.isGivingBack = false }
        }
    }

    /// Puts such pipelines back into the queue, once the database answers again.
    private func giveBackAdrift() async {
        // One that was given back without an answer may be active again.
        let adrift = self.state.withLock { state in state.adrift.filter { state.active[$0.key].map(\.isOver) ?? true } }
        var hasGivenBack = false
        for (id, adrift) in adrift {
            do throws(PipelineError) {
                hasGivenBack = try await self.giveBack(id, adrift) || hasGivenBack
                self.state.withLock { if $0.adrift[id]?.epoch == adrift.epoch { $0.adrift[id] = nil } }
            } catch {
                // The others must not wait for this one.
                self.logger.warning(
                    "a pipeline can't be given back",
                    metadata: [LogKeys.pipeline: "\(id)", LogKeys.error: "\(error)"])
                if error.isTransient { break }
            }
        }
        if hasGivenBack { await self.ring() }
    }

    private func giveBack(_ id: UUID, _ adrift: Adrift) async throws(PipelineError) -> Bool {
        while true {
            guard let stored = try await self.store.load(id), stored.status == .running, stored.owner == self.id,
                stored.epoch == adrift.epoch
            else { return false }
            if let request = adrift.request { try await self.store.ask(request, of: id) }
            let now = self.clock.now()
            var transition = PipelineTransition(expectedRevision: stored.revision)
            transition.status = .queued
            transition.dueAt = stored.place(at: now)
            transition.events = [
                PipelineEvent(.pipelineRecovered, worker: self.id, at: now, detail: PipelineEvent.givenBack)
            ]
            let change = PipelineChange(id: id, epoch: stored.epoch, at: now, transition: transition)
            if try await self.store.apply([change]) != [.stale] { return true }
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
            let now = self.clock.now()
            let survey = try await self.survey(everyOwner: everyOwner, at: now)
            if let nextDue = survey.nextDue { self.wake(at: nextDue) }
            if survey.isDue || self.state.withLock({ $0.lostClaims != nil }) { self.wake(lookingAhead: survey.isDue) }
            for (id, request) in survey.unheard { await self.makeUpFor(request, id) }
            if await self.recover(survey.beats) > 0 { self.wake(lookingAhead: true) }
            suspicion = self.state.withLock { $0.silent.isEmpty } ? nil : self.configuration.leaseDuration
        } catch {
            self.logger.warning("a sweep failed", metadata: [LogKeys.error: "\(error)"])
        }
        return suspicion
    }

    private func makeUpFor(_ request: PipelineRequest, _ id: UUID) async {
        do throws(PipelineError) {
            try await self.carryOut(request, id)
        } catch {
            // The others must not wait for this one, which is left to a later sweep.
            self.logger.warning(
                "what was asked of a pipeline can't be carried out",
                metadata: [LogKeys.pipeline: "\(id)", LogKeys.error: "\(error)"])
        }
    }

    /// Looks at what goes on. Looking for owners that never said anything reads every pipeline: where that takes too long, the
    /// rest must be seen to all the same.
    private func survey(everyOwner: Bool, at now: Date) async throws(PipelineError) -> QueueSurvey {
        do throws(PipelineError) {
            return try await self.store.survey(everyOwner: everyOwner, at: now)
        } catch {
            guard everyOwner else { throw error }
            self.logger.warning(
                "owners that never said anything can't be looked for", metadata: [LogKeys.error: "\(error)"])
            return try await self.store.survey(everyOwner: false, at: now)
        }
    }

    /// Deletes what is older than the retention, a part at a time, so that it keeps up with what comes; what one look doesn't get
    /// to is left for the next.
    func pruneOld() async {
        guard let retention = self.configuration.retention else { return }
        let end = ContinuousClock.now.advanced(by: .seconds(1))
        let time = self.clock.now().addingTimeInterval(-retention.seconds)
        do throws(PipelineError) {
            while try await self.prune(endedBefore: time, limit: 1_000) == 1_000, .now < end {}
        } catch {
            self.logger.warning("what is old can't be deleted", metadata: [LogKeys.error: "\(error)"])
        }
    }

    /// Puts back into the queue what runners had that have said nothing for the duration of a lease, by this process's own
    /// monotonic clock.
    ///
    /// - Returns: How many pipelines that were.
    private func recover(_ beats: [UUID: Int]) async -> Int {
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
            let count: Int
            do throws(PipelineError) {
                count = try await self.store.recover(runner, beats: beats, by: self.id, at: self.clock.now())
            } catch {
                // The others must not wait for this one, which is left to the next sweep.
                self.logger.warning("a dead runner's pipelines can't be had", metadata: [LogKeys.error: "\(error)"])
                continue
            }
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
    /// Who waits for a pipeline here is told ``PipelineError/Code/released``. Calling again with a shorter `drain` shortens it.
    public func shutDown(drain: Duration = .seconds(30)) async {
        let alarm = self.state.withLock { state in
            state.isShutDown = true
            state.serves = false
            for run in state.active.values { run.mailbox.post(.release) }
            return state.alarm.take()
        }
        alarm?.task.cancel()
        let timer = Task(executorPreference: self.clock.executor) {
            do { try await self.clock.sleep(for: drain) } catch { return }
            self.state.withLock { state in
                state.isInterrupted = true
                for run in state.active.values { run.mailbox.post(.interrupt) }
            }
        }
        // What was being claimed or created when this began is released as soon as it is there.
        await self.beginning.wait()
        while let run = self.state.withLock({ $0.active.values.first }) { _ = await run.task.value }
        timer.cancel()
        // After the last heartbeat, whoever has cancelled the caller.
        let leaving = Task(executorPreference: self.clock.executor) {
            try? await self.findLostClaims(mustLook: true)
            await self.giveBackAdrift()
            if let due = self.state.withLock({ $0.released }) {
                await self.callOthers(after: .seconds(due.timeIntervalSince(self.clock.now())))
            }
            _ = try? await self.inTurn { () async throws(PipelineError) in
                self.state.withLock { $0.hasLeft = true }
                try await self.store.leave(self.id)
            }
        }
        await leaving.value
    }
}
