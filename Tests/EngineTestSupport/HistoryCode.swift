import Cloacina
import CloacinaWorkflow
import FoundationEssentials

/// The workflows of a history as one process has them.
struct HistoryCode: Sendable {
    private struct Failure: TransientError, CustomStringConvertible {
        let isTransient: Bool
        var description: String { self.isTransient ? "for now" : "for good" }
    }

    /// The versions of the root, by 1 and 2.
    let roots: [Int: Workflow]
    /// The workflows that tasks run.
    let below: [Workflow]
    /// The tasks that commit their completions with their own writes, by their workflows.
    let committing: [String: Set<String>]

    init(_ plan: HistoryPlan, in process: HistoryProcess, on stores: StoreProperty.Stores) throws {
        var committing: [String: Set<String>] = [:]
        func workflow(_ part: HistoryPlan.Part, version: Int = 1) throws -> Workflow {
            try plan.workflow(part, version: version) { task, behavior in
                let next = task.commitsItself ? nil : part.next.map { plan.name(of: $0) }
                let body = Self.body(behavior, running: next, in: process)
                guard task.commitsItself, let transactional = stores.transactional else { return task.plain(run: body) }
                committing[plan.name(of: part), default: []].insert(task.id)
                return transactional(task, body)
            }
        }
        self.roots = [1: try workflow(.root), 2: try workflow(.root, version: 2)]
        self.below = [try workflow(.child), try workflow(.grandchild)]
        self.committing = committing
    }

    /// Makes what the process knows known to its runner.
    func register(_ plan: ProcessPlan, with runner: DefaultRunner) throws {
        for (version, workflow) in self.roots.sorted(by: { $0.key < $1.key }) {
            if version == plan.version {
                try runner.register(workflow)
            } else if plan.knowsTheOther {
                runner.registerEarlier(workflow)
            }
        }
        for workflow in self.below { try runner.register(workflow) }
    }

    /// What a task does, each time it is begun.
    private static func body(
        _ behavior: TaskBehavior, running next: String?, in process: HistoryProcess
    ) -> WorkflowTask.Body {
        { context, scope in
            try process.begin(scope, given: context)
            for _ in 0..<behavior.yields { await Task.yield() }
            if let next, let call = behavior.call {
                try await Self.run(next, call, given: context, scope, in: process)
            }
            if scope.attempt <= behavior.failures { throw Failure(isTransient: behavior.failsForNow) }
            for (key, value) in behavior.changes {
                if let value { try context.set(key, to: value) } else { context.remove(key) }
            }
        }
    }

    private static func run(
        _ workflow: String, _ call: TaskBehavior.Call, given context: Context, _ scope: TaskScope,
        in process: HistoryProcess
    ) async throws {
        let results: [PipelineResult]
        if call.isEach {
            results = try await scope.executeEach(workflow, over: [0, 1], id: \.self) { _ in context }
        } else {
            results = [try await scope.execute(workflow, context: context)]
        }
        for result in results {
            process.world.note(
                HistoryWorld.Answer(
                    who: "\(scope.task) #\(scope.attempt) in \(process.number)", pipeline: result.id,
                    sight: result.sightForTests))
        }
        if call.isRequired { for result in results { try result.completed() } }
    }
}
