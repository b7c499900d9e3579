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
        let now = self.clock.now()
        let mustStart = self.state.withLock { state in
            guard !state.isBeating else { return false }
            state.isBeating = true
            state.health.beatingSince = now
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
                    self.beginLookingForOwn()
                }
                self.noteHeartbeat(nil)
            } catch {
                self.noteHeartbeat(error)
                // The server that answers next may be another one, without the last commits.
                self.state.withLock { $0.beatsSinceOwnLook = Self.beatsBetweenOwnLooks }
                self.logger.warning("a heartbeat failed", metadata: [LogKeys.error: "\(error)"])
            }
            self.beginGivingBack()
            let mustEnd = self.state.withLock { state in
                guard hasLeft && state.isIdle || state.hasLeft else { return false }
                state.isBeating = false
                state.health.beatingSince = nil
                return true
            }
            if mustEnd { return }
            wasIdle = isIdle
            // What has come since is announced at once.
            if !hasLeft { try? await self.clock.sleep(for: self.configuration.heartbeatInterval) }
        }
    }

    /// The number of heartbeats between two looks for pipelines that the database calls this runner's own.
    private static let beatsBetweenOwnLooks = 12

    /// Begins a look, beside the heartbeats, which it must not hold up.
    private func beginLookingForOwn() {
        let mustStart = self.state.withLock { state in
            state.beatsSinceOwnLook += 1
            // What was found once is looked at again with the next heartbeat.
            let isDue = state.beatsSinceOwnLook > Self.beatsBetweenOwnLooks || !state.foreignOwn.isEmpty
            guard isDue, !state.isLookingForOwn, !state.hasLeft else { return false }
            (state.isLookingForOwn, state.beatsSinceOwnLook) = (true, 0)
            return true
        }
        guard mustStart else { return }
        self.inBackground {
            await self.lookForOwn()
            self.state.withLock { $0.isLookingForOwn = false }
        }
    }

    /// Finds pipelines that the database calls this runner's own and that it doesn't drive, now and then and after each heartbeat that
    /// failed: a failover may have undone their last transition. Nobody else finds them while this runner lives.
    ///
    /// A pipeline that a claim or a creation has taken is not active yet. So one is given back that is found twice, when all that had begun at
    /// the first time has ended.
    private func lookForOwn() async {
        do throws(PipelineError) {
            let claims = try await self.store.claims(of: self.id, includingCreated: true)
            let forgotten = self.state.withLock { state -> [UUID: Int] in
                var found: [UUID: (epoch: Int, lastBeginning: Int)] = [:]
                for (id, epoch) in claims where state.active[id] == nil && state.adrift[id] == nil {
                    let known = state.foreignOwn[id]
                    found[id] = known?.epoch == epoch ? known : (epoch, state.lastBeginning)
                }
                let oldest = state.beginnings.keys.min() ?? .max
                let confirmed = found.filter { id, sight in
                    state.foreignOwn[id] != nil && sight.lastBeginning < oldest
                }
                state.foreignOwn = found.filter { confirmed[$0.key] == nil }
                return confirmed.mapValues(\.epoch)
            }
            for (id, epoch) in forgotten { self.setAdrift(id, Adrift(epoch: epoch, isLostClaim: true)) }
        } catch {
            self.logger.warning("a runner's own pipelines can't be looked for", metadata: [LogKeys.error: "\(error)"])
        }
    }

    private func noteHeartbeat(_ error: PipelineError?) {
        self.refusals.note(error)
        let now = self.clock.now()
        self.state.withLock { state in
            if let error { state.health.noteHeartbeat(error) } else { state.health.noteHeartbeat(at: now) }
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
                self.id, number: number, pipelines: Array(active.keys),
                isStopping: self.state.withLock { $0.isShutDown }, at: self.clock.now())
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
        self.noteServing()
        self.state.withLock { $0.strandedLook = nil }
        _ = await self.sweep()
        await self.pruneOld()
    }

    /// Notes that this runner can't go on with a pipeline that the database may still call its own: nobody else would.
    func setAdrift(_ id: UUID, _ adrift: Adrift) {
        self.state.withLock { state in
            var adrift = adrift
            if let known = state.adrift[id] {
                // The later claim counts, and what was asked under it; a cancel counts under whatever claim it was told.
                let isCancelled = known.request == .cancel || adrift.request == .cancel
                guard known.epoch <= adrift.epoch else {
                    if isCancelled { state.adrift[id]?.request = .cancel }
                    return
                }
                if isCancelled { adrift.request = .cancel }
                if known.epoch == adrift.epoch {
                    adrift.request = adrift.request ?? known.request
                    adrift.isLostClaim = adrift.isLostClaim && known.isLostClaim
                }
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
    ///
    /// - Parameter end: When to leave the rest to others; locks may be on all of it.
    private func giveBackAdrift(until end: ContinuousClock.Instant? = nil) async {
        let adrift = self.state.withLock { $0.adrift }
        var (hasGivenBack, isForOthers) = (false, false)
        // Each time in another order, so that what can't be had holds up nothing for ever.
        for (id, adrift) in adrift.shuffled() {
            if let end, self.clock.instant() >= end { break }
            // One that was given back without an answer may be active again.
            let isActive = self.state.withLock { $0.active[id].map { !$0.isOver } ?? false }
            if isActive, adrift.request != .cancel { continue }
            do throws(PipelineError) {
                switch try await isActive ? .isAnothers : self.giveBack(id, adrift) {
                case .isBack(let stored):
                    hasGivenBack = true
                    isForOthers = isForOthers || (try? self.workflow(of: stored)) == nil
                case .mayBeClaimed, .isDriven: continue
                case .isAnothers:
                    if !isActive, try await self.mayStillCome(id, adrift) { continue }
                    // Whoever has it now is told. Nothing else that a run was asked is stored nowhere.
                    if adrift.request == .cancel { try await self.cancelIfThere(id) }
                }
                self.state.withLock { if $0.adrift[id]?.epoch == adrift.epoch { $0.adrift[id] = nil } }
            } catch {
                // The others must not wait for this one.
                self.logger.warning(
                    "a pipeline can't be given back",
                    metadata: [LogKeys.pipeline: "\(id)", LogKeys.error: "\(error)"])
                if error.isAway { break }
            }
        }
        if hasGivenBack { await self.ring() }
        // This runner may serve the queue, and not know the version.
        if isForOthers { await self.callOthers() }
    }

    /// True when a claim has taken a pipeline again, or may be just about to.
    private func isBegunAnew(_ id: UUID) -> Bool {
        self.state.withLock { state in
            state.beginnings.values.contains(true) || state.active[id].map { !$0.isOver } ?? false
        }
    }

    private func cancelIfThere(_ id: UUID) async throws(PipelineError) {
        do throws(PipelineError) {
            try await self.cancel(id)
        } catch {
            guard error.code == .pipelineNotFound else { throw error }
        }
    }

    /// True when a pipeline isn't there whose creation may still be committed, or was just now. Nobody else would find it: its owner
    /// lives.
    private func mayStillCome(_ id: UUID, _ adrift: Adrift) async throws(PipelineError) -> Bool {
        guard let end = adrift.mayComeUntil, self.clock.instant() < end else { return false }
        guard let status = try await self.store.status(of: id) else { return true }
        return status == .running
    }

    /// The outcome of a give-back.
    private enum GiveBack {
        /// It is in the queue; the pipeline as it was.
        case isBack(StoredPipeline)
        /// A claim under way, or done meanwhile, may have taken it under the same number: nothing was done yet.
        case mayBeClaimed
        /// This runner drives it: it serves no queue, and perhaps nobody does.
        case isDriven
        /// It is not this runner's under the claim in question, or it was set aside.
        case isAnothers
    }

    /// Puts a pipeline back into the queue, or sets one aside that can't be read.
    private func giveBack(_ id: UUID, _ adrift: Adrift) async throws(PipelineError) -> GiveBack {
        while true {
            let stored: StoredPipeline?
            do throws(PipelineError) {
                stored = try await self.store.load(id)
            } catch {
                guard !error.isTransient, let standing = try await self.store.standing(of: id) else { throw error }
                try await self.setAside(id, standing, adrift, error)
                return .isAnothers
            }
            guard let stored, stored.status == .running, stored.owner == self.id, stored.epoch == adrift.epoch else {
                return .isAnothers
            }
            if self.isBegunAnew(id) { return .mayBeClaimed }
            if adrift.isLostClaim, await self.driveHere(stored, adrift) { return .isDriven }
            if let request = adrift.request { try await self.store.ask(request, of: id) }
            let now = self.clock.now()
            let pause = adrift.isLostClaim ? 0 : self.pause(beforeRequeuing: stored)
            var transition = PipelineTransition(
                of: stored, to: .queued, dueAt: stored.place(at: now).addingTimeInterval(pause))
            transition.events = [
                PipelineEvent(
                    .pipelineRecovered, worker: self.id, at: now,
                    reason: adrift.isLostClaim ? .claimLost : .givenBack,
                    detail: adrift.isLostClaim ? PipelineEvent.claimLost : PipelineEvent.givenBack)
            ]
            if try await self.apply(transition, to: stored, at: now) { return .isBack(stored) }
        }
    }

    /// Drives what this runner has created without learning of it, and of which nothing has begun, where it serves no queue: whoever
    /// waits for that, by its key, would wait for ever.
    private func driveHere(_ stored: StoredPipeline, _ adrift: Adrift) async -> Bool {
        // A shutdown waits for what is beginning only if it has begun before.
        self.beginning.begin()
        defer { self.beginning.end() }
        guard stored.revision == 1, !self.state.withLock({ $0.serves || $0.isShutDown }),
            let workflow = try? self.workflow(of: stored)
        else { return false }
        var stored = stored
        stored.request = adrift.request ?? stored.request
        if let parent = stored.parent, await self.hasEnded(parent) { stored.request = .cancel }
        // Before it is driven, which may come to nothing again.
        self.state.withLock { if $0.adrift[stored.id]?.epoch == adrift.epoch { $0.adrift[stored.id] = nil } }
        self.launch(stored, workflow, fromQueue: false, mayBeLost: true)
        return true
    }

    /// How many seconds a pipeline waits that is given back again and again without a line about a task in between: twice as
    /// long each time, up to five minutes.
    private func pause(beforeRequeuing stored: StoredPipeline) -> Double {
        var again = 0
        for event in stored.events.reversed() {
            if event.kind == .pipelineRecovered, event.reason == .givenBack { again += 1 }
            if event.task != nil || again > 10 { break }
        }
        guard again > 0 else { return 0 }
        let waited = max(0, self.clock.now().timeIntervalSince(stored.place(at: self.clock.now())))
        return waited + min(300, self.configuration.heartbeatInterval.seconds * Double(1 << min(again - 1, 10)))
    }

    /// Pauses a pipeline of this runner's whose history can't be read; nobody could go on with it.
    private func setAside(
        _ id: UUID, _ standing: PipelineStanding, _ adrift: Adrift, _ error: PipelineError
    ) async throws(PipelineError) {
        guard standing.status == .running, standing.owner == self.id, standing.epoch == adrift.epoch else { return }
        let claim = QueueClaim(runner: self.id, workflows: [:], limit: 0, at: self.clock.now())
        let change = PipelineChange(
            puttingAside: id, revision: standing.revision, epoch: standing.epoch, for: claim, error)
        _ = try await self.store.apply([change])
    }

    /// Looks after the queue and after runners that died. What is slow is done now and then only.
    ///
    /// - Returns: After what time to come again, if other runners are known; nil too when somebody comes again already.
    func sweep() async -> Duration? {
        let everyOwner = self.state.withLock { state in
            state.sweeps += 1
            return state.sweeps % 4 == 1 || state.mustLookForOwners || state.detector.knowsSilentOwners
        }
        do throws(PipelineError) {
            let survey = try await self.survey(everyOwner: everyOwner, at: self.clock.now())
            let now = self.clock.now()
            self.state.withLock { state in
                state.health.noteSweep(at: now)
                if everyOwner { state.mustLookForOwners = false }
            }
            if let nextDue = survey.nextDue { self.wake(at: nextDue) }
            if survey.isDue || self.state.withLock({ $0.lostClaims != nil }) { self.wake(lookingAhead: survey.isDue) }
            let beats = survey.beats.filter { $0.key != self.id }
            // Known as an owner that never said anything: what a runner that does nothing just now has by the database alone.
            if survey.beats[self.id] == 0 { await self.lookForOwn() }
            let instant = self.clock.instant()
            var verdict = self.state.withLock { $0.detector.look(beats, at: instant) }
            if verdict.needsProof, await !self.proveWritable() { verdict.dead = [] }
            let end = instant.advanced(by: Self.timeForOthers)
            if await self.recover(verdict.dead, until: end) > 0 { self.wake(lookingAhead: true) }
            await self.makeUpFor(survey.unheard, until: end)
            // An idle tenant costs one look at its queue in four; what only newer versions can read is no part of the survey.
            if survey.isDue || everyOwner || self.state.withLock({ $0.strandings.count > 0 }) {
                await self.lookForStranded()
            }
            return verdict.nextLook
        } catch {
            self.state.withLock { $0.detector.lookFailed() }
            // An orderly stop is nothing to warn of.
            guard !Task.isCancelled else { return nil }
            self.state.withLock { $0.health.noteSweep(error) }
            self.logger.warning("a sweep failed", metadata: [LogKeys.error: "\(error)"])
            return nil
        }
    }

    /// Finds out if something can be written just now: where nothing can, no runner beats.
    private func proveWritable() async -> Bool {
        do throws(PipelineError) {
            try await self.store.checkWritable()
        } catch {
            if !Task.isCancelled {
                self.logger.warning("heartbeats can't be written", metadata: [LogKeys.error: "\(error)"])
            }
            self.state.withLock { $0.detector.noteWrite(succeeded: false, at: self.clock.instant()) }
            return false
        }
        self.state.withLock { $0.detector.noteWrite(succeeded: true, at: self.clock.instant()) }
        return true
    }

    /// Looks again and again as long as other runners are known, until cancelled: so a dead one is noticed before the next round.
    func watch(after pause: Duration) async {
        let isFirst = self.state.withLock { state in
            defer { state.isWatching = true }
            return !state.isWatching
        }
        guard isFirst else { return }
        var next: Duration? = pause
        while let pause = next, !Task.isCancelled {
            try? await Task.sleep(for: pause)
            guard !Task.isCancelled, !self.state.withLock({ $0.isShutDown }) else { break }
            next = await self.sweep()
        }
        self.state.withLock { $0.isWatching = false }
    }

    /// How long one sweep sees to what others left, one thing after the other: somebody may hold locks on all of it, and the other
    /// tenants wait. What is under way then is done still; the rest is left to later sweeps.
    private static let timeForOthers: Duration = .seconds(2)

    private func makeUpFor(_ unheard: [UUID: PipelineRequest], until end: ContinuousClock.Instant) async {
        // Each time in another order, so that what can't be had holds up nothing for ever.
        for (id, request) in unheard.shuffled() {
            guard self.clock.instant() < end else { return }
            await self.makeUpFor(request, id)
        }
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
            guard everyOwner, !Task.isCancelled else { throw error }
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
            guard !Task.isCancelled else { return }
            self.logger.warning("what is old can't be deleted", metadata: [LogKeys.error: "\(error)"])
        }
    }

    /// Requeues the pipelines of runners that died; returns how many.
    private func recover(
        _ dead: [(runner: UUID, heartbeat: Int)], until end: ContinuousClock.Instant
    ) async -> Int {
        guard !dead.isEmpty else { return 0 }
        var recovered = 0
        // Each time from another one on, so that one that can't be had holds up no other for ever.
        let first = self.state.withLock { ($0.sweeps - 1) % dead.count }
        for (runner, heartbeat) in (dead[first...] + dead[..<first]).prefix(Self.recoveriesPerSweep) {
            guard self.clock.instant() < end else { break }
            let count: Int
            do throws(PipelineError) {
                count = try await self.store.recover(runner, beats: heartbeat, by: self.id, at: self.clock.now())
            } catch {
                // The others must not wait for this one, which is left to the next sweep.
                self.logger.warning("a dead runner's pipelines can't be had", metadata: [LogKeys.error: "\(error)"])
                if error.isAway || error.isReadOnly {
                    self.state.withLock { $0.detector.noteWrite(succeeded: false, at: self.clock.instant()) }
                    break
                }
                continue
            }
            self.state.withLock { state in
                state.detector.forget(runner)
                // Rows that somebody had locked are left, and their owner is known no longer.
                state.mustLookForOwners = true
            }
            recovered += count
            if count > 0 {
                self.metrics.noteRecovered(count)
                self.logger.warning(
                    "took over the pipelines of a runner that died", metadata: [LogKeys.recovered: "\(count)"])
            }
        }
        return recovered
    }

    /// The number of runners that one sweep takes for dead: each is a statement, and the other tenants wait.
    private static let recoveriesPerSweep = 64

    // MARK: Shutdown

    /// The time that a shutdown has for what is adrift, one after the other.
    static let timeToGiveBack: Duration = .seconds(4)

    /// Ends the runner in good order: nothing new begins; what runs has `drain` to come to an end, is then cancelled, and
    /// after the time of grace given up. Pipelines that have not ended go back into the queue for other runners.
    ///
    /// With the default and ``RunnerConfiguration/cancellationGrace`` that is 25 s: less than the 30 s after which most supervisors
    /// kill a process. That it is stopping is said at once, so that a kill after that is no death that is held against a task.
    ///
    /// Who waits for a pipeline here is told ``PipelineError/Code/released``. Calling again with a shorter `drain` shortens it.
    public func shutDown(drain: Duration = .seconds(15)) async {
        let alarm = self.state.withLock { state in
            state.isShutDown = true
            state.serves = false
            (state.health.servingSince, state.health.listener) = (nil, nil)
            for run in state.active.values { run.mailbox.post(.release) }
            return state.alarm.take()
        }
        alarm?.task.cancel()
        let active = self.state.withLock { $0.active.filter { !$0.value.isOver } }
        if !active.isEmpty { self.inBackground { try? await self.beat(for: active) } }
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
            await self.giveBackAdrift(until: self.clock.instant().advanced(by: Self.timeToGiveBack))
            if let due = self.state.withLock({ $0.released }) {
                await self.callOthers(after: .clamped(seconds: due.timeIntervalSince(self.clock.now())))
            }
            _ = try? await self.inTurn { () async throws(PipelineError) in
                self.state.withLock { $0.hasLeft = true }
                try await self.store.leave(self.id)
            }
        }
        await leaving.value
        self.state.withLock { $0.strandings.forgetAll() }
        self.reportStranded()
        self.bodies?.retire()
    }
}
