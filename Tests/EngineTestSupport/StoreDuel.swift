package import Cloacina
import CloacinaWorkflow
import FoundationEssentials
import TestSupport

/// The same random operations on a store and on the model; every answer and every stored pipeline must be the same.
///
/// Times are multiples of a 64th of a second, which neither microseconds nor floating point round, so that equal times are
/// equal everywhere.
package struct StoreDuel {
    /// How much of the model's behaviour the store promises.
    package enum Rigor: Sendable {
        /// All of it.
        case exact
        /// What a server does with thousands of rows at once: claims come in any order and may leave out a history of two
        /// lines; a batch changes each pipeline once; text has no NUL; a request is forgotten with the claim.
        case served
    }

    /// The first answer that differs.
    package struct Difference: Error, CustomStringConvertible {
        let seed: UInt64
        let step: Int
        let operation: String
        let expected: String
        let found: String

        package var description: String {
            "seed \(self.seed), step \(self.step), \(self.operation)\nexpected: \(self.expected)\nfound:    \(self.found)"
        }
    }

    let seed: UInt64
    private let rigor: Rigor
    private let stores: [any WorkflowStore]
    private let model = InMemoryWorkflowStore()
    private var random: SeededGenerator
    private var step = 0
    private var operation = ""
    /// In 64ths of a second, and in the past of every database's clock.
    private var clock = 1_700_000_000 * 64
    private var created: [NewPipeline] = []
    private let runners: [UUID]

    /// - Parameter stores: One or several empty stores of the same rows; each operation goes to one of them.
    package init(seed: UInt64, on stores: [any WorkflowStore], rigor: Rigor = .exact) {
        self.seed = seed
        self.rigor = rigor
        self.stores = stores
        var random = SeededGenerator(seed: seed)
        self.runners = (0..<4).map { _ in Self.id(&random) }
        self.random = random
    }

    /// How many operations a history has: a few, so that there can be many of them, and many in every fiftieth.
    private var length: Int { self.seed % 50 == 0 ? 100 : 4 + Int(self.seed % 11) }

    /// - Throws: ``Difference``, or whatever the store throws.
    package mutating func run(operations: Int? = nil) async throws {
        let operations = operations ?? self.length
        for step in 1...operations {
            self.step = step
            self.clock += self.random.below(3)
            switch self.random.below(100) {
            case ..<22: try await self.create()
            case ..<52: try await self.apply()
            case ..<66: try await self.claim()
            case ..<71: try await self.ask()
            case ..<78: try await self.beat()
            case ..<82: try await self.beats()
            case ..<87: try await self.recover()
            case ..<89: try await self.leave()
            case ..<94: try await self.list()
            case ..<97: try await self.prune()
            default: try await self.load()
            }
        }
        self.step = operations + 1
        for new in self.created { try await self.compare(new.id) }
        try await self.listAll()
    }

    // MARK: Operations

    private mutating func create() async throws {
        var batch: [NewPipeline] = []
        for _ in 0...self.random.below(self.random.below(3) == 0 ? 8 : 1) {
            batch.append(self.newPipeline(beside: batch))
        }
        self.operation = "create \(batch.map { "\($0.id) key \($0.options.idempotencyKey ?? "-")" })"
        let expected = try await self.model.create(batch)
        let found = try await self.store().create(batch)
        try self.check("\(expected)", "\(found)")
        self.created += zip(batch, expected).filter { $0.1 == .created }.map(\.0)
        for new in batch { try await self.compare(new.id) }
    }

    private mutating func newPipeline(beside batch: [NewPipeline]) -> NewPipeline {
        if self.random.below(12) == 0, let again = self.random.pick(self.created) { return again }
        if self.random.below(8) == 0, let rival = self.rival() { return rival }
        if self.rigor == .exact, self.random.below(12) == 0, let twin = self.random.pick(batch) { return twin }
        var options = ExecutionOptions(priority: [0, 0, 0, 1, 5, -3][self.random.below(6)])
        if self.random.below(3) == 0 { options.idempotencyKey = self.text("key \(self.random.below(10))") }
        if self.random.below(3) == 0 { options.keyReuse = .afterFailure }
        if self.random.below(3) == 0 { options.delay = .milliseconds(125 * self.random.below(9)) }
        if self.random.below(4) == 0 { options.timeout = .milliseconds(self.random.below(1_000_000)) }
        let owner = self.random.below(2) == 0 ? self.random.pick(self.runners) : nil
        if owner != nil { options.delay = .zero }
        return NewPipeline(
            id: Self.id(&self.random), workflow: self.workflow(), version: self.version(), input: self.context(),
            options: options, owner: owner, at: self.now,
            parent: self.random.below(4) == 0 ? self.anyID() : nil, depth: self.random.below(4))
    }

    /// Another one with the key, the workflow and the input of one that was created.
    private mutating func rival() -> NewPipeline? {
        guard var rival = self.random.pick(self.created), rival.options.idempotencyKey != nil else { return nil }
        rival.id = Self.id(&self.random)
        rival.options.keyReuse = self.random.below(2) == 0 ? .afterFailure : .never
        if self.random.below(4) == 0 { rival.input = self.context() }
        return rival
    }

    private mutating func apply() async throws {
        var changes: [PipelineChange] = []
        for _ in 0...self.random.below(self.random.below(3) == 0 ? 10 : 1) {
            guard let target = try await self.anyPipeline() else { break }
            if self.rigor == .served, changes.contains(where: { $0.id == target.id }) { continue }
            changes.append(self.change(of: target))
        }
        guard !changes.isEmpty else { return }
        self.operation =
            "apply \(changes.map { "\($0.id) \($0.transition.expectedRevision) \($0.epoch) \($0.transition.status)" })"
        let expected = try await self.model.apply(changes)
        let found = try await self.store().apply(changes)
        for ((expected, found), change) in zip(zip(expected, found), changes) {
            if self.rigor == .served, change.transition.status != .running, case .applied = expected,
                case .applied = found
            {
                continue
            }
            try self.check("\(expected)", "\(found)")
        }
        try self.check("\(expected.count)", "\(found.count)")
        for change in changes { try await self.compare(change.id) }
    }

    private mutating func change(of pipeline: StoredPipeline) -> PipelineChange {
        var revision = pipeline.revision
        var epoch = pipeline.epoch
        var id = pipeline.id
        // What has ended is only changed by those who are late.
        switch self.random.below(pipeline.status.isTerminal ? 3 : 12) {
        case 0: revision += self.random.below(2) == 0 ? 1 : -1
        case 1: epoch += self.random.below(2) == 0 ? 1 : -1
        case 2: id = Self.id(&self.random)
        default: break
        }
        var transition = PipelineTransition(expectedRevision: revision)
        let statuses: [PipelineStatus] =
            pipeline.status == .running
            ? [.running, .running, .running, .running, .queued, .paused, .completed, .failed, .cancelled]
            : [.queued, .paused, .cancelled]
        transition.status = statuses[self.random.below(statuses.count)]
        if transition.status == .queued { transition.dueAt = self.at(self.clock + self.random.below(40)) }
        for _ in 0..<self.random.below(4) { transition.events.append(self.event()) }
        transition.isUntouched = self.random.below(3) == 0
        if self.random.below(8) == 0 { transition.foldsEverything = true }
        if self.random.below(8) == 0 { transition.version = self.version() }
        if transition.status.isTerminal, self.random.below(2) == 0 {
            transition.output = self.context().jsonText
            transition.outcomes = "[]"
        }
        return PipelineChange(id: id, epoch: epoch, at: self.now, transition: transition)
    }

    private mutating func event() -> PipelineEvent {
        let kind = PipelineEvent.Kind.allCases[self.random.below(PipelineEvent.Kind.allCases.count)]
        var event = PipelineEvent(kind, attempt: self.random.below(4), at: self.now)
        if self.random.below(2) == 0 { event.task = self.text("task \(self.random.below(5))") }
        if self.random.below(2) == 0 { event.worker = self.random.pick(self.runners) }
        if self.random.below(2) == 0 { event.startedAt = self.at(self.clock - self.random.below(1_000)) }
        if self.random.below(3) == 0 { event.detail = self.text("it broke\n") }
        if self.random.below(3) == 0 { event.reason = .rule }
        if self.random.below(4) == 0 { event.dueAt = self.at(self.clock + self.random.below(1_000)) }
        if kind == .taskCompleted { event.delta = ContextDelta(from: self.context(), to: self.context()) }
        return event
    }

    private mutating func claim() async throws {
        var workflows: [String: String] = [:]
        for _ in 0..<self.random.below(4) { workflows[self.workflow()] = self.version() }
        // Two workflows may share a version, and one may be known in several.
        var earlier: [String: Set<String>] = [:]
        for workflow in workflows.keys.sorted() where self.random.below(3) == 0 {
            earlier[workflow] = [self.version()]
        }
        var claim = QueueClaim(
            runner: self.runners[self.random.below(4)], workflows: workflows,
            earlier: earlier, limit: self.random.below(6) - 1, at: self.now)
        if self.random.below(6) == 0 { claim.abovePriority = self.random.below(3) - 1 }
        if self.random.below(6) == 0 { claim.onlyChildren = true }
        self.operation = "claim \(claim.limit) of \(workflows)"
        var expected = try await self.model.claim(claim)
        var found = try await self.store().claim(claim)
        if self.rigor == .served {
            expected.sort { $0.id.uuidString < $1.id.uuidString }
            found.sort { $0.id.uuidString < $1.id.uuidString }
            for index in expected.indices where expected[index].revision <= 2 && index < found.count {
                found[index].events = expected[index].events
            }
        }
        try self.check("\(expected.map(self.describe))", "\(found.map(self.describe))")
        for pipeline in expected { try await self.compare(pipeline.id) }
    }

    private mutating func ask() async throws {
        guard let target = try await self.anyPipeline() else { return }
        let request = PipelineRequest.allCases[self.random.below(3)]
        self.operation = "ask \(request) of \(target.id)"
        try await self.model.ask(request, of: target.id)
        try await self.store().ask(request, of: target.id)
        try await self.compare(target.id)
    }

    private mutating func beat() async throws {
        let runner = self.runners[self.random.below(4)]
        var ids = Set<UUID>()
        for _ in 0..<self.random.below(8) { if let id = self.anyID() { ids.insert(id) } }
        let pipelines = ids.sorted { $0.uuidString < $1.uuidString }
        self.operation = "beat of \(runner) with \(pipelines)"
        let number = self.random.below(4) + 1
        let expected = try await self.model.beat(runner, number: number, pipelines: pipelines, at: self.now)
        let found = try await self.store().beat(runner, number: number, pipelines: pipelines, at: self.now)
        try self.check(Self.sorted(expected.requests), Self.sorted(found.requests))
        try self.check("\(expected.held == found.held)", "true")
    }

    private mutating func beats() async throws {
        let everyOwner = self.random.below(2) == 0
        self.operation = "survey, every owner: \(everyOwner)"
        let expected = try await self.model.survey(everyOwner: everyOwner, at: self.now)
        let found = try await self.store().survey(everyOwner: everyOwner, at: self.now)
        try self.check(Self.sorted(expected.beats), Self.sorted(found.beats))
        try self.check("\(expected.isDue)", "\(found.isDue)")
        try self.check(Self.micros(expected.nextDue), Self.micros(found.nextDue))
        try self.check(Self.sorted(expected.unheard), Self.sorted(found.unheard))
        let runner = self.runners[self.random.below(4)]
        self.operation = "claims of \(runner)"
        try self.check(
            Self.sorted(try await self.model.claims(of: runner)),
            Self.sorted(try await self.store().claims(of: runner)))
    }

    private static let rescuer = UUID()

    private mutating func recover() async throws {
        let runner = self.runners[self.random.below(4)]
        let known = try await self.model.beats(everyOwner: false)[runner] ?? 0
        let beats = self.random.below(3) == 0 ? max(0, known + self.random.below(3) - 1) : known
        self.operation = "recover \(runner), \(beats) beats"
        let expected = try await self.model.recover(runner, beats: beats, by: Self.rescuer, at: self.now)
        let found = try await self.store().recover(runner, beats: beats, by: Self.rescuer, at: self.now)
        try self.check("\(expected)", "\(found)")
        for new in self.created.suffix(10) { try await self.compare(new.id) }
    }

    private mutating func leave() async throws {
        let runner = self.runners[self.random.below(4)]
        self.operation = "leave \(runner)"
        try await self.model.leave(runner)
        try await self.store().leave(runner)
    }

    private mutating func list() async throws {
        var query = PipelineQuery(limit: self.random.below(12) - 1)
        if self.random.below(3) == 0 { query.workflow = self.workflow() }
        for _ in 0..<self.random.below(3) {
            query.statuses.insert(PipelineStatus.allCases[self.random.below(PipelineStatus.allCases.count)])
        }
        if self.random.below(2) == 0 { query.after = self.anyID() }
        self.operation = "list \(query)"
        let expected = try await self.model.list(query)
        let found = try await self.store().list(query)
        try self.check("\(expected.map(Self.describe))", "\(found.map(Self.describe))")
    }

    private mutating func listAll() async throws {
        var query = PipelineQuery(limit: 7)
        while true {
            self.operation = "list by sevens after \(query.after.map { "\($0)" } ?? "nothing")"
            let expected = try await self.model.list(query)
            let found = try await self.store().list(query)
            try self.check("\(expected.map(Self.describe))", "\(found.map(Self.describe))")
            guard let last = expected.last else { return }
            query.after = last.id
        }
    }

    private mutating func prune() async throws {
        let (time, limit) = (self.at(self.clock - self.random.below(60)), self.random.below(5))
        let last = UUID(uuidString: "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF") ?? UUID()
        let bound = self.random.below(3) == 0 ? self.anyID() ?? last : last
        self.operation = "prune \(limit) below \(bound)"
        let expected = try await self.model.prune(endedBefore: time, below: bound, limit: limit)
        let found = try await self.store().prune(endedBefore: time, below: bound, limit: limit)
        try self.check("\(expected)", "\(found)")
    }

    private mutating func load() async throws {
        guard let id = self.anyID() else { return }
        self.operation = "load"
        try await self.compare(id)
    }

    // MARK: Comparing

    private mutating func compare(_ id: UUID) async throws {
        let expected = try await self.model.load(id).map(self.describe) ?? "none"
        let found = try await self.store().load(id).map(self.describe) ?? "none"
        try self.check(expected, found)
        try self.check(
            "\(String(describing: try await self.model.status(of: id)))",
            "\(String(describing: try await self.store().status(of: id)))")
    }

    private func check(_ expected: String, _ found: String) throws {
        guard Array(expected.utf8) != Array(found.utf8) else { return }
        throw Difference(
            seed: self.seed, step: self.step, operation: self.operation, expected: expected, found: found)
    }

    private func describe(_ pipeline: StoredPipeline) -> String {
        let request = self.rigor == .served && pipeline.status != .running ? nil : pipeline.request
        return """
            \(pipeline.id) \(pipeline.workflow) \(pipeline.version) \(pipeline.status) revision \(pipeline.revision) epoch \
            \(pipeline.epoch) owner \(pipeline.owner.map { "\($0)" } ?? "-") recoveries \(pipeline.recoveries) priority \
            \(pipeline.priority) timeout \(pipeline.timeout.map { "\($0)" } ?? "-") input \(pipeline.input.jsonText) \
            \(Self.micros(pipeline.createdAt)) \(Self.micros(pipeline.startedAt)) \(Self.micros(pipeline.endedAt)) \
            \(Self.micros(pipeline.dueAt)) request \(request.map { "\($0)" } ?? "-") key \(pipeline.idempotencyKey ?? "-") \
            parent \(pipeline.parent.map { "\($0)" } ?? "-") depth \(pipeline.depth) output \(pipeline.output ?? "-") \
            outcomes \(pipeline.outcomes ?? "-")
            \(pipeline.events.map(Self.describe).joined(separator: "\n"))
            """
    }

    private static func describe(_ event: PipelineEvent) -> String {
        """
        \(event.kind) task \(event.task ?? "-") \(event.attempt) worker \(event.worker.map { "\($0)" } ?? "-") \
        \(self.micros(event.startedAt)) \(self.micros(event.at)) \(self.micros(event.dueAt)) \(event.reason?.rawValue ?? "-") \(event.detail ?? "-") \
        \(event.delta?.jsonText ?? "-")
        """
    }

    private static func describe(_ summary: PipelineSummary) -> String {
        """
        \(summary.id) \(summary.workflow) \(summary.version) \(summary.status) \(self.micros(summary.createdAt)) \
        \(self.micros(summary.startedAt)) \(self.micros(summary.endedAt)) \(summary.recoveries)
        """
    }

    private static func sorted<Value>(_ values: [UUID: Value]) -> String {
        "\(values.map { "\($0.key): \($0.value)" }.sorted())"
    }

    private static func micros(_ date: Date?) -> String {
        date.map { "\(($0.timeIntervalSince1970 * 1_000_000).rounded())" } ?? "-"
    }

    // MARK: Values

    private mutating func store() -> any WorkflowStore { self.stores[self.random.below(self.stores.count)] }

    private var now: Date { self.at(self.clock) }

    private func at(_ ticks: Int) -> Date { Date(timeIntervalSince1970: Double(ticks) / 64) }

    private mutating func anyPipeline() async throws -> StoredPipeline? {
        guard let id = self.random.pick(self.created)?.id else { return nil }
        return try await self.model.load(id)
    }

    private mutating func anyID() -> UUID? {
        self.random.below(10) == 0 ? Self.id(&self.random) : self.random.pick(self.created)?.id
    }

    private mutating func workflow() -> String { self.text("workflow \(self.random.below(3))", variants: 1) }

    private mutating func version() -> String { "v\(self.random.below(2))" }

    private mutating func text(_ base: String, variants: Int = 4) -> String {
        switch self.random.below(variants) {
        case 1: base + " '; DROP TABLE \"x\"; -- ü\u{1F4A5}"
        case 2: base + (self.rigor == .exact ? "\0 after" : "\u{FFFD}")
        case 3: base + "%_\\ \t"
        default: base
        }
    }

    private mutating func context() -> Context {
        var values: [String: JSONValue] = [:]
        for _ in 0..<self.random.below(4) {
            let value: JSONValue =
                switch self.random.below(6) {
                case 0: .object(["deep": .array([.null, .bool(true)]), "\u{0}": .string("\u{0}\u{1F680}'")])
                case 1: .string("text \(self.random.below(100))")
                case 2: .null
                default: .string(String(repeating: "x", count: self.random.below(2_000)))
                }
            values["k\(self.random.below(5))"] = value
        }
        return (try? Context(values)) ?? Context()
    }

    private static func id(_ random: inout SeededGenerator) -> UUID {
        // Late times, so that ids begin with every byte.
        UUID.version7(at: Date(timeIntervalSince1970: Double(random.below(1 << 38))), using: &random)
    }
}

extension SeededGenerator {
    fileprivate mutating func below(_ limit: Int) -> Int { limit < 2 ? 0 : Int(self.next() % UInt64(limit)) }

    fileprivate mutating func pick<Element>(_ elements: [Element]) -> Element? {
        elements.isEmpty ? nil : elements[self.below(elements.count)]
    }
}
