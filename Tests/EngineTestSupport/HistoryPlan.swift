import Cloacina
import FoundationEssentials

/// What chance plans for one history: a workflow in two versions, what its tasks do, the processes that run it one after the
/// other or beside each other, and what happens meanwhile.
///
/// The seed fixes all of that, and nothing else: when threads and databases do what they do differs each time, and with it
/// at which line of the history something happens.
struct HistoryPlan: Sendable {
    /// The workflows of a history. The tasks of each may run the next one.
    enum Part: Int, Sendable, CaseIterable {
        case root, child, grandchild

        var next: Part? { Part(rawValue: self.rawValue + 1) }

        fileprivate var maximumTasks: Int {
            switch self {
            case .root: 6
            case .child: 3
            case .grandchild: 2
            }
        }
    }

    /// In what the second version of the root differs.
    enum Difference: Sendable, Hashable {
        case code(Int)
        case rule(Int)
        case nameOfTheLast
    }

    /// Whoever waits for the root's end.
    enum Caller: String, Sendable, CaseIterable {
        case execute, executeAsync, enqueue, enqueueWithDelay
    }

    let seed: UInt64
    let difference: Difference
    let caller: Caller
    let timeout: Duration?
    let processes: [ProcessPlan]
    let happenings: [PlannedHappening]
    /// What each task does, by part and position.
    let behaviors: [[TaskBehavior]]
    private let generators: [SplitMix64]

    init(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        self.seed = seed
        self.generators = Part.allCases.map { _ in SplitMix64(seed: random.next()) }
        self.behaviors = Part.allCases.map { part in
            (0..<part.maximumTasks).map { _ in TaskBehavior(mayCall: part.next != nil, using: &random) }
        }
        self.caller = random.pick(Caller.allCases)
        self.timeout = random.below(12) == 0 ? .milliseconds(1 + random.below(5)) : nil
        self.processes = (0..<4).map { ProcessPlan(number: $0, using: &random) }
        self.happenings = (0..<random.below(4)).map { _ in PlannedHappening(using: &random) }.sorted {
            $0.step < $1.step
        }
        // All generators are at their beginning, so this is the graph that every version has.
        var generator = self.generators[0]
        let count = try RandomWorkflow(using: &generator, maximumTasks: Part.root.maximumTasks).workflow.tasks.count
        self.difference =
            switch random.below(3) {
            case 0: .code(random.below(count))
            case 1: .rule(random.below(count))
            default: .nameOfTheLast
            }
    }

    /// A name that no other history's workflow has.
    func name(of part: Part) -> String { "\(part) \(String(self.seed, radix: 16))" }

    /// Makes a workflow of a version, 1 or 2; only the root has two.
    func workflow(
        _ part: Part, version: Int = 1, make: (RandomTask, TaskBehavior) throws -> WorkflowTask
    ) throws -> Workflow {
        var random = self.generators[part.rawValue]
        return try RandomWorkflow(self.name(of: part), using: &random, maximumTasks: part.maximumTasks) { task in
            let changed = part == .root && version == 2 ? self.difference.applied(to: task) : task
            return try make(changed, self.behaviors[part.rawValue][task.position])
        }.workflow
    }

    /// What a process does that was not planned: it lives on and knows every version.
    static let survivor = ProcessPlan(version: 2, knowsTheOther: true)
}

extension HistoryPlan.Difference {
    fileprivate func applied(to task: RandomTask) -> RandomTask {
        var task = task
        switch self {
        case .code(let position): if position == task.position { task.codeVersion = "2" }
        case .rule(let position):
            if position == task.position { task.rule = task.rule == .always ? .noneFailedAbove : .always }
        case .nameOfTheLast: if task.isLast { task.id += "b" }
        }
        return task
    }
}

/// What a task does.
struct TaskBehavior: Sendable {
    /// How the workflow below is run, and whether the task fails with it.
    struct Call: Sendable {
        let isEach: Bool
        let isRequired: Bool
    }

    /// How many of its attempts fail, the first ones.
    let failures: Int
    let failsForNow: Bool
    let yields: Int
    /// What it changes; nil takes a key away.
    let changes: [String: JSONValue?]
    let call: Call?

    fileprivate init(mayCall: Bool, using random: inout SplitMix64) {
        self.failures = random.below(3) == 0 ? 1 + random.below(3) : 0
        self.failsForNow = random.below(2) == 0
        self.yields = random.below(2) == 0 ? 0 : random.below(30)
        var changes: [String: JSONValue?] = [:]
        for _ in 0..<random.below(3) {
            let key = random.pick(RandomWorkflow.keys)
            let isRemoved = random.below(5) == 0
            let value: JSONValue = key == "flag" ? .bool(random.below(3) > 0) : .integer(Int64(random.below(9)))
            changes.updateValue(isRemoved ? nil : value, forKey: key)
        }
        self.changes = changes
        let isCalling = mayCall && random.below(4) == 0
        self.call = isCalling ? Call(isEach: random.below(3) == 0, isRequired: random.below(2) == 0) : nil
    }
}

/// One process: what it knows, how it works, and where it dies.
struct ProcessPlan: Sendable {
    /// Where a process stops for good and says nothing.
    enum Death: Sendable, Hashable {
        /// At its n-th write, which is stored or not; nobody hears which.
        case write(Int, isStored: Bool)
        /// When the n-th task's code begins.
        case body(Int)
    }

    /// The version that new pipelines begin with, 1 or 2.
    var version: Int
    /// Whether the other version is registered as an earlier one.
    var knowsTheOther: Bool
    var slots = 4
    var grace: Duration = .seconds(10)
    var recoveries = 3
    var death: Death?

    init(version: Int, knowsTheOther: Bool) {
        self.version = version
        self.knowsTheOther = knowsTheOther
    }

    fileprivate init(number: Int, using random: inout SplitMix64) {
        self.init(version: 1 + random.below(2), knowsTheOther: random.below(3) == 0)
        self.slots = 1 + random.below(4)
        self.grace = random.pick([.zero, .milliseconds(1), .seconds(10)])
        self.recoveries = random.pick([0, 1, 3, 3])
        // Mostly early, when the version is not settled yet.
        let place = 1 + random.below(1 + random.below(10))
        switch random.below(100) {
        case ..<(24 - 6 * number): self.death = .write(place, isStored: random.below(2) == 0)
        case ..<(32 - 8 * number): self.death = .body(place)
        default: break
        }
    }

    /// Whether its runner knows the root in a version.
    func knows(version: Int) -> Bool { self.knowsTheOther || self.version == version }
}

/// What happens when so much else has happened. The numbers choose one of what is there by then.
struct PlannedHappening: Sendable {
    enum Kind: Sendable, Hashable {
        case pause(Int)
        case resume(Int)
        case cancel(Int)
        case cancelCaller
        case shutDown(Int, isPatient: Bool)
        case die(Int)
        /// Another process takes part, and waits for the root's end as well.
        case join
    }

    /// How many writes and beginnings of tasks' code there have been.
    let step: Int
    let kind: Kind

    fileprivate init(using random: inout SplitMix64) {
        self.step = 1 + random.below(24)
        let number = random.below(12)
        self.kind =
            switch random.below(16) {
            case ..<4: .pause(number)
            case 4: .resume(number)
            case 5: .cancel(number)
            case 6: .cancelCaller
            case 7, 8, 9: .shutDown(number, isPatient: random.below(2) == 0)
            case 10, 11: .die(number)
            default: .join
            }
    }
}

extension SplitMix64 {
    /// A number from 0 up to a limit, which is above 0.
    mutating func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &self) }

    /// One of several things, of which there is one at least.
    mutating func pick<Element>(_ things: [Element]) -> Element { things[self.below(things.count)] }
}

// MARK: As text

extension HistoryPlan: CustomStringConvertible {
    var description: String {
        var lines = ["second version: another \(self.difference); called by \(self.caller)"]
        if let timeout = self.timeout { lines.append("timeout \(timeout)") }
        for part in Part.allCases {
            lines.append("\"\(self.name(of: part))\"")
            _ = try? self.workflow(part) { task, behavior in
                lines.append("    \(task) \(behavior.description(callingBelow: !task.commitsItself))")
                return task.plain { _, _ in }
            }
        }
        for (number, process) in self.processes.enumerated() { lines.append("process \(number): \(process)") }
        lines += self.happenings.map { "after step \($0.step): \($0.kind)" }
        return lines.joined(separator: "\n")
    }
}

extension RandomTask: CustomStringConvertible {
    package var description: String {
        var words = [self.id]
        if !self.dependencies.isEmpty { words.append("after \(self.dependencies.joined(separator: ", "))") }
        if let rule = self.rule { words.append("if \(rule)") }
        if !self.handles.isEmpty { words.append("handling \(self.handles.joined(separator: ", "))") }
        if self.retry.maxAttempts > 1 { words.append("\(self.retry.maxAttempts) attempts") }
        if self.commitsItself { words.append("commits itself") }
        return words.joined(separator: "; ") + ":"
    }
}

extension TaskBehavior {
    fileprivate func description(callingBelow: Bool) -> String {
        var words = ["yields \(self.yields)"]
        if callingBelow, let call = self.call {
            words.append(
                "runs \(call.isEach ? "two below" : "one below")\(call.isRequired ? ", which must complete" : "")")
        }
        if self.failures > 0 { words.append("fails \(self.failures) times\(self.failsForNow ? " for now" : "")") }
        for (key, value) in self.changes.sorted(by: { $0.key < $1.key }) {
            words.append("\(key) = \(value.map { "\($0)" } ?? "nothing")")
        }
        return words.joined(separator: ", ")
    }
}

extension ProcessPlan: CustomStringConvertible {
    var description: String {
        let death = self.death.map { ", dies at \($0)" } ?? ""
        return "version \(self.version)\(self.knowsTheOther ? " and the other" : ""), \(self.slots) slots, grace "
            + "\(self.grace), \(self.recoveries) recoveries\(death)"
    }
}
