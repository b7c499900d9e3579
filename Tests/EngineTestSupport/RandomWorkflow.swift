package import CloacinaWorkflow
import FoundationEssentials

/// A workflow made by chance: a graph of a few tasks with rules of every kind, retries, handled failures and own commits.
package struct RandomWorkflow: Sendable {
    package let workflow: Workflow
    /// The tasks that commit their completion with their own writes.
    package let committing: Set<Int>

    /// The keys that tasks write; few, so that they meet.
    package static let keys = ["a", "b", "c", "flag"]

    /// - Parameter body: Makes the work of a task, given its position.
    package init(
        _ name: String = "random", using random: inout some RandomNumberGenerator, maximumTasks: Int = 9,
        body: (_ position: Int) -> WorkflowTask.Body = { _ in { _, _ in } }
    ) throws {
        try self.init(name, using: &random, maximumTasks: maximumTasks) { task in task.plain(run: body(task.position)) }
    }

    /// - Parameter make: Makes a task of what chance says of it. It may change that, but for the id of a task that another one
    ///   names.
    package init(
        _ name: String, using random: inout some RandomNumberGenerator, maximumTasks: Int,
        make: (RandomTask) throws -> WorkflowTask
    ) throws {
        let count = Int.random(in: 2...maximumTasks, using: &random)
        var (tasks, ancestors, committing) = ([WorkflowTask](), [Set<Int>](), Set<Int>())
        for position in 0..<count {
            var dependencies: [Int] = []
            for _ in 0..<Int.random(in: 0...3, using: &random) where position > 0 {
                let dependency = Int.random(in: 0..<position, using: &random)
                if !dependencies.contains(dependency) { dependencies.append(dependency) }
            }
            let above = dependencies.reduce(into: Set(dependencies)) { $0.formUnion(ancestors[$1]) }
            ancestors.append(above)
            let ids = above.sorted().map { "t\($0)" }
            let hasRule = Int.random(in: 0..<5, using: &random) < 2
            let rule = hasRule ? Self.rule(over: ids, depth: 2, using: &random) : nil
            let handles = hasRule ? ids.filter { _ in Int.random(in: 0..<3, using: &random) == 0 } : []
            let retry: RetryPolicy =
                Int.random(in: 0..<3, using: &random) == 0 ? .fixed(3, delay: .milliseconds(1)) : .none
            if Int.random(in: 0..<4, using: &random) == 0 { committing.insert(position) }
            let task = RandomTask(
                position: position, isLast: position == count - 1, id: "t\(position)",
                dependencies: dependencies.map { "t\($0)" }, retry: retry, rule: rule, handles: handles,
                commitsItself: committing.contains(position))
            tasks.append(try make(task))
        }
        self.workflow = try Workflow(name, tasks: tasks)
        self.committing = committing
    }

    private static func rule(
        over ids: [String], depth: Int, using random: inout some RandomNumberGenerator
    ) -> TriggerRule {
        func some() -> [TriggerRule] {
            (0..<Int.random(in: 0...2, using: &random)).map { _ in
                self.rule(over: ids, depth: depth - 1, using: &random)
            }
        }
        switch Int.random(in: 0..<(depth > 0 ? 10 : 6), using: &random) {
        case 0: return .always
        case 1: return .noneFailedAbove
        case 2: return .contextValue("flag", .equals, true)
        case 3: return ids.randomElement(using: &random).map { .taskFailed($0) } ?? .contextExists("a")
        case 4: return ids.randomElement(using: &random).map { .taskSkipped($0) } ?? .always
        case 5: return ids.randomElement(using: &random).map { .taskSucceeded($0) } ?? .always
        case 6: return .all(some())
        case 7: return .any(some())
        case 8: return .none(some())
        default: return .not(self.rule(over: ids, depth: depth - 1, using: &random))
        }
    }
}

/// What chance says of one task.
package struct RandomTask: Sendable {
    package let position: Int
    /// Whether it is the workflow's last one, which no other names.
    package let isLast: Bool
    package var id: String
    package let dependencies: [String]
    package let retry: RetryPolicy
    package var rule: TriggerRule?
    package let handles: [String]
    package var codeVersion = ""
    /// Whether it commits its completion with its own writes, where that is possible.
    package let commitsItself: Bool

    /// The task, with work that commits nothing itself.
    package func plain(run body: @escaping WorkflowTask.Body) -> WorkflowTask {
        WorkflowTask(
            self.id, dependencies: self.dependencies, retry: self.retry, triggerRule: self.rule, handles: self.handles,
            codeVersion: self.codeVersion, run: body)
    }
}
