import CloacinaWorkflow
public import FoundationEssentials
import Logging
import Synchronization

/// What can be asked of pipelines, wherever they run.
extension DefaultRunner {
    /// Where a pipeline stands.
    ///
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/pipelineNotFound`` or ``PipelineError/Code/storageFailed``.
    public func status(of id: UUID) async throws(PipelineError) -> PipelineStatus {
        guard let status = try await self.store.status(of: id) else { throw Self.notFound(id) }
        return status
    }

    /// A pipeline's history.
    ///
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/pipelineNotFound`` or ``PipelineError/Code/storageFailed``.
    public func history(of id: UUID) async throws(PipelineError) -> [PipelineEvent] { try await self.load(id).history }

    /// The tenant's pipelines, the newest first, a page at a time.
    ///
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/storageFailed``.
    public func list(_ query: PipelineQuery = PipelineQuery()) async throws(PipelineError) -> [PipelineSummary] {
        try await self.store.list(query)
    }

    /// The events of all of the tenant's pipelines, a page at a time: those of the newest pipelines first, and of each pipeline
    /// the latest first.
    ///
    /// Pipelines are in the order of their ids, which begin with the time of creation, and not of their events' times: what
    /// happens to an old pipeline comes after all that happened to younger ones. Completions that a task committed itself are
    /// among them once a transition has folded them in; ``history(of:)`` has them at once.
    ///
    /// A page that begins ``EventQuery/after`` the last event of the one before repeats nothing and leaves out nothing that was
    /// there when the first one was read, unless it was deleted meanwhile. What is written meanwhile is in the pages that follow
    /// only where it comes later in this order.
    ///
    /// The events' primary key is walked backwards, so a page costs what it holds, however many events there are. With
    /// ``EventQuery/kinds`` or ``EventQuery/task`` all is read that lies between those that are asked for: for a rare kind, or one
    /// that isn't there, as much as all events, or all of ``EventQuery/pipeline``.
    ///
    /// An event that can't be read is one of the kind ``PipelineEvent/Kind/unreadable``, and one that a newer version of this library
    /// wrote is told as it is. A pipeline that is unknown has no events.
    ///
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/storageFailed``.
    public func events(_ query: EventQuery = EventQuery()) async throws(PipelineError) -> [RecordedEvent] {
        try await self.store.events(query)
    }

    /// What came of a pipeline so far, without waiting.
    ///
    /// A pipeline that has ended is read as it was stored, whichever build ran it. Of one that has not, only a runner that has its
    /// workflow in its version can say what its tasks hand on.
    ///
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/pipelineNotFound`` or ``PipelineError/Code/storageFailed``; of a pipeline
    ///   that has not ended, ``PipelineError/Code/workflowNotFound`` when this runner doesn't know the workflow, and
    ///   ``PipelineError/Code/versionMismatch`` when it has not the version that the pipeline is pinned to. ``history(of:)``
    ///   needs neither.
    public func snapshot(of id: UUID) async throws(PipelineError) -> PipelineResult {
        try self.result(of: try await self.load(id))
    }

    /// Waits for a pipeline's end, wherever it runs, and says what came of it.
    ///
    /// - Throws: ``PipelineError`` as ``snapshot(of:)``, and with ``PipelineError/Code/cancelled`` when the caller is
    ///   cancelled; the pipeline goes on.
    public func result(of id: UUID) async throws(PipelineError) -> PipelineResult {
        try await self.result(of: id, notingIn: LimitedWait())
    }

    /// Waits for a pipeline's end, wherever it runs, but not for longer than a while, and says what came of it.
    ///
    /// - Parameter limit: How long to wait, as the runner's monotonic clock goes. With zero or less, the pipeline is looked at
    ///   once; with more than a hundred years, for a hundred years.
    /// - Throws: ``PipelineError`` as ``result(of:)``, and with ``PipelineError/Code/deadlineExceeded`` when the time is over; the
    ///   pipeline goes on, and the message says where it stood when it was seen last. What the database takes to answer counts.
    public func result(of id: UUID, within limit: Duration) async throws(PipelineError) -> PipelineResult {
        let limit = LimitedWait.clamped(limit)
        let wait = LimitedWait()
        guard limit > .zero else {
            let stored: StoredPipeline
            do throws(PipelineError) {
                stored = try await self.load(id)
            } catch {
                guard Task.isCancelled else { throw error }
                throw Self.waitCancelled(error)
            }
            guard !stored.status.isTerminal else { return try self.result(of: stored) }
            wait.note(stored.status)
            throw wait.overdue(id, after: limit)
        }
        // It ends with this call; a task of its own because the time's end must cancel it and nothing else.
        let waiting = Task(executorPreference: self.clock.executor) {
            () async -> Result<PipelineResult, PipelineError> in
            do throws(PipelineError) {
                return .success(try await self.result(of: id, notingIn: wait))
            } catch {
                return .failure(error)
            }
        }
        let timer = Task.detached(executorPreference: self.clock.executor) {
            do { try await self.clock.sleep(for: limit) } catch { return }
            wait.end()
            waiting.cancel()
        }
        defer { timer.cancel() }
        let result = await withTaskCancellationHandler {
            await waiting.value
        } onCancel: {
            waiting.cancel()
        }
        if case .failure(let error) = result, error.code == .cancelled, wait.isOver, !Task.isCancelled {
            throw wait.overdue(id, after: limit)
        }
        return try result.get()
    }

    /// Waits for a pipeline's end; for that of a task's child only as long as some runner may take it.
    func result(
        of id: UUID, notingIn wait: LimitedWait = LimitedWait(), asChild: Bool = false
    ) async throws(PipelineError) -> PipelineResult {
        var queued: (since: Date, looks: Int)?
        var pause = Duration.milliseconds(5)
        var known: PipelineStatus?
        while true {
            if let active = self.state.withLock({ $0.active[id] }) {
                if !active.isOver { wait.note(.running) }
                let end = await self.lendingSlot { await self.end(of: active) }
                if case .ended(let result) = end { return result }
                if case .broken(let error) = end, error.code == .pipelineVanished { throw error }
            }
            do throws(PipelineError) {
                let last = known
                let changed = try await self.means.patiently { () throws(PipelineError) -> StoredPipeline? in
                    // The history may be long, and this is asked again and again.
                    try await self.status(of: id) == last ? nil : try await self.load(id)
                }
                if let changed, changed.status.isTerminal { return try self.result(of: changed) }
                known = changed?.status ?? known
                if let known { wait.note(known) }
                if asChild, known == .queued {
                    let now = self.clock.now()
                    var look = queued ?? (since: now, looks: 0)
                    if now.timeIntervalSince(look.since) >= self.configuration.sweepInterval.seconds {
                        look = (now, look.looks + 1)
                        try await self.checkChild(id, afterLooks: look.looks)
                    }
                    queued = look
                } else {
                    queued = nil
                }
            } catch {
                guard Task.isCancelled else { throw error }
                throw Self.waitCancelled(error)
            }
            if Task.isCancelled { throw Self.waitCancelled() }
            if self.state.withLock({ $0.isShutDown }) {
                throw PipelineError(.released, "the runner was shut down; another one goes on with the pipeline")
            }
            let waited = await self.lendingSlot { () async -> Bool in
                do { try await self.clock.sleep(for: pause) } catch { return false }
                return true
            }
            guard waited else { throw Self.waitCancelled() }
            pause = min(pause * 2, .milliseconds(500))
        }
    }

    private static func waitCancelled(_ error: PipelineError? = nil) -> PipelineError {
        PipelineError(.cancelled, "the caller was cancelled; the pipeline goes on", underlying: error)
    }

    /// Waits for the end of a pipeline that runs here; nil when the caller is cancelled.
    private func end(of active: Active) async -> RunEnd? {
        let (ends, sink) = AsyncStream.makeStream(of: RunEnd.self)
        // Ends with the pipeline, whether anybody still waits or not.
        Task(executorPreference: self.clock.executor) {
            sink.yield(await active.task.value)
            sink.finish()
        }
        for await end in ends { return end }
        return nil
    }

    /// Cancels a pipeline: what has not begun never will, what runs is cancelled, and after a time of grace not waited for.
    ///
    /// Returns once that is decided and stored, or the runner that has the pipeline has been told; it looks with its next
    /// write, and at the latest with its next heartbeat. Cancelling a pipeline that has ended changes nothing. A waiting
    /// pipeline of a workflow or version that this runner doesn't know is cancelled too, without a line for each task.
    ///
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/pipelineNotFound`` or ``PipelineError/Code/storageFailed``.
    public func cancel(_ id: UUID) async throws(PipelineError) {
        try await self.change(id, request: .cancel)
    }

    /// Pauses a pipeline: what runs goes on to its end, nothing new begins.
    ///
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/pipelineNotFound``, ``PipelineError/Code/notPossible`` when it
    ///   has ended, or ``PipelineError/Code/storageFailed``.
    public func pause(_ id: UUID) async throws(PipelineError) {
        try await self.change(id, request: .pause)
    }

    /// Puts a paused pipeline back into the queue, and begins it if a runner serves that. One that was asked to pause, and has
    /// something running still, goes on; on any other that has not ended, does nothing.
    ///
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/pipelineNotFound``, ``PipelineError/Code/notPossible`` when it
    ///   has ended, or ``PipelineError/Code/storageFailed``.
    public func resume(_ id: UUID) async throws(PipelineError) {
        while true {
            let stored = try await self.load(id)
            guard !stored.status.isTerminal else {
                throw PipelineError(.notPossible, "the pipeline has ended: \(stored.status)")
            }
            if stored.status == .running {
                try await self.tell(.resume, id)
                guard try await self.load(id).status == .paused else { return }
                continue
            }
            if try await self.goOn(stored) { return }
        }
    }

    /// Puts a pipeline back into the queue if it stands still.
    ///
    /// - Returns: Whether it goes on; false when it has changed since it was read.
    private func goOn(_ stored: StoredPipeline) async throws(PipelineError) -> Bool {
        guard stored.status == .paused else { return true }
        let now = self.clock.now()
        var transition = PipelineTransition(of: stored, to: .queued, dueAt: stored.place(at: now))
        transition.keepsDueAt = transition.dueAt == stored.events.first?.dueAt
        transition.events = [PipelineEvent(.pipelineResumed, worker: self.id, at: now)]
        guard try await self.apply(transition, to: stored, at: now) else { return false }
        await self.ring()
        // This runner may serve the queue, and not know the version.
        if (try? self.workflow(of: stored)) == nil { await self.callOthers() }
        return true
    }

    /// Deletes pipelines that ended before a time, with their history; their idempotency keys are free after that. Children of
    /// pipelines that have not ended are kept. An SQLite file gets shorter before this returns; see
    /// ``init(sqliteAt:sqlite:workflows:configuration:logger:fileID:line:)``.
    ///
    /// - Returns: How many; call again while it is `limit`.
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/storageFailed``.
    public func prune(endedBefore time: Date, limit: Int = 1_000) async throws(PipelineError) -> Int {
        // Ids begin with the time of creation, by the clocks of who created them.
        let bound = UUID.version7(at: time.addingTimeInterval(3_600))
        return try await self.store.prune(endedBefore: time, below: bound, limit: limit)
    }

    func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline {
        guard let stored = try await self.store.load(id) else { throw Self.notFound(id) }
        return stored
    }

    static func notFound(_ id: UUID) -> PipelineError {
        PipelineError(.pipelineNotFound, "there is no pipeline \(id)")
    }

    private func result(of stored: StoredPipeline) throws(PipelineError) -> PipelineResult {
        if let result = try PipelineResult(stored: stored) { return result }
        var machine = try self.machine(of: stored)
        return try PipelineResult(&machine, of: stored, endedAt: stored.endedAt ?? self.clock.now())
    }

    private func machine(of stored: StoredPipeline) throws(PipelineError) -> PipelineStateMachine {
        self.machine(of: stored, try self.workflow(of: stored))
    }

    private func machine(of stored: StoredPipeline, _ workflow: Workflow) -> PipelineStateMachine {
        PipelineStateMachine(
            workflow: workflow,
            input: Context(stored.input, byteLimit: .max), worker: self.id, resuming: stored,
            maximumRecoveries: .max, at: self.clock.now())
    }

    /// Sees to what was asked of a pipeline just as its run ended without it.
    func passOn(_ request: PipelineRequest, _ id: UUID) async {
        do throws(PipelineError) {
            _ = try await self.means.patiently { () throws(PipelineError) -> Bool in
                if request == .resume { try await self.resume(id) } else { try await self.change(id, request: request) }
                return true
            }
        } catch {
            // It has ended meanwhile.
            if error.code == .notPossible { return }
            self.logger.warning(
                "what was asked of a pipeline is lost",
                metadata: [LogKeys.pipeline: "\(id)", LogKeys.error: "\(error)"])
        }
    }

    /// Carries out what was asked of a pipeline that stands still, and nobody has heard: its runner died first, or is at it too.
    func carryOut(_ request: PipelineRequest, _ id: UUID) async throws(PipelineError) {
        if request == .cancel { return try await self.change(id, request: .cancel) }
        // Whatever has changed it since has heard it, or came after it.
        guard let stored = try await self.store.load(id), stored.request == request else { return }
        _ = try await self.goOn(stored)
    }

    /// Tells whoever has a pipeline, also by way of what is stored: that is heard last, so it must not say something else.
    ///
    /// - Returns: Whether it runs here, and was told.
    @discardableResult
    private func tell(_ request: PipelineRequest, _ id: UUID) async throws(PipelineError) -> Bool {
        try await self.store.ask(request, of: id)
        return self.state.withLock { state in
            // A heartbeat that is under way may still read what was asked before.
            state.active[id]?.asked += 1
            return state.active[id]?.mailbox.post(request.mail) ?? false
        }
    }

    /// Changes a pipeline that nobody has, or tells whoever has it.
    private func change(_ id: UUID, request: PipelineRequest) async throws(PipelineError) {
        if try await self.changeAlone(id, request: request) { await self.cancelChildren(of: id) }
    }

    /// The same, without its children.
    ///
    /// - Returns: Whether it was cancelled here, and its children are to be too.
    private func changeAlone(_ id: UUID, request: PipelineRequest) async throws(PipelineError) -> Bool {
        while true {
            // Not one that is over: its mailbox is closed.
            if let active = self.state.withLock({ $0.active[id] }), !active.isOver {
                // A cancel is the last word; anything else may be taken back by what is stored.
                let isTold = request == .cancel ? active.mailbox.post(.cancel) : try await self.tell(request, id)
                if isTold { return false }
            }
            let stored: StoredPipeline
            do throws(PipelineError) {
                stored = try await self.load(id)
            } catch {
                guard request == .cancel, let standing = try await self.standing(of: id, unread: error) else {
                    throw error
                }
                switch standing.status {
                case .running:
                    try await self.store.ask(.cancel, of: id)
                    // It may have been set aside just before; then it is decided here.
                    if try await self.store.standing(of: id)?.status == .running { return false }
                case .queued, .paused: if try await self.cancel(id, standing) { return true }
                case .completed, .failed, .cancelled: return false
                case .unknown: throw error
                }
                continue
            }
            switch stored.status {
            case .completed, .failed, .cancelled:
                guard request == .cancel else {
                    throw PipelineError(.notPossible, "the pipeline has ended: \(stored.status)")
                }
                return false
            case .running:
                try await self.store.ask(request, of: id)
                // It may have been given back just before; then it is decided here.
                if try await self.load(id).status == .running { return false }
            case .paused where request == .pause && stored.request == .resume:
                // Nobody has heard that yet; one after the other.
                _ = try await self.goOn(stored)
            case .unknown:
                throw PipelineError(.notPossible, "the pipeline's stored status is unknown to this version")
            case .paused where request != .cancel: return false
            case .queued where request == .resume: return false
            case .queued, .paused:
                if try await self.change(stored, by: request) { return request == .cancel }
            }
        }
    }

    /// Changes a pipeline that nobody has, as it was read.
    ///
    /// - Returns: False when it has changed since, such as when a runner has claimed it.
    private func change(_ stored: StoredPipeline, by request: PipelineRequest) async throws(PipelineError) -> Bool {
        let now = self.clock.now()
        return try await self.apply(self.transition(of: stored, by: request, at: now), to: stored, at: now)
    }

    /// Cancels a pipeline that waits or is paused, and no other.
    ///
    /// - Returns: False when it is neither, or not any more.
    func cancelUnclaimed(_ id: UUID) async throws(PipelineError) -> Bool {
        let isCancelled: Bool
        do throws(PipelineError) {
            let stored = try await self.load(id)
            guard stored.status == .queued || stored.status == .paused else { return false }
            isCancelled = try await self.change(stored, by: .cancel)
        } catch {
            guard let standing = try await self.standing(of: id, unread: error) else { throw error }
            guard standing.status == .queued || standing.status == .paused else { return false }
            isCancelled = try await self.cancel(id, standing)
        }
        if isCancelled { await self.cancelChildren(of: id) }
        return isCancelled
    }

    /// The standing of a pipeline of which the rest can't be read: a row or a history that is broken, or beyond what is read.
    ///
    /// - Returns: Nil when it could be read, or may be soon.
    private func standing(
        of id: UUID, unread error: PipelineError
    ) async throws(PipelineError) -> PipelineStanding? {
        guard error.code == .storageFailed, !error.isTransient else { return nil }
        return try await self.store.standing(of: id)
    }

    /// Cancels a pipeline that nobody has, without a line for each task: they can't be read.
    ///
    /// - Returns: False when it has changed since.
    private func cancel(_ id: UUID, _ standing: PipelineStanding) async throws(PipelineError) -> Bool {
        let now = self.clock.now()
        var transition = PipelineTransition(expectedRevision: standing.revision)
        transition.status = .cancelled
        transition.events = [PipelineEvent(.pipelineCancelled, worker: self.id, at: now)]
        let change = PipelineChange(id: id, epoch: standing.epoch, at: now, transition: transition)
        return try await self.store.apply([change]) != [.stale]
    }

    /// Cancels what tasks of a pipeline that has ended have begun as parts of it and nobody waits for any more, and the parts of
    /// those: one after the other, and no more than one is kept, however deep they lie; for a minute at most, and for seconds in a
    /// shutdown, since somebody may have locked each. Those that are left are cancelled when they are claimed.
    func cancelChildren(of id: UUID) async {
        var ended = [id]
        let begun = self.clock.instant()
        while let parent = ended.popLast() {
            do throws(PipelineError) {
                var last: UUID?
                while case let page = try await self.children(of: parent, after: last), let next = page.last {
                    for child in page {
                        let patience = self.state.withLock { $0.isShutDown } ? Self.timeToGiveBack : .seconds(60)
                        guard begun.duration(to: self.clock.instant()) < patience else {
                            return self.noteUncancelled(parent, PipelineError(.storageFailed, "it took too long"))
                        }
                        if try await self.cancelChild(child, of: parent) { ended.append(child) }
                    }
                    last = next
                }
            } catch {
                self.noteUncancelled(parent, error)
                if error.isAway { return }
            }
        }
    }

    /// The next page of children; a database that is away for a moment is waited for.
    private func children(of parent: UUID, after last: UUID?) async throws(PipelineError) -> [UUID] {
        try await self.means.patiently { () throws(PipelineError) in
            try await self.store.children(of: parent, after: last)
        }
    }

    /// - Returns: Whether it was cancelled here, and its own children are to be too.
    private func cancelChild(_ child: UUID, of id: UUID) async throws(PipelineError) -> Bool {
        try await self.means.patiently { () throws(PipelineError) in
            do throws(PipelineError) {
                return try await self.changeAlone(child, request: .cancel)
            } catch {
                // The others must not wait for one that somebody has locked, or that can't be read.
                guard !error.isAway else { throw error }
                self.noteUncancelled(id, error)
                return false
            }
        }
    }

    private func noteUncancelled(_ id: UUID, _ error: PipelineError) {
        // A child that is claimed looks at its parent, so it does not begin all the same.
        self.logger.warning(
            "the children of a pipeline that has ended can't be cancelled",
            metadata: [LogKeys.pipeline: "\(id)", LogKeys.error: "\(error)"])
    }

    /// What a request makes of a pipeline that nobody has.
    private func transition(
        of stored: StoredPipeline, by request: PipelineRequest, at now: Date
    ) -> PipelineTransition {
        if request == .cancel, let workflow = try? self.workflow(of: stored) {
            var running = stored
            running.status = .running
            var machine = self.machine(of: running, workflow)
            machine.receive(.cancel(at: now))
            if var transition = machine.commit(at: now), transition.status.isTerminal {
                transition.foldsEverything = true
                // One that has not begun ends with the tasks of the current version.
                transition.version = machine.workflow.contentVersion.hex
                return transition
            }
        }
        // Pausing says nothing of tasks; and of another version's tasks this runner knows nothing.
        var transition = PipelineTransition(of: stored, to: request == .cancel ? .cancelled : .paused)
        if request == .cancel { transition.keepResult(of: stored) }
        transition.events = [
            PipelineEvent(request == .cancel ? .pipelineCancelled : .pipelinePaused, worker: self.id, at: now)
        ]
        return transition
    }

    /// Stores what was decided on of a pipeline that nobody drives; false when it has changed since it was read.
    func apply(
        _ transition: PipelineTransition, to stored: StoredPipeline, at now: Date
    ) async throws(PipelineError) -> Bool {
        let change = PipelineChange(
            id: stored.id, owner: stored.owner, epoch: stored.epoch, at: now, transition: transition)
        return try await self.store.apply([change]) != [.stale]
    }
}
