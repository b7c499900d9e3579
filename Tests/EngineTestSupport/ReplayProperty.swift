package import Cloacina
import FoundationEssentials

/// Lives of one pipeline made by chance: attempts that succeed, fail, retry or commit themselves, pauses, releases, cancels,
/// timeouts, crashes, recoveries. At every revision the live machine equals its replay from what is stored.
package struct ReplayProperty {
    /// What was not as it must be, and how to see it again.
    package struct Violation: Error, CustomStringConvertible {
        package let seed: UInt64
        package let what: String
        package let story: [String]
        package var description: String { "seed \(seed): \(what)\n\(story.joined(separator: "\n"))" }
    }

    private let seed: UInt64
    private var random: SplitMix64
    private let made: RandomWorkflow
    private var stored: StoredPipeline
    private var machine: PipelineStateMachine
    /// The attempts that run, by position.
    private var running: [Int: Int] = [:]
    /// The completions that are stored and that the live machine has not been told of.
    private var untold: [Int: ContextDelta] = [:]
    private var now = Date(timeIntervalSince1970: 1_000)
    private var deaths = 0
    private var story: [String] = []

    package init(seed: UInt64) throws {
        self.seed = seed
        self.random = SplitMix64(seed: seed)
        self.made = try RandomWorkflow(using: &self.random)
        let owner = UUID()
        self.stored = StoredPipeline(
            NewPipeline(
                id: UUID(), workflow: "random", version: "v", input: try Context(["a": 0]), owner: owner, at: self.now))
        self.machine = PipelineStateMachine(
            workflow: self.made.workflow, input: self.stored.input, worker: owner, resuming: self.stored,
            maximumRecoveries: 2, at: self.now)
    }

    /// Lives one life to its end.
    package mutating func run() throws {
        var steps = 0
        while !self.stored.status.isTerminal {
            steps += 1
            guard steps < 400 else { throw self.violation("no end after \(steps) steps") }
            self.now += 0.001
            try self.step(isLate: steps > 60)
            try self.compare()
        }
        try self.compareEnd()
    }

    // MARK: Steps

    private mutating func step(isLate: Bool) throws {
        switch self.chance(isLate ? 30 : 40) {
        case 30: self.note("pause") { $0.receive(.pause) }
        case 31: self.note("resume") { $0.receive(.resume) }
        case 32: self.note("release") { $0.receive(.release) }
        case 33 where self.chance(4) == 0: self.note("cancel") { [now] in $0.receive(.cancel(at: now)) }
        case 34 where self.chance(8) == 0 && self.untold.isEmpty:
            self.note("timeout") { [now] in $0.receive(.timedOut(at: now)) }
            self.running = self.running.filter { self.machine.tasks[$0.key].state == .running }
        case 35 where self.deaths < 4: return try self.crash()
        case 36 where self.untold.isEmpty:
            self.note("give up") { [now] in $0.receive(.giveUp(at: now)) }
            self.running = self.running.filter { self.machine.tasks[$0.key].state == .running }
        default: try self.work()
        }
        try self.write()
    }

    private mutating func work() throws {
        switch self.chance(4) {
        case 0, 1:
            for start in self.machine.begin(upTo: 1 + self.chance(3), at: self.now) {
                self.running[start.position] = start.attempt
                self.story.append("begin t\(start.position) #\(start.attempt)")
            }
        case 2:
            if let position = self.untold.keys.sorted().randomElement(using: &self.random) {
                return self.tell(position)
            }
            fallthrough
        default:
            if let retry = self.machine.retries.randomElement(using: &self.random), self.chance(2) == 0 {
                self.machine.receive(.retryDue(position: retry.position, attempt: retry.attempt))
                self.story.append("due t\(retry.position)")
            }
            if let position = self.running.keys.sorted().randomElement(using: &self.random) { self.end(position) }
        }
    }

    private mutating func end(_ position: Int) {
        guard let attempt = self.running[position], self.untold[position] == nil else { return }
        if self.made.committing.contains(position), self.chance(2) == 0 {
            // Its completion is stored apart; the machine hears of that later, or never.
            let delta = self.delta(of: position)
            self.untold[position] = delta
            self.stored.commits.append(
                PipelineEvent(
                    .taskCompleted, task: "t\(position)", attempt: attempt, worker: self.machine.worker,
                    startedAt: self.now, at: self.now, delta: delta))
            self.story.append("commit t\(position)")
            return
        }
        self.running[position] = nil
        let outcome: TaskOutcome
        switch self.chance(6) {
        case 0: outcome = .failed(TaskFailure(text: "fatal", typeName: "E", isTransient: false))
        case 1: outcome = .failed(TaskFailure(text: "for now", typeName: "E", isTransient: true))
        case 2 where self.chance(6) == 0: outcome = .interrupted
        default:
            let delta = self.delta(of: position)
            outcome = .completed(delta)
            if let given = try? self.machine.given(to: position), self.chance(2) == 0 {
                var output = given
                try? output.apply([delta])
                self.machine.remember(output, of: position, attempt: attempt)
            }
        }
        self.receive(position, attempt, outcome)
    }

    private mutating func tell(_ position: Int) {
        guard let delta = self.untold.removeValue(forKey: position),
            let attempt = self.running.removeValue(forKey: position)
        else { return }
        self.receive(position, attempt, .committed(delta))
    }

    private mutating func receive(_ position: Int, _ attempt: Int, _ outcome: TaskOutcome) {
        self.machine.receive(
            .ended(
                position: position, attempt: attempt, outcome: outcome, startedAt: self.now, at: self.now,
                random: self.random.next()))
        self.story.append("t\(position) #\(attempt) \(outcome)")
    }

    private mutating func delta(of position: Int) -> ContextDelta {
        let given = Context()
        var changed = given
        for _ in 0..<self.chance(3) {
            let key = RandomWorkflow.keys[self.chance(RandomWorkflow.keys.count)]
            try? changed.set(key, to: key == "flag" ? JSONValue.bool(self.chance(2) == 0) : .integer(Int64(position)))
        }
        return ContextDelta(from: given, to: changed)
    }

    private mutating func note(_ what: String, _ body: (inout PipelineStateMachine) -> Void) {
        self.story.append(what)
        body(&self.machine)
    }

    /// Writes the next transition, as a store does; a pipeline that was given back is claimed anew.
    private mutating func write() throws {
        if !self.untold.isEmpty, self.machine.runningCountForTests == self.untold.count, self.chance(3) == 0 {
            for position in self.untold.keys.sorted() { self.tell(position) }
        }
        guard let transition = self.machine.commit(at: self.now) else { return }
        guard transition.expectedRevision == self.stored.revision else {
            throw self.violation("expects revision \(transition.expectedRevision), stored is \(self.stored.revision)")
        }
        self.story.append(
            "write \(transition.status): "
                + transition.events.map { "\($0.kind.rawValue) \($0.task ?? "")" }.joined(separator: ", "))
        self.stored = self.stored.applying(
            PipelineChange(id: self.stored.id, epoch: self.stored.epoch, at: self.now, transition: transition))
        guard [.queued, .paused].contains(self.stored.status) else { return }
        guard self.untold.isEmpty, self.running.isEmpty else { throw self.violation("left while tasks ran") }
        self.claim()
    }

    /// The process dies; what stands apart is folded in by whoever finds out, or by whoever goes on.
    private mutating func crash() throws {
        self.deaths += 1
        self.story.append("crash")
        var transition = PipelineTransition(expectedRevision: self.stored.revision)
        transition.status = .queued
        transition.foldsEverything = true
        transition.events = [
            PipelineEvent(
                .pipelineRecovered, at: self.now, reason: [.runnerDied, .givenBack, .runnerStopped][self.chance(3)])
        ]
        self.stored = self.stored.applying(
            PipelineChange(id: self.stored.id, epoch: self.stored.epoch, at: self.now, transition: transition))
        self.claim()
    }

    private mutating func claim() {
        self.running = [:]
        self.untold = [:]
        self.stored.status = .running
        self.stored.revision += 1
        self.stored.epoch += 1
        self.stored.owner = UUID()
        self.stored.events.append(PipelineEvent(.pipelineStarted, worker: self.stored.owner, at: self.now))
        self.machine = self.replayed()
    }

    private func replayed() -> PipelineStateMachine {
        PipelineStateMachine(
            workflow: self.made.workflow, input: self.stored.input, worker: self.stored.owner ?? UUID(),
            resuming: self.stored, maximumRecoveries: 2, at: self.now)
    }

    // MARK: Comparing

    /// Compares the live machine, told of everything that is stored, with its replay.
    private mutating func compare() throws {
        guard self.stored.status == .running else { return }
        var live = self.machine
        for position in self.untold.keys.sorted() {
            guard let delta = self.untold[position], let attempt = self.running[position] else { continue }
            live.receive(
                .ended(
                    position: position, attempt: attempt, outcome: .committed(delta), startedAt: self.now, at: self.now,
                    random: 0))
        }
        // What the live machine has decided and not yet written can't be known; so only at a revision.
        guard live.hasNothingToWriteForTests else { return }
        var replay = self.replayed()
        // While a pipeline is being stopped, a replay stops what runs in the live one: nothing runs after a crash.
        guard replay.hasNothingToWriteForTests else { return }
        if let misfit = replay.misfit { throw self.violation("line \(misfit.line) doesn't fit: \(misfit.reason)") }
        if let skip = replay.contradictedSkip() { throw self.violation("\(skip.task) is skipped, but \(skip.reason)") }
        guard live.revision == replay.revision else {
            throw self.violation("revision \(live.revision), replayed \(replay.revision)")
        }
        for position in live.tasks.indices {
            let (ours, theirs) = (self.sight(live.tasks[position]), self.sight(replay.tasks[position]))
            guard ours == theirs else { throw self.violation("t\(position) is \(ours), replayed \(theirs)") }
            guard live.tasks[position].state == .running || live.tasks[position].state == .ready else { continue }
            guard (try? live.given(to: position)) == (try? replay.given(to: position)) else {
                throw self.violation("t\(position) is given another context after a replay")
            }
        }
        var next = replay
        let canGoOn =
            next.commit(at: self.now) != nil || !self.running.isEmpty || !live.retries.isEmpty
            || live.tasks.contains { $0.state == .ready }
            || !live.hasNothingToWriteForTests
        guard canGoOn else { throw self.violation("hangs: nothing runs, nothing is ready, nothing waits for its time") }
    }

    /// What both must agree on: neither that an attempt runs nor that the time of a retry has come is stored.
    private func sight(_ record: TaskRecord) -> String {
        switch record.state {
        case .ready, .running, .retrying: "open, \(record.failures) failures"
        default: "\(record.state), \(record.failures) failures"
        }
    }

    private mutating func compareEnd() throws {
        var ends: [String: Int] = [:]
        for event in self.stored.events {
            switch event.kind.known {
            case .taskCompleted, .taskFailed, .taskSkipped: ends[event.task ?? "", default: 0] += 1
            default: break
            }
        }
        for task in self.made.workflow.tasks where ends[task.id] != 1 {
            throw self.violation("\(task.id) has \(ends[task.id] ?? 0) outcomes")
        }
        guard self.stored.commits.isEmpty else { throw self.violation("own commits are left apart") }
        var replay = self.replayed()
        let read = try PipelineResult(stored: self.stored)
        guard let read else { throw self.violation("no result is stored") }
        let live = try PipelineResult(&self.machine, of: self.stored, endedAt: self.stored.endedAt ?? self.now)
        let replayed = try PipelineResult(&replay, of: self.stored, endedAt: self.stored.endedAt ?? self.now)
        guard live.sightForTests == read.sightForTests else {
            throw self.violation("execute answers\n\(live.sightForTests)\nand result(of:)\n\(read.sightForTests)")
        }
        guard live.sightForTests == replayed.sightForTests else {
            throw self.violation("execute answers\n\(live.sightForTests)\nand a replay\n\(replayed.sightForTests)")
        }
    }

    private mutating func chance(_ count: Int) -> Int { Int.random(in: 0..<count, using: &self.random) }

    private func violation(_ what: String) -> Violation {
        let shape = self.made.workflow.tasks.map { task in
            "\(task.id) after \(task.dependencies) rule \(task.triggerRule.map { "\($0)" } ?? "-") handles \(task.handles)"
        }
        return Violation(seed: self.seed, what: what, story: shape + self.story)
    }
}

extension PipelineResult {
    /// All that two who ask for a result must agree on.
    package var sightForTests: String {
        let tasks = self.tasks.map { task in
            "\(task.id) \(task.status) #\(task.attempt) \(task.attempts.map(\.number)) \(task.error ?? "-")"
        }
        return "\(self.status) \(self.finalContext.jsonText) \(tasks)"
    }
}
