import Cloacina
import FoundationEssentials

/// Reads what a history has left in the store, and says what of it can't be.
///
/// - Every pipeline has ended, and is nobody's.
/// - Whoever was told a result was told what somebody reads who has the code, and who has not, and what a replay says.
/// - Every replay of the history up to a revision fits, and what has ended in it stays as it is.
/// - Every task has one outcome, and no line after it; no number of an attempt was given twice.
/// - The code of every attempt that ended ran, once, and was given what a replay gives it.
/// - Every task that commits itself and has completed has left one row, and no other has left any.
/// - A pipeline has the version of whoever had it when its first task began.
struct HistoryAudit {
    private let plan: HistoryPlan
    private let world: HistoryWorld
    private let roster: HistoryRoster
    private let stores: StoreProperty.Stores
    private let code: HistoryCode
    private let versions: [Int: String]
    /// Runners that had no part in it: with the code, and without.
    private let knowing: DefaultRunner
    private let ignorant: DefaultRunner

    init(
        _ plan: HistoryPlan, of world: HistoryWorld, roster: HistoryRoster, on stores: StoreProperty.Stores
    ) throws {
        self.plan = plan
        self.world = world
        self.roster = roster
        self.stores = stores
        let nobody = HistoryProcess(number: -1, plan: HistoryPlan.survivor, world: world)
        self.code = try HistoryCode(plan, in: nobody, on: stores)
        self.versions = self.code.roots.mapValues(\.contentVersion.hex)
        self.knowing = try DefaultRunner(store: stores.reader)
        try self.code.register(HistoryPlan.survivor, with: self.knowing)
        self.ignorant = try DefaultRunner(store: stores.reader)
    }

    /// What is not as it must be.
    func problems() async throws -> [String] {
        var problems: [String] = []
        for id in self.world.pipelines {
            problems += try await self.problems(of: id).map { "\(id): \($0)" }
        }
        return problems
    }

    private func problems(of id: UUID) async throws -> [String] {
        guard let stored = try await self.stores.reader.load(id) else { return ["it is gone"] }
        guard stored.status.isTerminal else { return ["it has not ended: \(stored.status)"] }
        let eras = self.eras(of: stored)
        guard !eras.isEmpty else { return ["nobody knows version \(stored.version)"] }
        self.count(stored)
        var problems = self.remains(of: stored)
        let read = try await self.knowing.result(of: id).sightForTests
        let readWithoutCode = try await self.ignorant.result(of: id).sightForTests
        if read != readWithoutCode { problems.append("read as\n\(read)\nand without code as\n\(readWithoutCode)") }
        for answer in self.world.answers where answer.pipeline == id && answer.sight != read {
            problems.append("\(answer.who) was told\n\(answer.sight)\nread is\n\(read)")
        }
        if try await self.ignorant.history(of: id) != stored.history { problems.append("two histories are read of it") }
        if let last = eras.last, last.version != stored.version {
            problems.append("it has version \(stored.version), and goes on with \(last.version)")
        }
        let check = HistoryReplay(
            stored, eras: eras, revisions: try await self.revisions(of: stored),
            isWhole: !self.wasEndedByAStranger(stored))
        problems += check.problems(read: read)
        let bodies = self.world.bodies.filter { $0.pipeline == id }
        problems += check.problems(of: bodies)
        problems += self.problems(of: bodies, in: stored)
        return problems + (try await self.effectProblems(of: stored))
    }

    private func count(_ stored: StoredPipeline) {
        self.world.count(.pipelines)
        switch stored.status {
        case .completed: self.world.count(.completed)
        case .failed: self.world.count(.failed)
        default: self.world.count(.cancelled)
        }
    }

    /// What should not be there any more.
    private func remains(of stored: StoredPipeline) -> [String] {
        var problems: [String] = []
        if let owner = stored.owner { problems.append("it is still \(owner)'s") }
        if let dueAt = stored.dueAt { problems.append("it is due at \(dueAt.timeIntervalSince1970)") }
        if let request = stored.request { problems.append("it is still asked to \(request)") }
        if !stored.commits.isEmpty { problems.append("own commits stand apart: \(stored.commits.map(\.words))") }
        let recoveries = stored.events.count { event in
            // What a living runner gives back is none.
            event.kind == .pipelineRecovered && (event.reason == .runnerDied || event.reason == .runnerStopped)
        }
        if recoveries != stored.recoveries { problems.append("\(recoveries) recoveries, stored \(stored.recoveries)") }
        for event in stored.events where event.reason == .unreadable || event.reason == .refused {
            problems.append("it was set aside: \(event.words) \(event.detail ?? "")")
        }
        return problems
    }

    // MARK: Versions

    private func workflow(_ version: String, of stored: StoredPipeline) -> Workflow? {
        if let below = self.code.below.first(where: { $0.name == stored.workflow }) { return below }
        return self.versions.first { $0.value == version }.flatMap { self.code.roots[$0.key] }
    }

    /// The versions that the pipeline had, each from a line on. Until a task has a line, whoever begins it decides, and after that
    /// whoever says so.
    private func eras(of stored: StoredPipeline) -> [HistoryReplay.Era] {
        let isRoot = stored.workflow == self.plan.name(of: .root)
        var eras: [(line: Int, version: String)] = []
        var isTouched = false
        for (line, event) in stored.events.enumerated() where isRoot {
            if event.task != nil { isTouched = true }
            guard let process = self.roster.process(of: event.worker), let version = self.versions[process.plan.version]
            else { continue }
            let isEndOfUntouched =
                event.kind == .pipelineCancelled && Self.isUntouched(stored, until: line, by: event.worker)
            if event.kind == .pipelineStarted && !isTouched || isEndOfUntouched {
                if let last = eras.last, last.version != version { self.world.count(.newVersions) }
                eras = [(0, version)]
            } else if event.kind == .pipelineContinued {
                self.world.count(.newVersions)
                eras.append((eras.isEmpty ? 0 : line, version))
            }
        }
        if eras.isEmpty { eras = [(0, stored.version)] }
        return eras.compactMap { era in
            self.workflow(era.version, of: stored).map {
                HistoryReplay.Era(line: era.line, version: era.version, workflow: $0)
            }
        }
    }

    /// True when no line of a task stood before one process cancelled it: it ends with the tasks of that process's version.
    private static func isUntouched(_ stored: StoredPipeline, until line: Int, by worker: UUID?) -> Bool {
        stored.events.prefix(line).allSatisfy { event in
            event.task == nil || event.kind == .taskSkipped && event.worker == worker
        }
    }

    /// Whether somebody cancelled it who doesn't know its version, and so could not say what its tasks come to.
    private func wasEndedByAStranger(_ stored: StoredPipeline) -> Bool {
        guard let last = stored.events.last, last.kind == .pipelineCancelled,
            stored.workflow == self.plan.name(of: .root), let process = self.roster.process(of: last.worker)
        else { return false }
        return !self.versions.contains { $0.value == stored.version && process.plan.knows(version: $0.key) }
    }

    // MARK: Revisions

    /// How many lines the history has at each revision, from the first one.
    private func revisions(of stored: StoredPipeline) async throws -> [Int] {
        let recorded = try await self.stores.reader.events(EventQuery(pipeline: stored.id, limit: 10_000))
        // A store in memory keeps no revisions; those who wrote know them.
        let isCounted = recorded.allSatisfy { $0.cursor.revision == 0 }
        let written = self.world.lines(of: stored.id)
        var (lines, count) = ([Int](), 0)
        for revision in 1...max(1, stored.revision) {
            count += isCounted ? written[revision] ?? 1 : recorded.count { $0.cursor.revision == revision }
            lines.append(count)
        }
        return lines
    }

    // MARK: Code that ran

    private func problems(of bodies: [HistoryWorld.Body], in stored: StoredPipeline) -> [String] {
        var problems: [String] = []
        func isSame(_ event: PipelineEvent, _ body: HistoryWorld.Body) -> Bool {
            event.task == body.task && event.attempt == body.attempt
        }
        for event in stored.events where event.kind == .taskCompleted || event.kind == .taskRetrying {
            let process = self.roster.process(of: event.worker)?.number
            if !bodies.contains(where: { isSame(event, $0) && $0.process == process }) {
                problems.append("its code never ran, or elsewhere: \(event.words)")
            }
        }
        let ends: [PipelineEvent.Kind] = [.taskCompleted, .taskRetrying, .taskFailed, .taskInterrupted]
        for body in bodies where self.roster.process(number: body.process)?.isDead == false {
            let count = stored.events.count { ends.contains($0.kind) && $0.reason != .abandoned && isSame($0, body) }
            if count != 1 { problems.append("\(body.task) #\(body.attempt) ran and has \(count) ends") }
        }
        return problems
    }

    private func effectProblems(of stored: StoredPipeline) async throws -> [String] {
        let committing = self.code.committing[stored.workflow] ?? []
        let found = try await self.stores.effects(stored.id).map { "\($0.task) #\($0.attempt)" }.sorted()
        let expected = stored.events.filter { event in
            event.kind == .taskCompleted && event.task.map { committing.contains($0) } ?? false
        }.map { "\($0.task ?? "") #\($0.attempt)" }.sorted()
        return found == expected ? [] : ["tasks have committed \(found), completed are \(expected)"]
    }

    // MARK: As text

    /// All that is known of the history.
    func story() async -> String {
        var parts = [self.plan.description, "what happened:", self.world.diary.joined(separator: "\n")]
        for id in self.world.pipelines {
            guard let stored = try? await self.stores.reader.load(id) else { continue }
            parts.append(
                "\(id) \"\(stored.workflow)\" version \(stored.version.prefix(6)), \(stored.status), revision \(stored.revision), "
                    + "epoch \(stored.epoch), owner \(stored.owner.map { "\($0)" } ?? "-"), "
                    + "request \(stored.request.map { "\($0)" } ?? "-")")
            let revisions = (try? await self.revisions(of: stored)) ?? []
            for (index, event) in stored.history.enumerated() {
                let revision = revisions.firstIndex { $0 > index }.map { "\($0 + 1)" } ?? "apart"
                let worker = event.worker.map { " by \($0)" } ?? ""
                parts.append("    \(revision): \(event.words)\(worker) \(event.detail ?? "")")
            }
        }
        return self.named(parts.joined(separator: "\n"))
    }

    /// The text with names in place of ids.
    func named(_ text: String) -> String {
        var text = text
        let pipelines = self.world.pipelines.enumerated().map { ($0.element, "p\($0.offset)") }
        for (id, name) in pipelines + self.roster.all.map({ ($0.runner, "process \($0.process.number)") }) {
            text.replace("\(id)", with: name)
            text.replace("\(id)".lowercased(), with: name)
        }
        return text
    }
}
