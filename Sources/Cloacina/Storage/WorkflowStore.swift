package import FoundationEssentials

/// Keeps pipelines, so that they outlive the process.
///
/// Every method is atomic for each pipeline: all of a change is stored, or nothing. A pipeline is one runner's alone while it
/// is `running`; the claim is its owner, its revision and its epoch, which every change of its runner's compares. The numbers alone
/// are given a second time by a server that lost its last commits in a failover.
package protocol WorkflowStore: Sendable {
    /// Stores new pipelines; the answers are in their order, and as if they had come one after the other.
    func create(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [Creation]

    /// Stores those transitions whose pipelines are as they expect them; the answers are in their order.
    func apply(_ changes: [PipelineChange]) async throws(PipelineError) -> [StoreOutcome]

    /// Claims pipelines that wait, by priority and age.
    func claim(_ claim: QueueClaim) async throws(PipelineError) -> [StoredPipeline]

    /// Reads a pipeline and its history; nil when there is none.
    func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline?

    /// Reads a pipeline without its history and what it handed back; nil when there is none.
    func row(of id: UUID) async throws(PipelineError) -> StoredPipeline?

    /// Reads whose a pipeline is and where it stands, also of one that can't be read otherwise; nil when there is none.
    func standing(of id: UUID) async throws(PipelineError) -> PipelineStanding?

    /// The children of a pipeline that have not ended, in the order of their ids: those after one, at most
    /// ``StoredLimits/surveyRows`` of them.
    func children(of id: UUID, after last: UUID?) async throws(PipelineError) -> [UUID]

    /// Where a pipeline stands, and nothing else of it; nil when there is none.
    func status(of id: UUID) async throws(PipelineError) -> PipelineStatus?

    /// Leaves word for the runner that has claimed a pipeline. Whoever asks last is heard, but nothing takes back
    /// ``PipelineRequest/cancel``.
    func ask(_ request: PipelineRequest, of id: UUID) async throws(PipelineError)

    /// Says that a runner lives, and reads what became of its pipelines. The number is the runner's own, and another one each
    /// time: that is what tells others that it lives. One that says that it is stopping, and then dies, was ended from outside.
    func beat(
        _ runner: UUID, number: Int, pipelines: [UUID], isStopping: Bool, at: Date
    ) async throws(PipelineError) -> BeatAnswer

    /// What a runner that goes round wants to know. With `everyOwner` also the owners that never said anything, and what nobody
    /// has heard.
    func survey(everyOwner: Bool, at: Date) async throws(PipelineError) -> QueueSurvey

    /// Pipelines that are due before a time and that a claim would not take, the most urgent first. At most a thousand of each of a
    /// hundred workflows and versions are looked at.
    func stranded(_ claim: QueueClaim, dueBefore: Date, limit: Int) async throws(PipelineError) -> [StrandedPipeline]

    /// The same, a part at a time, in the order of the queue's index: no more than `limit` rows are read, among them what is due later
    /// and the first of each workflow and version that the claim would take. Whoever goes on from part to part sees everything.
    func strandedPage(
        _ claim: QueueClaim, dueBefore: Date, after place: StrandedPlace?, limit: Int
    ) async throws(PipelineError) -> StrandedPage

    /// Puts back into the queue what a runner had claimed that hasn't said anything since, and ends its claims, as another one's
    /// doing; the number of pipelines. They wait where they would have, had they never been claimed.
    func recover(_ runner: UUID, beats: Int, by rescuer: UUID, at: Date) async throws(PipelineError) -> Int

    /// The pipelines that a runner has from the queue, with their epochs; those that it began itself and has written nothing of only
    /// with `includingCreated`.
    func claims(of runner: UUID, includingCreated: Bool) async throws(PipelineError) -> [UUID: Int]

    /// Forgets a runner that has nothing to do.
    func leave(_ runner: UUID) async throws(PipelineError)

    /// Fails unless something can be written.
    func checkWritable() async throws(PipelineError)

    /// Pipelines, the newest first.
    func list(_ query: PipelineQuery) async throws(PipelineError) -> [PipelineSummary]

    /// The events of all pipelines: those of the newest pipelines first, and of each pipeline the latest first. Completions that a
    /// task committed itself are among them once a transition has folded them in.
    func events(_ query: EventQuery) async throws(PipelineError) -> [RecordedEvent]

    /// Deletes pipelines that ended before a time, with their history; the number deleted, at most `limit`. Only those with
    /// ids below `bound`, and no children of pipelines that have not ended.
    func prune(endedBefore: Date, below bound: UUID, limit: Int) async throws(PipelineError) -> Int
}

extension WorkflowStore {
    /// Forgets a runner that nobody is.
    package func checkWritable() async throws(PipelineError) { try await self.leave(.version7()) }
}

/// What goes on in a tenant's queue.
package struct QueueSurvey: Sendable, Hashable {
    /// The number that each known runner said last; zero for owners that never said anything.
    package var beats: [UUID: Int]
    /// Whether a pipeline is due, whoever may claim it.
    package var isDue: Bool
    /// When the next one is due after the time of asking; nil when none waits for its time.
    package var nextDue: Date?
    /// What was asked of pipelines that stand still by now, and is not carried out: the runner that had them died first, or is
    /// just about to do it. Of those that wait in the queue only a cancel: nobody may be able to claim them, who would be told.
    package var unheard: [UUID: PipelineRequest]

    package init(
        beats: [UUID: Int], isDue: Bool = false, nextDue: Date? = nil, unheard: [UUID: PipelineRequest] = [:]
    ) {
        self.beats = beats
        self.isDue = isDue
        self.nextDue = nextDue
        self.unheard = unheard
    }
}

/// What a runner is told of its pipelines.
package struct BeatAnswer: Sendable, Hashable {
    /// Those of the pipelines it named that are its own.
    package var held: Set<UUID> = []
    /// What was asked of them.
    package var requests: [UUID: PipelineRequest] = [:]

    package init(held: Set<UUID> = [], requests: [UUID: PipelineRequest] = [:]) {
        self.held = held
        self.requests = requests
    }
}

extension WorkflowStore {
    /// Says that a runner lives that isn't stopping.
    package func beat(
        _ runner: UUID, number: Int, pipelines: [UUID], at: Date
    ) async throws(PipelineError) -> BeatAnswer {
        try await self.beat(runner, number: number, pipelines: pipelines, isStopping: false, at: at)
    }

    /// The pipelines that a runner has from the queue, with their epochs.
    package func claims(of runner: UUID) async throws(PipelineError) -> [UUID: Int] {
        try await self.claims(of: runner, includingCreated: false)
    }

    /// The number that each known runner said last.
    package func beats(everyOwner: Bool) async throws(PipelineError) -> [UUID: Int] {
        try await self.survey(everyOwner: everyOwner, at: .distantPast).beats
    }
}

/// What became of a new pipeline.
package enum Creation: Sendable, Hashable {
    /// It is stored.
    case created
    /// There is one with its id already, or one of its workflow and input with its idempotency key.
    case exists(UUID)
    /// There is one with its idempotency key that is of another workflow, input or parent.
    case conflicts(KeyHolder)
}

/// What became of a change.
package enum StoreOutcome: Sendable, Hashable {
    /// It is stored. Somebody may have asked for something since.
    case applied(PipelineRequest?)
    /// The pipeline's owner, revision or epoch is another one by now; nothing was stored.
    case stale
}

/// What somebody else wants of a pipeline's runner.
package enum PipelineRequest: String, Sendable, Hashable, CaseIterable {
    case cancel, pause
    /// Not to pause after all.
    case resume
}

extension PipelineTransition {
    /// What stays stored of a request: as long as somebody may hear it, and it says something. What takes back that a pipeline is
    /// to stand still is heard by the runner that has just written that it does; what goes on needs no telling to.
    func keeps(_ request: PipelineRequest?) -> PipelineRequest? {
        switch self.status {
        case .running: request
        case .queued: request == .resume ? nil : request
        case .paused: request == .pause ? nil : request
        case .completed, .failed, .cancelled, .unknown: nil
        }
    }
}

/// A pipeline that begins.
package struct NewPipeline: Sendable {
    package var id: UUID
    package var workflow: String
    /// The content version of the workflow it begins with.
    package var version: String
    package var input: Context
    package var options = ExecutionOptions()
    /// The runner that begins it at once; nil when it waits in the queue.
    package var owner: UUID?
    package var at: Date
    /// The pipeline whose task began it as a part of its own.
    package var parent: UUID?
    /// How many parents it has, one above the other.
    package var depth: Int

    package init(
        id: UUID, workflow: String, version: String, input: Context, options: ExecutionOptions = ExecutionOptions(),
        owner: UUID?, at: Date, parent: UUID? = nil, depth: Int = 0
    ) {
        self.parent = parent
        self.depth = depth
        self.id = id
        self.workflow = workflow
        self.version = version
        self.input = input
        self.options = options
        self.owner = owner
        self.at = at
    }

    /// When it may be claimed; nil when it is claimed already.
    package var dueAt: Date? {
        self.owner == nil ? self.at.addingTimeInterval(max(0, self.options.delay.atMostACentury.seconds)) : nil
    }

    /// The first line of its history.
    package var event: PipelineEvent {
        PipelineEvent(
            self.owner == nil ? .pipelineQueued : .pipelineStarted, worker: self.owner, at: self.at, dueAt: self.dueAt)
    }
}

/// A transition of a stored pipeline.
package struct PipelineChange: Sendable {
    package var id: UUID
    /// The runner that has the pipeline; nil where nobody does, and the revision and the epoch alone are compared.
    package var owner: UUID?
    package var epoch: Int
    package var at: Date
    package var transition: PipelineTransition

    package init(id: UUID, owner: UUID? = nil, epoch: Int, at: Date, transition: PipelineTransition) {
        self.id = id
        self.owner = owner
        self.epoch = epoch
        self.at = at
        self.transition = transition
    }

    /// True when the pipeline goes back to the queue and may begin at once, by the clock of who decided that.
    var isDueAtOnce: Bool {
        self.transition.status == .queued && !self.transition.keepsDueAt
            && self.transition.dueAt.map { $0 <= self.at } ?? false
    }

    /// True when it says by a host's clock how long the pipeline waits.
    var hasDelay: Bool { self.transition.dueAt != nil && !self.transition.keepsDueAt && !self.isDueAtOnce }
}

extension PipelineChange {
    /// Pauses a pipeline that was claimed and can't be read, so that it holds up no other; somebody may look at it, and
    /// resume it with a library that can read it.
    init(puttingAside id: UUID, revision: Int, epoch: Int, for claim: QueueClaim, _ error: any Error) {
        var transition = PipelineTransition(expectedRevision: revision)
        transition.status = .paused
        transition.events = [.putAside(by: claim, error)]
        self.init(id: id, owner: claim.runner, epoch: epoch, at: claim.at, transition: transition)
    }
}

extension PipelineEvent {
    static func putAside(by claim: QueueClaim, _ error: any Error) -> PipelineEvent {
        PipelineEvent(
            .pipelinePaused, worker: claim.runner, at: claim.at, reason: .unreadable,
            detail: PipelineEvent.storable("what is stored of it can't be read: \(error)"))
    }
}

/// Which pipelines a runner takes from the queue.
package struct QueueClaim: Sendable {
    package var runner: UUID
    /// The workflows it knows, with the versions that new pipelines begin with.
    package let workflows: [String: String]
    /// The other versions of each that it knows: one that has begun is claimed by a runner of its version only.
    package let earlier: [String: Set<String>]
    /// The lanes of the queue that it takes from, sorted by their bytes as databases do. What no task has begun is in its
    /// workflow's lane, and what has begun in that of its workflow in its version: a runner passes over what it can't take by
    /// not looking there, and what goes back to its old place, or is new but older, is found as early as all else.
    let lanes: [String]
    package var limit: Int
    /// How many bytes of stored text a claim reads: it ends with the pipeline that reaches it. One is always taken.
    package var byteLimit: Int
    /// Only what has a higher priority, if anything.
    package var abovePriority: Int?
    /// Only parts of other pipelines.
    package var onlyChildren = false
    package var at: Date

    package init(
        runner: UUID, workflows: [String: String], earlier: [String: Set<String>] = [:], limit: Int,
        byteLimit: Int = Self.defaultByteLimit, at: Date
    ) {
        self.runner = runner
        self.workflows = workflows
        self.earlier = earlier
        let lanes = workflows.flatMap { workflow, current in
            earlier[workflow, default: []].union([current, ""]).map { "\($0) \(workflow)" }
        }
        self.lanes = lanes.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        self.limit = limit
        self.byteLimit = byteLimit
        self.at = at
    }

    /// How many bytes of inputs and histories one claim reads: 8 MiB.
    package static let defaultByteLimit = 8 << 20

    /// Tells if the runner knows the version that a pipeline of a workflow has begun in.
    func knows(_ version: String, of workflow: String) -> Bool {
        guard let current = self.workflows[workflow] else { return false }
        return version == current || self.earlier[workflow]?.contains(version) == true
    }

    /// The versions of all its workflows.
    var versions: Set<String> {
        self.workflows.reduce(into: []) { $0.formUnion(self.earlier[$1.key, default: []].union([$1.value])) }
    }
}

/// What is read of one pipeline at most. A row beyond is set aside, before it is read.
package enum StoredLimits {
    /// The format of pipelines that this version writes. One of a higher format is left to newer runners.
    package static let format = 1
    /// How many bytes an input, or a task's change, may have.
    package static let valueBytes = 16 << 20
    /// How many bytes an output, or the outcomes of all tasks, may have.
    package static let resultBytes = 64 << 20
    /// How many bytes of a task's name, or of a reason, are read.
    package static let nameBytes = 4_000
    /// How many lines a history may have.
    package static let historyLines = 1_000_000
    /// How many bytes of deltas and texts a history may have.
    package static let historyBytes = 256 << 20
    /// The highest revision, epoch, or count: what a pipeline reaches in no life.
    package static let count = 1_000_000_000
    /// What a claim or a recovery takes at most of those: what follows has room to be stored.
    package static let claimableCount = Self.count - 10
    /// How many runners, or words to pipelines, one look reads.
    package static let surveyRows = 1_000
    /// In how many lanes what nobody can take is looked for.
    package static let foreignLanes = 100
    /// How many pipelines of a lane are looked at for that.
    package static let laneHead = 1_000
}

/// A pipeline as it is stored, with its history.
package struct StoredPipeline: Sendable {
    package var id: UUID
    package var workflow: String
    package var version: String
    package var status: PipelineStatus
    package var revision: Int
    package var epoch: Int
    package var owner: UUID?
    package var recoveries: Int
    package var priority: Int
    package var timeout: Duration?
    package var input: Context
    package var createdAt: Date
    package var startedAt: Date?
    package var endedAt: Date?
    package var dueAt: Date?
    package var request: PipelineRequest?
    package var idempotencyKey: String?
    package var parent: UUID?
    package var depth = 0
    /// How many bytes its input and its history take up where they are stored, as far as that is counted.
    package var storedBytes = 0
    /// What it handed back, as JSON; nil before its end, and when that is beyond what is stored.
    package var output: String?
    /// How each task ended, as JSON pairs in declared order; nil before its end.
    package var outcomes: String?
    /// Its lines, as far as they have a revision.
    package var events: [PipelineEvent]
    /// The completions that were committed with tasks' own writes and that no transition has folded in, in the order of their times.
    package var commits: [PipelineEvent] = []

    /// All lines in the order in which they happened: nothing that is numbered followed from what stands apart.
    package var history: [PipelineEvent] { self.commits.isEmpty ? self.events : self.events + self.commits }

    package init(_ new: NewPipeline) {
        self.parent = new.parent
        self.depth = new.depth
        self.id = new.id
        self.workflow = new.workflow
        self.version = new.version
        self.status = new.owner == nil ? .queued : .running
        self.revision = 1
        self.epoch = new.owner == nil ? 0 : 1
        self.owner = new.owner
        self.recoveries = 0
        self.priority = new.options.priority
        self.timeout = new.options.timeout
        self.input = new.input
        self.createdAt = new.at
        self.startedAt = new.owner == nil ? nil : new.at
        self.dueAt = new.dueAt
        self.idempotencyKey = new.options.idempotencyKey
        self.events = [new.event]
    }

    package init(
        id: UUID, workflow: String, version: String, status: PipelineStatus, revision: Int, epoch: Int, owner: UUID?,
        recoveries: Int, priority: Int, timeout: Duration?, input: Context, createdAt: Date, startedAt: Date?,
        endedAt: Date?, dueAt: Date?, request: PipelineRequest?, idempotencyKey: String?, events: [PipelineEvent]
    ) {
        self.id = id
        self.workflow = workflow
        self.version = version
        self.status = status
        self.revision = revision
        self.epoch = epoch
        self.owner = owner
        self.recoveries = recoveries
        self.priority = priority
        self.timeout = timeout
        self.input = input
        self.createdAt = createdAt
        self.startedAt = startedAt
        self.endedAt = endedAt
        self.dueAt = dueAt
        self.request = request
        self.idempotencyKey = idempotencyKey
        self.events = events
    }

    /// The time from which it waits when it goes back to the queue: those that have begun go before those that came later. One that
    /// never began is due when it was at first, by whatever clock that was; where it was claimed, that has come.
    func place(at now: Date) -> Date {
        guard self.startedAt == nil, let dueAt = self.events.first?.dueAt else {
            return min(now, self.startedAt ?? self.createdAt)
        }
        return self.status == .running ? min(dueAt, now) : dueAt
    }

    /// The pipeline as a claim leaves it, and the line of its history that says so.
    func claimed(by claim: QueueClaim) -> (pipeline: StoredPipeline, event: PipelineEvent) {
        var claimed = self
        claimed.status = .running
        claimed.revision += 1
        claimed.epoch += 1
        claimed.owner = claim.runner
        claimed.dueAt = nil
        if claimed.startedAt == nil {
            claimed.startedAt = claim.at
            claimed.version = claim.workflows[self.workflow] ?? self.version
        }
        claimed.output = nil
        return (claimed, PipelineEvent(.pipelineStarted, worker: claim.runner, at: claim.at))
    }

    /// Whether a task has a line, so that the pipeline is pinned to its version.
    package var isTouched: Bool { !self.commits.isEmpty || self.events.contains { $0.task != nil } }

    /// Whether its history holds more than its beginning.
    package var hasHistory: Bool { self.events.count + self.commits.count > 2 || self.recoveries > 0 }
}

extension PipelineEvent {
    /// The change of the context as it is stored; nil when there is none.
    var storedDelta: String? { self.delta.flatMap { $0.isEmpty ? nil : $0.jsonText } }
}
