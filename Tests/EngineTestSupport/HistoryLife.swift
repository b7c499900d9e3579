import Cloacina
import FoundationEssentials
import Synchronization

/// Lives one history to its end: begins the root, does what is planned when its time has come, and sees to it that somebody goes on
/// with whatever stands still.
///
/// It waits for nothing but the world's news. What a runner must find out by itself it is left to find out.
struct HistoryLife: Sendable {
    private struct Member: Sendable {
        let process: HistoryProcess
        let runner: DefaultRunner
    }

    /// That a process was shown a pipeline in the queue.
    private struct Showing: Hashable {
        let pipeline: UUID
        let revision: Int
        let process: Int
    }

    private struct Stopped: Error, CustomStringConvertible {
        var description: String { "it was not lived to its end" }
    }

    private let plan: HistoryPlan
    private let world: HistoryWorld
    private let roster: HistoryRoster
    private let stores: StoreProperty.Stores
    private let clock = HastyClock()
    private var random: SplitMix64
    private var happenings: ArraySlice<PlannedHappening>
    private var members: [Member] = []
    private var callers: [HistoryCaller] = []
    private var endings: [Task<Void, Never>] = []
    private var ended: Set<UUID> = []
    private var shown: Set<Showing> = []
    /// The content versions of the root, by 1 and 2.
    private var versions: [Int: String] = [:]

    init(_ plan: HistoryPlan, in world: HistoryWorld, roster: HistoryRoster, on stores: StoreProperty.Stores) {
        self.plan = plan
        self.world = world
        self.roster = roster
        self.stores = stores
        self.random = SplitMix64(seed: ~plan.seed)
        self.happenings = plan.happenings[...]
    }

    mutating func live() async throws {
        try self.callRoot()
        repeat {
            try await self.drive()
            await self.endAll()
            // Code that nobody waited for any more may have begun something just before.
        } while try await !self.open().isEmpty
        // Nobody takes the dead off the list who had nothing, and others read it.
        for runner in self.roster.dead { try await self.stores.reader.leave(runner) }
    }

    private mutating func drive() async throws {
        while true {
            guard !self.world.isAbandoned else { throw Stopped() }
            guard self.world.problems.isEmpty else {
                await self.endAll()
                throw Stopped()
            }
            let generation = self.world.generation
            if self.world.takeSweep() { self.shown = [] }
            try await self.performDue()
            let open = try await self.open()
            if open.isEmpty, !self.world.hasWaitingCallers {
                guard try self.mustCallAgain() else { return }
                continue
            }
            if try await self.goOn(with: open) { continue }
            await self.world.change(after: generation)
        }
    }

    /// The pipelines of the history that have not ended.
    private mutating func open() async throws -> [StoredPipeline] {
        var open: [StoredPipeline] = []
        for id in self.world.pipelines where !self.ended.contains(id) {
            guard let row = try await self.stores.reader.row(of: id) else {
                self.world.problem("\(id) is gone")
                self.ended.insert(id)
                continue
            }
            if row.status.isTerminal { self.ended.insert(id) } else { open.append(row) }
        }
        return open
    }

    // MARK: Processes

    /// Starts the next process.
    ///
    /// - Parameter version: A version of the root that it knows, whatever is planned.
    private mutating func launch(knowing version: String? = nil) throws -> Member {
        let number = self.members.count
        var plan = number < self.plan.processes.count ? self.plan.processes[number] : HistoryPlan.survivor
        if let version, self.versions[plan.version] != version { plan.knowsTheOther = true }
        let process = HistoryProcess(number: number, plan: plan, world: self.world)
        let code = try HistoryCode(self.plan, in: process, on: self.stores)
        if self.versions.isEmpty { self.versions = code.roots.mapValues(\.contentVersion.hex) }
        let store = ProcessStore(underlying: self.stores.store(number), process: process, roster: self.roster)
        let runner = try self.stores.makeRunner(store, Self.configuration(of: plan), self.clock)
        try code.register(plan, with: runner)
        self.roster.add(runner.id, of: process)
        self.world.note("\(number) begins: \(plan)")
        self.members.append(Member(process: process, runner: runner))
        return self.members[number]
    }

    private static func configuration(of plan: ProcessPlan) -> RunnerConfiguration {
        var configuration = RunnerConfiguration()
        configuration.maximumConcurrentTasks = plan.slots
        configuration.cancellationGrace = plan.grace
        configuration.maximumRecoveries = plan.recoveries
        configuration.heartbeatInterval = HastyClock.heartbeat
        configuration.versionPolicy = plan.slots.isMultiple(of: 2) ? .pinned : .continueWhenHistoryFits
        // Whoever is looked for is dead; see `ProcessStore`.
        configuration.leaseDuration = .zero
        return configuration
    }

    private var living: [Member] { self.members.filter(\.process.isUp) }

    /// Some process that lives; a new one when none does.
    private mutating func anybody() throws -> Member {
        let living = self.living
        return living.isEmpty ? try self.launch() : self.random.pick(living)
    }

    /// Ends everybody in good order, the dead too, of whom threads are left.
    private mutating func endAll() async {
        for ending in self.endings { await ending.value }
        self.endings = []
        let members = self.members.filter { !$0.process.isLeaving }
        for member in members { member.process.leave() }
        await withDiscardingTaskGroup { group in
            for member in members { group.addTask { await member.runner.shutDown(drain: .zero) } }
        }
    }

    // MARK: Callers

    private mutating func callRoot() throws {
        let member = try self.launch()
        let caller = HistoryCaller(in: member.process)
        self.callers.append(caller)
        caller.begin { [plan = self.plan, runner = member.runner] () async throws(PipelineError) in
            try await Self.root(of: plan, by: runner)
        }
    }

    /// Calls once more when the process died before anything was stored.
    ///
    /// - Returns: False when there is something stored, or the caller wants nothing any more.
    private mutating func mustCallAgain() throws -> Bool {
        guard self.world.pipelines.isEmpty, self.callers.count < 8, self.callers.last?.isCancelled == false else {
            return false
        }
        try self.callRoot()
        return true
    }

    private static func root(
        of plan: HistoryPlan, by runner: DefaultRunner
    ) async throws(PipelineError) -> PipelineResult {
        let name = plan.name(of: .root)
        var options = ExecutionOptions(timeout: plan.timeout)
        let input: Context
        do { input = try Context(["a": 0, "flag": true]) } catch {
            throw PipelineError(.invalidOptions, "no input", underlying: error)
        }
        switch plan.caller {
        case .execute: return try await runner.execute(name, context: input, options: options)
        case .executeAsync:
            return try await runner.executeAsync(name, context: input, options: options).result()
        case .enqueue:
            let id = try await runner.enqueue(name, context: input, options: options).id
            return try await runner.result(of: id)
        case .enqueueWithDelay:
            options.delay = .milliseconds(2)
            return try await runner.executeAsync(name, context: input, options: options).result()
        }
    }

    // MARK: What is planned

    private mutating func performDue() async throws {
        while let next = self.happenings.first, next.step <= self.world.steps { try await self.performNext() }
        self.world.wake(atStep: self.happenings.first?.step)
    }

    private mutating func performNext() async throws {
        guard let happening = self.happenings.popFirst() else { return }
        self.world.note("now \(happening.kind)")
        switch happening.kind {
        case .pause(let number): try await self.ask(.pause, ofNumber: number)
        case .resume(let number): try await self.ask(.resume, ofNumber: number)
        case .cancel(let number): try await self.ask(.cancel, ofNumber: number)
        case .cancelCaller: self.callers.first?.cancel()
        case .shutDown(let number, let isPatient): self.shutDown(number, isPatient: isPatient)
        case .die(let number):
            let living = self.living
            if !living.isEmpty { living[number % living.count].process.die() }
        case .join: try await self.join()
        }
    }

    /// Has somebody ask for something of one of the pipelines.
    private mutating func ask(_ request: PipelineRequest, ofNumber number: Int) async throws {
        let pipelines = self.world.pipelines
        guard !pipelines.isEmpty else { return }
        try await self.ask(request, of: pipelines[number % pipelines.count])
    }

    private mutating func ask(_ request: PipelineRequest, of id: UUID) async throws {
        let member = try self.anybody()
        do throws(PipelineError) {
            switch request {
            case .pause: try await member.runner.pause(id)
            case .resume: try await member.runner.resume(id)
            case .cancel: try await member.runner.cancel(id)
            }
        } catch {
            self.world.note("\(member.process.number) can't \(request) \(id): \(error)")
            // It has ended, or whoever was to ask has.
            guard error.code != .notPossible, member.process.isUp else { return }
            self.world.problem("asked to \(request) \(id): \(error)")
        }
    }

    private mutating func shutDown(_ number: Int, isPatient: Bool) {
        let living = self.living
        guard !living.isEmpty else { return }
        let member = living[number % living.count]
        member.process.leave()
        // Beside everything else; awaited when all end.
        self.endings.append(
            Task { [world = self.world] in
                await member.runner.shutDown(drain: isPatient ? .seconds(15) : .zero)
                world.pulse("\(member.process.number) has ended")
            })
    }

    private mutating func join() async throws {
        let member = try self.launch()
        if let root = self.world.pipelines.first {
            let caller = HistoryCaller(in: member.process)
            self.callers.append(caller)
            caller.begin { [runner = member.runner] () async throws(PipelineError) in try await runner.result(of: root)
            }
        }
        await member.runner.serveOnce()
    }

    // MARK: What stands still

    /// Sees to it that somebody goes on with what stands still.
    ///
    /// - Returns: Whether all must be looked at again.
    private mutating func goOn(with open: [StoredPipeline]) async throws -> Bool {
        for row in open {
            switch row.status {
            case .running:
                guard let owner = self.roster.process(of: row.owner) else {
                    self.world.problem("\(row.id) is \(row.owner.map { "\($0)" } ?? "nobody")'s")
                    throw Stopped()
                }
                guard owner.isDead else { continue }
                try await self.rescue(row)
                return true
            case .paused:
                // What is planned happens to what stands still too; it would not get any further by itself.
                if !self.happenings.isEmpty { try await self.performNext() }
                try await self.ask(.resume, of: row.id)
                return true
            case .queued: try await self.show(row)
            case .completed, .failed, .cancelled, .unknown: break
            }
        }
        return false
    }

    /// Has somebody take from a dead process what it had. A server may not know yet that it commits for nobody; until then nobody
    /// has it.
    private mutating func rescue(_ row: StoredPipeline) async throws {
        let member = try self.anybody()
        while member.process.isUp, !self.world.isAbandoned {
            await member.runner.serveOnce()
            let now = try await self.stores.reader.row(of: row.id)
            guard let now, now.status == .running, now.epoch == row.epoch else { return }
            await Task.yield()
        }
    }

    /// Has somebody look at the queue who may take a pipeline.
    private mutating func show(_ row: StoredPipeline) async throws {
        let isRoot = row.workflow == self.plan.name(of: .root)
        let able = self.living.filter { member in
            // What has not begun goes on with whatever version comes next.
            !isRoot || row.startedAt == nil
                || self.versions.contains { $0.value == row.version && member.process.plan.knows(version: $0.key) }
        }
        let showings = able.map { Showing(pipeline: row.id, revision: row.revision, process: $0.process.number) }
        guard self.shown.isDisjoint(with: showings) else { return }
        let member =
            able.isEmpty ? try self.launch(knowing: isRoot ? row.version : nil) : self.random.pick(able)
        self.shown.insert(Showing(pipeline: row.id, revision: row.revision, process: member.process.number))
        await member.runner.serveOnce()
    }
}

/// Somebody in a process who waits for a pipeline's end, and tells the world what came of that.
final class HistoryCaller: Sendable {
    private struct State {
        var task: Task<Void, Never>?
        var isCancelled = false
    }

    private let process: HistoryProcess
    private let state = Mutex(State())

    init(in process: HistoryProcess) { self.process = process }

    var isCancelled: Bool { self.state.withLock { $0.isCancelled } }

    func begin(_ body: @escaping @Sendable () async throws(PipelineError) -> PipelineResult) {
        self.process.world.noteCaller()
        let task = Task { await self.wait(body) }
        self.state.withLock { $0.task = task }
    }

    func cancel() {
        let task = self.state.withLock { state in
            state.isCancelled = true
            return state.task
        }
        task?.cancel()
    }

    private func wait(_ body: @Sendable () async throws(PipelineError) -> PipelineResult) async {
        let (name, world) = ("a caller in \(self.process.number)", self.process.world)
        do throws(PipelineError) {
            let result = try await body()
            world.note(HistoryWorld.Answer(who: name, pipeline: result.id, sight: result.sightForTests))
            world.noteEnd(of: name, nil)
        } catch {
            // Nobody is told anything in a process that is no more, or by a runner that is being shut down.
            let isExcused = !self.process.isUp || self.isCancelled && error.code == .cancelled
            if !isExcused { world.problem("\(name) is told \(error)") }
            world.noteEnd(of: name, error)
        }
    }
}
