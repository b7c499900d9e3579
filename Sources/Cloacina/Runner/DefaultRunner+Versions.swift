import CloacinaWorkflow
public import FoundationEssentials
import Logging
import Synchronization

/// Pipelines that have begun with a version that no runner has, and their ways out.
extension DefaultRunner {
    /// Pipelines that are due and that this runner can't take, the most urgent first: their workflow, or the version they have
    /// begun with, is unknown to it. Another runner may have it.
    ///
    /// The ways out are a runner that has the version (``registerEarlier(_:)``), ``continueWithCurrentVersion(_:)``, ``cancel(_:)``
    /// and ``restart(_:)``. At most 1,000 pipelines of each of 100 workflows and versions are looked at.
    ///
    /// - Parameter limit: How many at most: 100. No more than 1,000.
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/storageFailed``.
    public func stranded(limit: Int = 100) async throws(PipelineError) -> [StrandedPipeline] {
        let now = self.clock.now()
        return try await self.store.stranded(self.capabilities(at: now), dueBefore: now, limit: limit)
    }

    /// Has a pipeline go on with the version of its workflow that this runner begins new ones with.
    ///
    /// Its whole history is replayed against that version first. What has ended stays as it is; what has not runs as the current
    /// version says. A queued pipeline is begun by the next runner that is free, a paused one stays paused. Does nothing when it has
    /// that version already.
    ///
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/versionMismatch`` when the history doesn't fit, which names the first
    ///   line that doesn't; ``PipelineError/Code/notPossible`` when the pipeline runs or has ended;
    ///   ``PipelineError/Code/pipelineNotFound``, ``PipelineError/Code/workflowNotFound`` or ``PipelineError/Code/storageFailed``.
    public func continueWithCurrentVersion(_ id: UUID) async throws(PipelineError) {
        while true {
            let stored = try await self.load(id)
            switch stored.status {
            case .queued, .paused: break
            case .running:
                throw PipelineError(
                    .notPossible, "the pipeline \(id) runs; call pause(_:) first, and resume(_:) after that")
            case .completed, .failed, .cancelled, .unknown:
                throw PipelineError(.notPossible, "the pipeline \(id) has ended: \(stored.status)")
            }
            guard try self.registered(stored.workflow).version != stored.version else { return }
            if try await self.continueWithCurrentVersion(stored) { return }
        }
    }

    /// Begins a pipeline's workflow anew, with its input, priority and timeout, as another pipeline of the queue; what the first one
    /// did is done again.
    ///
    /// One that waits or is paused is cancelled first, unless a runner claims it meanwhile: then it runs. When it has an idempotency key, the new one has that from then on. Each call
    /// begins another pipeline.
    ///
    /// - Returns: The new pipeline.
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/notPossible`` when the pipeline runs, has completed, or is a task's child,
    ///   which its parent's task begins; ``PipelineError/Code/pipelineNotFound``, ``PipelineError/Code/workflowNotFound`` or
    ///   ``PipelineError/Code/storageFailed``.
    @discardableResult
    public func restart(_ id: UUID) async throws(PipelineError) -> PipelineExecution {
        while true {
            guard let stored = try await self.store.row(of: id) else { throw Self.notFound(id) }
            _ = try self.registered(stored.workflow)
            guard stored.parent == nil else {
                throw PipelineError(
                    .notPossible,
                    "the pipeline \(id) is a part of a task, which begins it anew when it is run again itself")
            }
            switch stored.status {
            case .failed, .cancelled: break
            case .queued, .paused:
                // A runner that claims it meanwhile goes on with it.
                _ = try await self.cancelUnclaimed(id)
                continue
            case .running:
                throw PipelineError(.notPossible, "the pipeline \(id) runs; call cancel(_:) first")
            case .completed, .unknown:
                throw PipelineError(
                    .notPossible,
                    "the pipeline \(id) is \(stored.status); call enqueue(_:context:options:) for another one")
            }
            return try await self.enqueue(
                stored.workflow, context: stored.input,
                options: ExecutionOptions(
                    idempotencyKey: stored.idempotencyKey, keyReuse: .afterFailure, priority: stored.priority,
                    timeout: stored.timeout))
        }
    }

    /// Stores that a pipeline goes on with the current version.
    ///
    /// - Returns: False when it has changed since it was read.
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/versionMismatch`` when its history doesn't fit.
    func continueWithCurrentVersion(_ stored: StoredPipeline) async throws(PipelineError) -> Bool {
        let now = self.clock.now()
        let current = try self.registered(stored.workflow)
        if let misfit = self.misfit(of: stored, with: current.workflow, at: now) {
            throw PipelineError(
                .versionMismatch,
                "the pipeline \(stored.id) can't go on with version \(current.version) of \"\(stored.workflow)\": \(misfit). It "
                    + "has begun with version \(stored.version): register that with registerEarlier(_:), or call cancel(_:) or "
                    + "restart(_:)")
        }
        var transition = PipelineTransition(of: stored, to: stored.status, dueAt: stored.dueAt)
        transition.keepsDueAt = true
        transition.version = current.version
        transition.events = [
            PipelineEvent(
                .pipelineContinued, worker: self.id, at: now, reason: .left(version: stored.version),
                detail: "with version \(current.version) instead of \(stored.version)")
        ]
        guard try await self.apply(transition, to: stored, at: now) else { return false }
        if stored.status == .queued { await self.ring() }
        return true
    }

    /// The first line of a history that a workflow doesn't explain, in words; nil when it explains all.
    private func misfit(of stored: StoredPipeline, with workflow: Workflow, at now: Date) -> String? {
        var machine = PipelineStateMachine(
            workflow: workflow, input: Context(stored.input, byteLimit: .max), worker: self.id, resuming: stored,
            maximumRecoveries: .max, at: now)
        let history = stored.history
        var misfit = machine.misfit
        if misfit == nil, let skip = machine.contradictedSkip() {
            let line = history.firstIndex { $0.kind == .taskSkipped && $0.task == skip.task }
            misfit = (
                line ?? history.endIndex, "\"\(skip.task)\" would not have been skipped by this version: \(skip.reason)"
            )
        }
        guard let misfit else { return nil }
        guard history.indices.contains(misfit.line) else { return misfit.reason }
        let line = history[misfit.line]
        let task = line.task.map { " of \"\($0)\"" } ?? ""
        return "line \(misfit.line + 1) of its history (\(line.kind.rawValue)\(task)) does not fit: \(misfit.reason)"
    }

    /// The workflows and versions that this runner claims.
    func capabilities(at now: Date) -> QueueClaim {
        var claim = self.state.withLock { state in
            if let known = state.capabilities { return known }
            let claim = QueueClaim(
                runner: self.id, workflows: state.workflows.mapValues(\.version),
                earlier: state.earlier.mapValues { Set($0.map(\.version)) }, limit: 0, at: now)
            state.capabilities = claim
            return claim
        }
        claim.at = now
        return claim
    }

    /// Looks at a part of what is due and nobody takes; has it go on with the current version where the policy allows that and its
    /// history fits, and reports the rest. The next look goes on behind it, once nothing of it can go on any more.
    func lookForStranded() async {
        let (instant, interval) = (self.clock.instant(), self.configuration.sweepInterval)
        let isTime = self.state.withLock { state in
            if let last = state.strandedLook, last.duration(to: instant) < interval { return false }
            state.strandedLook = instant
            return true
        }
        guard isTime else { return }
        do throws(PipelineError) {
            let now = self.clock.now()
            let page = try await self.store.strandedPage(
                self.capabilities(at: now), dueBefore: now, after: self.state.withLock { $0.strandings.place },
                limit: StoredLimits.surveyRows)
            let stranded = self.state.withLock { $0.strandings.look(page) }
            let (continued, isDone) = try await self.continueStranded(page.pipelines, stranded)
            if isDone { self.state.withLock { $0.strandings.moveOn() } }
            if continued > 0 { self.wake(lookingAhead: true) }
        } catch {
            self.logger.warning(
                "stranded pipelines can't be looked for", metadata: [LogKeys.error: "\(error)"])
        }
        self.reportStranded()
    }

    /// Has those go on whose version was declared compatible, and those that are stranded, where the policy allows that.
    ///
    /// - Returns: How many go on, and whether nothing is left that may go on with this sweep or the next.
    private func continueStranded(
        _ found: [StrandedPipeline], _ stranded: [StrandedPipeline]
    ) async throws(PipelineError) -> (continued: Int, isDone: Bool) {
        let ids = Set(stranded.map(\.id))
        let end = self.clock.instant().advanced(by: Self.timePerSweep)
        // Whoever is found for the first time may be taken by another runner yet.
        var (continued, isDone) = (0, found.allSatisfy { $0.reason != .unknownVersion || ids.contains($0.id) })
        for pipeline in found where pipeline.reason == .unknownVersion {
            let (isDeclared, isTried) = self.state.withLock { state in
                (
                    state.compatible[pipeline.workflow]?.contains(pipeline.version) ?? false,
                    state.strandings.misfit(of: pipeline.id) != nil
                )
            }
            let mayGoOn =
                isDeclared
                || ids.contains(pipeline.id) && self.configuration.versionPolicy == .continueWhenHistoryFits
            guard mayGoOn, !isTried else { continue }
            guard continued < Self.continuationsPerSweep, self.clock.instant() < end else {
                isDone = false
                break
            }
            do throws(PipelineError) {
                guard let stored = try await self.store.load(pipeline.id), stored.status == .queued,
                    stored.version == pipeline.version
                else { continue }
                // Two versions that live side by side, each too busy, would take it from each other for ever.
                let left = PipelineEvent.Reason.left(version: try self.registered(stored.workflow).version)
                guard isDeclared || !stored.events.contains(where: { $0.reason == left }) else { continue }
                if try await self.continueWithCurrentVersion(stored) {
                    self.state.withLock { $0.strandings.forget(pipeline.id) }
                    continued += 1
                }
            } catch {
                if error.isAway { throw error }
                // What is locked, or takes too long just now, is tried with a later look, and holds up no other.
                guard !error.isTransient else {
                    isDone = false
                    continue
                }
                // Its history doesn't fit, or can't be read; that is the same with the next look.
                self.state.withLock { $0.strandings.note(misfit: error.message, of: pipeline.id) }
                self.logger.warning(
                    "a pipeline can't go on with the current version",
                    metadata: [LogKeys.pipeline: "\(pipeline.id)", LogKeys.error: "\(error.message)"])
            }
        }
        return (continued, isDone)
    }

    /// How many pipelines one sweep has go on: each is read whole, and the other tenants wait.
    private static let continuationsPerSweep = 200
    /// How long one sweep has pipelines go on: their histories may be long.
    private static let timePerSweep: Duration = .seconds(2)

    /// Counts what is stranded, and says so once as long as it stays the same.
    func reportStranded() {
        let (change, count) = self.state.withLock { state in
            let count = state.strandings.count
            state.stranded = count
            return (state.strandings.report(), count)
        }
        guard let change else { return }
        self.metrics.noteStranded(change)
        guard count > 0 else { return }
        self.logger.warning(
            "pipelines wait that no runner takes: see stranded(limit:); register their version with registerEarlier(_:), or call continueWithCurrentVersion(_:), restart(_:) or cancel(_:)",
            metadata: [LogKeys.stranded: "\(count)"])
    }

    /// Ends the wait for a child that no runner takes.
    ///
    /// - Parameter looks: How many sweep intervals the child has stood in the queue.
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/stranded``.
    func checkChild(_ id: UUID, afterLooks looks: Int) async throws(PipelineError) {
        guard let stored = try await self.store.load(id), stored.status == .queued, stored.startedAt != nil,
            (try? self.workflow(of: stored)) == nil
        else { return }
        var reason = "this runner does not have that version"
        if self.configuration.versionPolicy == .continueWhenHistoryFits {
            do throws(PipelineError) {
                _ = try await self.continueWithCurrentVersion(stored)
                return
            } catch {
                if error.isTransient { throw error }
                reason = error.message
            }
        }
        guard looks >= Self.looksAtChildren else { return }
        throw PipelineError(
            .stranded,
            "the child \(id) of \"\(stored.workflow)\" has begun with version \(stored.version) and waits in the queue for a runner "
                + "that has it: \(reason)")
    }

    /// After how many sweep intervals a child that no runner takes ends its parent's wait.
    private static let looksAtChildren = 5
}
