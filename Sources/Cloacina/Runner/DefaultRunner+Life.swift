import CloacinaPostgres
import CloacinaWorkflow
import FoundationEssentials
import Logging
import Synchronization

/// That a runner lives, what it does for runners that don't, and its end.
extension DefaultRunner {
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
