import Cloacina
import FoundationEssentials
import Synchronization

/// What has happened in one history, as its processes and its tasks' code tell, and whoever waits for more.
final class HistoryWorld: Sendable {
    /// One beginning of a task's code in a process that lives.
    struct Body: Sendable {
        let pipeline: UUID
        let task: String
        let attempt: Int
        let process: Int
        /// What it was given.
        let context: Context
    }

    /// What somebody was told about a pipeline's end.
    struct Answer: Sendable {
        let who: String
        let pipeline: UUID
        let sight: String
    }

    private struct Place: Hashable {
        let pipeline: UUID
        let task: String
    }

    private struct State {
        var generation = 0
        var driver: CheckedContinuation<Void, Never>?
        var isAbandoned = false
        var isSweepDue = false
        var steps = 0
        var wakesAt = Int.max
        var pipelines: [UUID] = []
        var lines: [UUID: [Int: Int]] = [:]
        var ended: Set<Place> = []
        var bodies: [Body] = []
        var answers: [Answer] = []
        var callersThatWait = 0
        var problems: [String] = []
        var diary: [String] = []
        var tally = StoreProperty.Tally()

        mutating func pulse() -> CheckedContinuation<Void, Never>? {
            self.generation += 1
            return self.driver.take()
        }

        /// - Parameter isNews: Whether the driver wants to look at it, whatever is planned.
        mutating func step(isNews: Bool = false) -> CheckedContinuation<Void, Never>? {
            self.steps += 1
            return isNews || self.steps >= self.wakesAt ? self.pulse() : nil
        }
    }

    private let state = Mutex(State())

    // MARK: Reading

    /// How often something has happened that whoever drives the history wants to look at.
    var generation: Int { self.state.withLock { $0.generation } }
    /// How many writes and beginnings of tasks' code there have been.
    var steps: Int { self.state.withLock { $0.steps } }
    var pipelines: [UUID] { self.state.withLock { $0.pipelines } }
    var bodies: [Body] { self.state.withLock { $0.bodies } }
    var answers: [Answer] { self.state.withLock { $0.answers } }
    var problems: [String] { self.state.withLock { $0.problems } }
    var diary: [String] { self.state.withLock { $0.diary } }
    var tally: StoreProperty.Tally { self.state.withLock { $0.tally } }
    /// Whether somebody still waits for the end of a pipeline.
    var hasWaitingCallers: Bool { self.state.withLock { $0.callersThatWait > 0 } }
    var isAbandoned: Bool { self.state.withLock { $0.isAbandoned } }

    /// How many lines each transition of a pipeline wrote, by revision; any other revision has one.
    func lines(of pipeline: UUID) -> [Int: Int] { self.state.withLock { $0.lines[pipeline] ?? [:] } }

    // MARK: Waiting

    /// Waits until something has happened after a generation was read. One waits at a time.
    func change(after generation: Int) async {
        await withCheckedContinuation { continuation in
            let hasHappened = self.state.withLock { state in
                guard state.generation == generation, !state.isAbandoned else { return true }
                state.driver = continuation
                return false
            }
            if hasHappened { continuation.resume() }
        }
    }

    /// Has the driver look when so many steps have been done.
    func wake(atStep step: Int?) {
        self.update { state in
            state.wakesAt = step ?? .max
            return state.steps >= state.wakesAt ? state.pulse() : nil
        }
    }

    /// Has the driver look now.
    func pulse(_ what: String? = nil) {
        self.update { state in
            if let what { state.diary.append(what) }
            return state.pulse()
        }
    }

    /// Has the driver look again at what it has seen to already, as a runner's sweep does.
    func sweep() {
        self.update { state in
            state.isSweepDue = true
            return state.pulse()
        }
    }

    /// Whether that is due; it is no longer.
    func takeSweep() -> Bool {
        self.state.withLock { state in
            defer { state.isSweepDue = false }
            return state.isSweepDue
        }
    }

    /// Lets the driver go, which took too long.
    func abandon() {
        self.update { state in
            state.isAbandoned = true
            return state.pulse()
        }
    }

    private func update(_ body: (inout State) -> CheckedContinuation<Void, Never>?) {
        self.state.withLock { body(&$0) }?.resume()
    }

    // MARK: Telling

    func note(_ what: String) { self.state.withLock { $0.diary.append(what) } }

    func problem(_ what: String) { self.state.withLock { $0.problems.append(what) } }

    func count(_ what: StoreProperty.Tally.Kind, _ number: Int = 1) {
        self.state.withLock { $0.tally[what] += number }
    }

    func note(_ answer: Answer) {
        self.state.withLock { state in
            state.answers.append(answer)
            state.diary.append("\(answer.who) hears of \(answer.pipeline): \(answer.sight)")
        }
    }

    func noteCaller() { self.state.withLock { $0.callersThatWait += 1 } }

    func noteEnd(of caller: String, _ error: PipelineError?) {
        self.update { state in
            state.callersThatWait -= 1
            if let error { state.diary.append("\(caller) is told \(error)") }
            return state.pulse()
        }
    }

    /// Takes note of what a process has created.
    func noteCreated(_ new: NewPipeline, by process: Int) {
        self.update { state in
            if !state.pipelines.contains(new.id) { state.pipelines.append(new.id) }
            state.diary.append("\(process) creates \(new.id) \"\(new.workflow)\"")
            if new.parent != nil { state.tally[.children] += 1 }
            return state.step(isNews: new.owner == nil)
        }
    }

    /// Takes note of a transition that a process has stored.
    func noteApplied(_ change: PipelineChange, by process: Int) {
        self.update { state in
            let (transition, revision) = (change.transition, change.transition.expectedRevision + 1)
            state.lines[change.id, default: [:]][revision] = transition.events.count
            for event in transition.events where event.isEnd {
                state.ended.insert(Place(pipeline: change.id, task: event.task ?? ""))
            }
            let words = transition.events.map(\.words).joined(separator: ", ")
            state.diary.append("\(process) writes \(change.id) \(revision) \(transition.status): \(words)")
            state.tally[.ownCommits] += transition.folds.count
            if transition.status == .paused { state.tally[.pauses] += 1 }
            if transition.events.contains(where: { $0.kind == .pipelineReleased }) { state.tally[.releases] += 1 }
            if transition.events.contains(where: { $0.kind == .taskRetrying }) { state.tally[.retries] += 1 }
            return state.step(isNews: transition.status != .running)
        }
    }

    /// Takes note that a process took something from the queue.
    func noteClaimed(_ pipelines: [StoredPipeline], by process: Int) {
        self.update { state in
            for pipeline in pipelines {
                state.diary.append(
                    "\(process) claims \(pipeline.id) \(pipeline.revision) for \(pipeline.version.prefix(6))")
            }
            return state.step()
        }
    }

    /// Takes note that a task's code begins, before it does anything; what it does must be done once.
    ///
    /// - Parameter isCancelled: Whether nobody waits for it any more, which it is about to find out.
    func noteBody(_ body: Body, isCancelled: Bool) {
        self.update { state in
            let hasRun = state.bodies.contains {
                $0.pipeline == body.pipeline && $0.task == body.task && $0.attempt == body.attempt
            }
            let name = "\(body.pipeline) \(body.task) #\(body.attempt)"
            if hasRun { state.problems.append("\(name) ran twice") }
            if !isCancelled, state.ended.contains(Place(pipeline: body.pipeline, task: body.task)) {
                state.problems.append("\(name) ran after the task's end was stored")
            }
            state.bodies.append(body)
            state.diary.append("\(body.process) runs \(name)\(isCancelled ? ", cancelled" : "")")
            return state.step()
        }
    }
}

extension PipelineEvent {
    /// Whether a task has ended with it.
    var isEnd: Bool { self.task != nil && [.taskCompleted, .taskFailed, .taskSkipped].contains(self.kind) }

    /// The line for whoever reads of a history that went wrong.
    var words: String {
        [
            self.kind.rawValue, self.task, self.attempt > 0 ? "#\(self.attempt)" : nil,
            self.reason.map { "(\($0.rawValue))" },
            self.delta.map { $0.isEmpty ? nil : $0.jsonText } ?? nil,
        ].compactMap { $0 }.joined(separator: " ")
    }
}
