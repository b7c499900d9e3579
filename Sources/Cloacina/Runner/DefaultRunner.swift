public import CloacinaPostgres
public import CloacinaWorkflow
public import FoundationEssentials
public import Logging
import Synchronization
import Tracing

/// Runs one tenant's workflows and records every step in the tenant's schema.
///
/// A process has one runner for each tenant and one pool for all of them. A runner that has nothing to do costs nothing: it
/// has no connection, no timer and no task of its own.
///
/// ```swift
/// let acme = try await admin.tenant(named: "acme")
/// let runner = try DefaultRunner(pool: pool, label: acme.label(.role), workflows: [etl])
/// let result = try await runner.execute("etl", context: Context(["day": "2026-11-23"]))
/// ```
///
/// What is executed begins at once, in this process. What is put into the queue is begun by a runner that serves it; see
/// ``RunnerGroup``, which also takes up what processes that died have left. Without one, in this process or another, the
/// pipelines of a process that died stay as they are.
public final class DefaultRunner: PipelineExecutor {
    struct Registered: Sendable {
        let workflow: Workflow
        let version: String
    }

    /// A pipeline that runs here.
    struct Active: Sendable {
        let epoch: Int
        let mailbox: Mailbox
        let task: Task<RunEnd, Never>
        /// How often what is stored for its runner was changed here.
        var asked = 0
        /// Whether the runner's part in it is over, and only handlers still run.
        var isOver = false
    }

    /// A pipeline that is this runner's as far as the database knows, and that it could not go on with.
    struct Adrift: Sendable {
        /// The claim that it was driven under. A later one of the same runner is another matter.
        let epoch: Int
        /// What was asked of it and is stored nowhere.
        var request: PipelineRequest?
        /// True when the answer to the claim was lost, so that nothing was driven under it.
        var isLostClaim = false
        /// Until when it may still come, although it isn't there: a server that had lost sight of this process may yet commit.
        var mayComeUntil: ContinuousClock.Instant?
    }

    struct State {
        /// The version of each workflow that new pipelines begin with.
        var workflows: [String: Registered] = [:]
        /// The other versions of each, for pipelines that began with them.
        var earlier: [String: [Registered]] = [:]
        var active: [UUID: Active] = [:]
        /// The count of what came from the queue, and of how much more may.
        var admission: AdmissionStateMachine
        /// The part of the queue that the runner claims from; nil until it is asked for, and once a workflow was registered.
        var capabilities: QueueClaim?
        /// The versions of each workflow that were declared to fit the current one.
        var compatible: [String: Set<String>] = [:]
        /// The pipelines that wait and that no runner takes.
        var strandings = StrandingDetector()
        /// When they were looked for last: looks are a sweep interval apart, however often the runner looks for other things.
        var strandedLook: ContinuousClock.Instant?
        /// Which other runners are alive.
        var detector: FailureDetector
        /// The limit to how often calls have the queue looked at.
        var limiter = WakeupLimiter()
        var isShutDown = false
        /// Whether what runs is no longer waited for.
        var isInterrupted = false
        var isBeating = false
        /// How often the runner has said that it lives.
        var beats = 0
        /// Whether the runner has ended and must not be heard of again.
        var hasLeft = false
        var isPumping = false
        var mustPumpAgain = false
        /// True once a call has come since the queue was last looked at for what is urgent.
        var isCalled = false
        /// Whether somebody looks again and again, because other runners are known.
        var isWatching = false
        /// Whether a group serves this runner's queue.
        var serves = false
        var adrift: [UUID: Adrift] = [:]
        var isGivingBack = false
        /// When a claim failed last of which nobody knows whether it was stored, and whether that was looked up since.
        var lostClaims: (since: ContinuousClock.Instant, isLookedUp: Bool)?
        /// The claims and creations whose pipelines are not active yet, by their numbers, and whether each is a claim.
        var beginnings: [Int: Bool] = [:]
        var lastBeginning = 0
        /// The heartbeats since the last look for pipelines that the database calls this runner's own and that it doesn't drive.
        var beatsSinceOwnLook = 0
        var isLookingForOwn = false
        /// The pipelines that look found, with the number of the last claim or creation that had begun by then.
        var foreignOwn: [UUID: (epoch: Int, lastBeginning: Int)] = [:]
        var sweeps = 0
        /// True when a dead runner's pipelines were taken over since the last look at every owner: some may have been locked.
        var mustLookForOwners = false
        /// When the queue is looked at next because something is due then, and what waits for that.
        var alarm: (due: Date, task: Task<Void, Never>)?
        /// Whether what is due next must be asked for once the queue is empty.
        var mustLookAhead = false

        /// When the first of the pipelines is due that were put back into the queue.
        var released: Date?
        /// The notes of which ``DefaultRunner/health`` is made.
        var health = HealthRecord()
        /// The number of pipelines that no runner goes on with, as of the last sweep that counted them.
        var stranded: Int?

        /// A workflow in a version, if it is known.
        func registered(_ name: String, version: String) -> Registered? {
            if let current = self.workflows[name], current.version == version { return current }
            return self.earlier[name]?.first { $0.version == version }
        }

        /// How many pipelines this runner drives.
        var driven: Int { self.active.values.count { !$0.isOver } }

        /// True when nothing is this runner's, as far as anybody knows. What is being created may be.
        var isIdle: Bool {
            self.adrift.isEmpty && self.active.values.allSatisfy(\.isOver) && self.beginnings.values.allSatisfy { $0 }
        }
    }

    /// The runner's own id, which its pipelines carry while they are claimed and its history for ever.
    public let id = UUID.version7()

    let store: any WorkflowStore
    let writer: WriteBatcher
    let database: TenantDatabase?
    let configuration: RunnerConfiguration
    let logger: Logger
    let clock: any EngineClock
    let metrics: EngineMetrics
    let spans: EngineSpans
    let refusals: RefusalWatch
    let slots: TaskSlots
    /// Where tasks' code runs, so that what computes or blocks holds up nothing else; nil where a test's clock says where.
    let bodies: TaskBodyExecutor?
    /// The executor on which pipelines are driven and written: the bodies' threads, one of which has most often just been left by
    /// a body.
    let steps: (any TaskExecutor)?
    let quarantine = TaskSlots(1, mail: .quarantine)
    /// Keeps a heartbeat and the leaving apart.
    let life = SerialGate()
    /// Claims and creations whose pipelines are not active yet.
    let beginning = PendingWork()
    let state: Mutex<State>

    /// Makes a runner of the tenant whose schema and role a label names.
    ///
    /// - Parameter logger: Where to say what goes wrong without anybody waiting for it, such as heartbeats that fail; nowhere
    ///   when nil.
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/duplicateWorkflow`` when two workflows have one name, and with
    ///   ``PipelineError/Code/invalidOptions`` when the configuration can't work.
    public convenience init(
        pool: PostgresPool, label: PostgresLabel, workflows: [Workflow] = [],
        configuration: RunnerConfiguration = RunnerConfiguration(), logger: Logger? = nil, fileID: String = #fileID,
        line: Int = #line
    ) throws(PipelineError) {
        try configuration.check(fileID: fileID, line: line)
        try self.init(
            store: PostgresWorkflowStore(pool: pool, label: label, followsServersClock: true),
            database: TenantDatabase(pool: pool, label: label), workflows: workflows, configuration: configuration,
            logger: logger, fileID: fileID, line: line)
    }

    /// Makes a runner over any store, with any clock: for tests.
    package convenience init(
        store: any WorkflowStore, workflows: [Workflow] = [],
        configuration: RunnerConfiguration = RunnerConfiguration(), logger: Logger? = nil,
        clock: any EngineClock = SystemEngineClock(), fileID: String = #fileID, line: Int = #line
    ) throws(PipelineError) {
        try self.init(
            store: store, database: nil, workflows: workflows, configuration: configuration, logger: logger,
            clock: clock, fileID: fileID, line: line)
    }

    init(
        store: any WorkflowStore, database: TenantDatabase?, workflows: [Workflow],
        configuration: RunnerConfiguration, logger: Logger?, clock: any EngineClock = SystemEngineClock(),
        metrics: EngineMetrics = .shared, spans: EngineSpans = EngineSpans(), fileID: String = #fileID,
        line: Int = #line
    ) throws(PipelineError) {
        self.store = store
        self.metrics = metrics
        self.spans = spans
        let refusals = RefusalWatch(clock)
        self.refusals = refusals
        // More than may run: code that blocks after its timeout keeps its thread, and handlers have no slot.
        let bodies = clock.executor == nil ? TaskBodyExecutor(maximumThreads: TaskBodyExecutor.threadLimit) : nil
        self.bodies = bodies
        self.steps = bodies?.steps ?? clock.executor
        self.writer = WriteBatcher(store, executor: self.steps, metrics: metrics) { refusals.note($0) }
        self.database = database
        self.configuration = configuration
        self.logger = logger ?? .silent
        self.clock = clock
        self.slots = TaskSlots(max(1, configuration.maximumConcurrentTasks))
        self.state = Mutex(
            State(
                admission: AdmissionStateMachine(
                    maximumClaimed: configuration.maximumQueuedPipelines, slots: configuration.maximumConcurrentTasks),
                detector: FailureDetector(leaseDuration: configuration.leaseDuration)))
        for workflow in workflows { try self.register(workflow, fileID: fileID, line: line) }
    }

    /// Makes a workflow known to this runner: new pipelines of its name begin with it.
    ///
    /// - Parameter versions: Content versions (``CloacinaWorkflow/Workflow/contentVersion``, in hexadecimal) whose pipelines go on with
    ///   this one as soon as they are found in the queue, if their history fits; the others only once no runner takes them, and as
    ///   ``RunnerConfiguration/versionPolicy`` says.
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/duplicateWorkflow`` when the runner has one of that name.
    public func register(
        _ workflow: Workflow, compatibleWith versions: Set<String> = [], fileID: String = #fileID, line: Int = #line
    ) throws(PipelineError) {
        let registered = Registered(workflow: workflow, version: workflow.contentVersion.hex)
        let isNew = self.state.withLock { state in
            guard state.workflows[workflow.name] == nil else { return false }
            state.workflows[workflow.name] = registered
            state.compatible[workflow.name] = versions
            state.capabilities = nil
            return true
        }
        guard isNew else {
            throw PipelineError(
                .duplicateWorkflow,
                "the runner has a workflow \"\(workflow.name)\" already; for an earlier version of it call registerEarlier(_:)",
                fileID: fileID, line: line)
        }
    }

    /// Makes an earlier version of a workflow known: pipelines that began with it go on with it, beside the version that new
    /// ones begin with.
    ///
    /// Which version that is makes no difference when it is the current one or is known already.
    public func registerEarlier(_ workflow: Workflow) {
        let registered = Registered(workflow: workflow, version: workflow.contentVersion.hex)
        self.state.withLock { state in
            guard state.registered(workflow.name, version: registered.version) == nil else { return }
            state.earlier[workflow.name, default: []].append(registered)
            state.strandings.forgetMisfits()
            state.capabilities = nil
        }
    }

    /// The names of the runner's workflows, sorted.
    public var workflowNames: [String] { self.state.withLock { $0.workflows.keys.sorted() } }

    /// How the runner's writes were gathered into commits so far.
    public var writeStatistics: WriteStatistics { self.writer.statistics }

    /// How many pipelines this runner has claimed at the moment.
    public var activePipelines: Int { self.state.withLock { $0.driven } }

    /// Runs a workflow to its end: independent tasks at the same time, each step recorded.
    ///
    /// When the caller is cancelled, the tasks that run are cancelled, the others are skipped, and the result says what each
    /// came to. Handlers that still run then are waited for, for ``RunnerConfiguration/cancellationGrace``.
    ///
    /// Once the pipeline is stored, a database that is away does not end the call: it goes on when the database is back. A caller
    /// that is cancelled meanwhile is told ``PipelineError/Code/storageFailed`` after the time of grace, and the pipeline is
    /// cancelled when the database is back.
    ///
    /// - Parameters:
    ///   - options: With an idempotency key that a pipeline of the workflow and the input has already, that one's result is waited
    ///     for, and cancelling the caller only ends the waiting; ``PipelineResult/isNew`` is false then. Cancelling only ends the
    ///     waiting with a delay, too, and once the pipeline was paused or given back.
    ///   - observe: Is given each line that this call's own run adds to the history, once it is stored, in order: from the first
    ///     task's end to the pipeline's. Not what another runner adds, and nothing with a delay; ``history(of:)`` has it all.
    /// - Throws: ``PipelineError``: ``PipelineError/Code/workflowNotFound``, ``PipelineError/Code/invalidOptions``,
    ///   ``PipelineError/Code/keyConflict`` when the idempotency key belongs to another workflow or another input,
    ///   ``PipelineError/Code/cancelled`` when the caller was cancelled before, or while it waited for a pipeline that goes on,
    ///   ``PipelineError/Code/storageFailed``, ``PipelineError/Code/pipelineVanished``,
    ///   ``PipelineError/Code/takenOver``, ``PipelineError/Code/released`` when the runner is shut down meanwhile.
    public func execute(
        _ workflowName: String, context: Context = Context(), options: ExecutionOptions,
        observe: (@Sendable (PipelineEvent) -> Void)? = nil
    ) async throws(PipelineError) -> PipelineResult {
        try self.checkHeldConnection()
        let execution = try await self.executeAsync(workflowName, context: context, options: options, observe: observe)
        guard execution.isOwn else { return try await execution.result() }
        let end = await withTaskCancellationHandler {
            await self.lendingSlot { await execution.waitHere() }
        } onCancel: {
            execution.cancelHere()
        }
        switch end {
        case .ended(var result):
            result.isNew = execution.isNew
            return result
        case .broken(let error): throw error
        case .left, nil: return try await execution.result()
        }
    }

    /// Runs a workflow with the default options; see ``execute(_:context:options:observe:)``.
    public func execute(
        _ workflowName: String, context: Context = Context()
    ) async throws(PipelineError) -> PipelineResult {
        try await self.execute(workflowName, context: context, options: ExecutionOptions())
    }

    /// Starts a workflow and returns once that is stored.
    ///
    /// With a delay it is put into the queue.
    ///
    /// - Returns: The pipeline; an earlier call's when that has the idempotency key, see ``PipelineExecution/isNew``.
    /// - Throws: ``PipelineError`` as above.
    public func executeAsync(
        _ workflowName: String, context: Context = Context(), options: ExecutionOptions = ExecutionOptions(),
        observe: (@Sendable (PipelineEvent) -> Void)? = nil
    ) async throws(PipelineError) -> PipelineExecution {
        try await self.begin(workflowName, context: context, options: options, below: nil, observe: observe)
    }

    /// Starts a workflow, for a caller or as a part of a task.
    func begin(
        _ workflowName: String, context: Context, options: ExecutionOptions, below place: TaskPlace?,
        observe: (@Sendable (PipelineEvent) -> Void)? = nil
    ) async throws(PipelineError) -> PipelineExecution {
        let registered = try self.registered(workflowName)
        try options.check(fileID: #fileID, line: #line)
        guard !Task.isCancelled else { throw PipelineError(.cancelled, "the caller was cancelled before") }
        guard options.delay <= .zero else {
            return try await self.enqueue(workflowName, context: context, options: options)
        }
        self.beginning.begin()
        defer { self.beginning.end() }
        let number = self.beginBeginning(isClaim: false)
        defer { self.endBeginning(number) }
        guard !self.state.withLock({ $0.isShutDown }) else {
            throw PipelineError(.released, "the runner was shut down")
        }
        let new = NewPipeline(
            id: .version7(at: self.clock.now()), workflow: registered.workflow.name, version: registered.version,
            input: context,
            options: options, owner: self.id, at: self.clock.now(), parent: place?.pipeline,
            depth: place.map { $0.depth + 1 } ?? 0)
        guard new.depth <= self.configuration.maximumDepth else {
            throw PipelineError(
                .tooDeep,
                "\"\(registered.workflow.name)\" would run \(new.depth) pipelines deep, \(self.configuration.maximumDepth) are "
                    + "allowed: a workflow that runs itself needs an end, or a higher RunnerConfiguration.maximumDepth")
        }
        self.beginBeating()
        let creation: Creation
        do throws(PipelineError) {
            creation = try await self.create(new)
        } catch {
            // It may be stored all the same, or be so later. Where nothing was written, a look for what is this runner's finds what an
            // earlier try has stored.
            guard error.code != .noEngineAccess, !error.isUnreached else { throw error }
            let lease = self.configuration.leaseDuration.atMostACentury
            let end = error.isTransient ? self.clock.instant().advanced(by: lease) : nil
            self.setAdrift(new.id, Adrift(epoch: 1, isLostClaim: true, mayComeUntil: end))
            throw error
        }
        if let earlier = try creation.earlier(than: new) {
            return PipelineExecution(id: earlier, runner: self, isNew: false)
        }
        var stored = StoredPipeline(new)
        stored.input = Context(context, byteLimit: min(context.byteLimit, self.configuration.maximumContextBytes))
        // When it exists, an earlier try was stored although its answer was lost. If that took long, somebody else may have it by
        // now.
        let own = self.launch(
            stored, registered.workflow, fromQueue: false, mayBeLost: creation != .created, observe: observe)
        return PipelineExecution(id: new.id, runner: self, isNew: true, own: own)
    }

    /// Stores a new pipeline; see ``PipelineError/mustGoAlone``.
    func create(_ new: NewPipeline) async throws(PipelineError) -> Creation {
        var mustGoAlone = false
        return try await self.means.patiently { () throws(PipelineError) in
            do throws(PipelineError) {
                guard mustGoAlone else { return try await self.writer.create(new) }
                return try await self.store.create([new])[0]
            } catch {
                mustGoAlone = mustGoAlone || error.mustGoAlone
                throw error
            }
        }
    }

    func registered(_ name: String) throws(PipelineError) -> Registered {
        guard let registered = self.state.withLock({ $0.workflows[name] }) else {
            let known = self.workflowNames.joined(separator: ", ")
            throw PipelineError(.workflowNotFound, "the runner has no workflow \"\(name)\"; it has: \(known)")
        }
        return registered
    }

    /// The workflow that a pipeline goes on with: of its own version once a runner has begun it, else the current one.
    func workflow(of stored: StoredPipeline) throws(PipelineError) -> Workflow {
        if stored.startedAt == nil, stored.status == .queued || stored.status == .paused {
            return try self.registered(stored.workflow).workflow
        }
        let pinned = self.state.withLock { $0.registered(stored.workflow, version: stored.version) }
        if let pinned { return pinned.workflow }
        let current = try self.registered(stored.workflow)
        guard stored.startedAt == nil else {
            throw PipelineError(
                .versionMismatch,
                "the pipeline \(stored.id) is pinned to version \(stored.version) of \"\(stored.workflow)\"; this runner has "
                    + "\(current.version). Register that version with registerEarlier(_:), or call continueWithCurrentVersion(_:)"
            )
        }
        return current.workflow
    }
}

// MARK: Driving

extension DefaultRunner {
    var means: RunMeans { self.means(fromQueue: false) }

    private func means(fromQueue: Bool, tracer: (any Tracer)? = nil) -> RunMeans {
        RunMeans(
            writer: self.writer, store: self.store, slots: self.slots, quarantine: self.quarantine, clock: self.clock,
            configuration: self.configuration, logger: self.logger, metrics: self.metrics, tracer: tracer,
            makeResource: { place, slot in
                TaskMeans(database: self.database, runner: self, place: place, slot: slot)
            }, bodies: self.bodies, noteRetrying: { isRetrying in if fromQueue { self.noteRetrying(isRetrying) } },
            lending: fromQueue ? Lending { self.noteWaiting($0) } : nil)
    }

    /// Drives a pipeline that this runner has claimed, in a task that no caller's cancellation reaches: what its tasks came to
    /// must still be written.
    ///
    /// - Returns: Its part in the pipeline, for whoever waits for its end: it may be over at once.
    @discardableResult
    func launch(
        _ pipeline: StoredPipeline, _ workflow: Workflow, fromQueue: Bool, mayBeLost: Bool = false,
        observe: (@Sendable (PipelineEvent) -> Void)? = nil
    ) -> Active {
        let mailbox = Mailbox()
        if mayBeLost { mailbox.post(.mayBeLost) }
        var means = self.means(fromQueue: fromQueue, tracer: self.spans.tracer)
        if fromQueue { means.place = QueuePlace { self.note($0, bytes: pipeline.storedBytes) } }
        let active = self.state.withLock { state in
            let earlier = state.active[pipeline.id]
            // A runner that claims what is active here had lost it, whatever number the new claim has. One whose creation was tried
            // again may have the older claim, and then has nothing to drive.
            if mayBeLost, let earlier, !earlier.isOver, earlier.epoch > pipeline.epoch { return earlier }
            earlier?.mailbox.post(mayBeLost ? .mayBeLost : .superseded)
            let task = self.driving { [means] in
                var run = PipelineRun(
                    pipeline, workflow: workflow, worker: self.id, means: means, mailbox: mailbox, observe: observe)
                let end = await EngineSpans.pipeline(pipeline, fromQueue: fromQueue, tracer: means.tracer) {
                    await run.run()
                }
                means.lending?.close()
                if case .broken = end, !run.isSetAside {
                    self.setAdrift(pipeline.id, Adrift(epoch: pipeline.epoch, request: run.unheard))
                }
                if let due = run.releasedUntil {
                    self.state.withLock { $0.released = min($0.released ?? due, due) }
                }
                self.isOver(pipeline.id, mailbox)
                if case .ended = end { means.place?.end(hasEnded: true) } else { means.place?.end(hasEnded: false) }
                let stands = if case .left = end { true } else { run.isSetAside }
                if stands, let request = run.unheard { await self.passOn(request, pipeline.id) }
                // What a shutdown has ended waiting for may be left by a task that gave up after that.
                let mayHaveLeft = pipeline.hasHistory || self.state.withLock { $0.isShutDown }
                if case .ended(let result) = end, mayHaveLeft || result.status == .cancelled {
                    await self.cancelChildren(of: pipeline.id)
                }
                await run.finishCallbacks()
                _ = await earlier?.task.value
                self.state.withLock { state in
                    if state.active[pipeline.id]?.mailbox === mailbox { state.active[pipeline.id] = nil }
                }
                return end
            }
            let active = Active(epoch: pipeline.epoch, mailbox: mailbox, task: task)
            state.active[pipeline.id] = active
            if state.isShutDown { mailbox.post(state.isInterrupted ? .interrupt : .release) }
            return active
        }
        self.beginBeating()
        return active
    }

    /// Starts a task that goes on with its caller's trace, and in nobody's slot.
    private func driving(_ body: @escaping @Sendable () async -> RunEnd) -> Task<RunEnd, Never> {
        HeldConnection.$pools.withValue([]) {
            HeldSlot.$current.withValue(nil) { Task(executorPreference: self.steps) { await body() } }
        }
    }

    private func isOver(_ id: UUID, _ mailbox: Mailbox) {
        self.state.withLock { state in
            if state.active[id]?.mailbox === mailbox { state.active[id]?.isOver = true }
        }
    }

    /// Counts a step of a pipeline from the queue, and has the queue looked at when there is room for a claim that is worth it.
    func note(_ steps: [QueuePlace.Step], bytes: Int) {
        let (free, waiting) = (self.slots.freeCount, self.slots.waitingCount)
        let now = ContinuousClock.now
        let mustPump = self.state.withLock { state in
            let opensQueue = state.admission.opensQueue { admission in
                for step in steps {
                    switch step {
                    case .arrived: admission.pipelineArrived()
                    case .began: admission.pipelineBegan(bytes: bytes)
                    case .ended: admission.pipelineEnded(bytes: bytes, at: now)
                    case .left: admission.pipelineLeft(bytes: bytes)
                    }
                }
            }
            return opensQueue
                || state.mustPumpAgain && !state.isPumping
                    && state.admission.isClaimDue(at: now, freeSlots: free, waitingForSlots: waiting)
        }
        if mustPump { self.wake() }
    }

    private func noteRetrying(_ isRetrying: Bool) {
        let mustPump = self.state.withLock { state in
            state.admission.noteRetrying(isRetrying)
            return isRetrying && (state.mustPumpAgain || state.admission.isStalled)
        }
        if mustPump { self.wake() }
    }

    private func noteWaiting(_ isWaiting: Bool) {
        if self.state.withLock({ $0.admission.opensQueue { $0.noteWaiting(isWaiting) } }) { self.wake() }
    }

    /// Whether nothing more may be claimed at the moment.
    var isFull: Bool {
        let (free, waiting) = (self.slots.freeCount, self.slots.waitingCount)
        return self.state.withLock { $0.admission.claimLimit(at: .now, freeSlots: free, waitingForSlots: waiting) == 0 }
    }

    /// Refuses to wait for another pipeline while the task holds a connection that the pipeline's tasks may need.
    func checkHeldConnection(fileID: String = #fileID, line: Int = #line) throws(PipelineError) {
        guard let database = self.database, HeldConnection.pools.contains(ObjectIdentifier(database.pool)) else {
            return
        }
        throw PipelineError(
            .nestedConnection,
            "the task holds a connection of the pool and waits for another pipeline, whose tasks may need one: enough such tasks "
                + "wait for each other for ever. Run the other workflow before the connection is lent, or after it was given back",
            fileID: fileID, line: line)
    }

    /// Runs a closure without the slot of the task that calls it, if one of this runner's tasks does: a task that waits for
    /// another pipeline must not keep it from running.
    func lendingSlot<R>(_ body: () async -> R) async -> R {
        guard let slot = HeldSlot.current else { return await body() }
        return await slot.lend {
            // What it waits for may be in the queue, and the runner have had its fill.
            if self.state.withLock({ $0.mustPumpAgain }) { self.wake() }
            return await self.clock.whileWaiting(body)
        }
    }
}
