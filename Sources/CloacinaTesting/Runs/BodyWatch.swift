import Cloacina
public import FoundationEssentials
import Synchronization

/// The beginning of one attempt at a task.
public struct TaskBeginning: Sendable, Hashable {
    /// The pipeline's id.
    public let execution: UUID
    /// The task's id.
    public let task: String
    /// Which attempt it is, from 1.
    public let attempt: Int
    /// When it began, as the test's clock showed.
    public let at: Date
    /// Which process ran it, from 1: each crash of a ``CrashTest`` is followed by another.
    public let process: Int
}

/// Writes down which tasks begin, and tells the clock while their code runs.
final class BodyWatch: Sendable {
    private let clock: TestClock
    private struct State {
        var beginnings: [TaskBeginning] = []
        var process = 1
        /// Ends the process that runs.
        var die: (@Sendable (Crash) -> Void)?
    }
    private let state = Mutex(State())

    init(_ clock: TestClock) { self.clock = clock }

    var beginnings: [TaskBeginning] { self.state.withLock { $0.beginnings } }

    func beginProcess(dyingBy die: @escaping @Sendable (Crash) -> Void) { self.state.withLock { $0.die = die } }

    func nextProcess() { self.state.withLock { $0.process += 1 } }

    /// The same workflow, watched. Its content version is the same too.
    func watching(_ workflow: Workflow) throws(WorkflowError) -> Workflow {
        try Workflow(workflow.name, description: workflow.description, tasks: workflow.tasks.map(self.watching))
    }

    private func watching(_ task: WorkflowTask) -> WorkflowTask {
        WorkflowTask(
            task.id, dependencies: task.dependencies, retry: task.retry, triggerRule: task.triggerRule,
            timeout: task.timeout, codeVersion: task.codeVersion, onSuccess: self.watching(task.onSuccess),
            onFailure: self.watching(task.onFailure)
        ) { context, scope in
            self.didBegin(scope)
            try await self.run { try await task.run(&context, scope: scope) }
        }
    }

    private func watching(_ handler: WorkflowTask.SuccessHandler?) -> WorkflowTask.SuccessHandler? {
        guard let handler else { return nil }
        return { scope, context in await self.run { await handler(scope, context) } }
    }

    private func watching(_ handler: WorkflowTask.FailureHandler?) -> WorkflowTask.FailureHandler? {
        guard let handler else { return nil }
        return { scope, failure in await self.run { await handler(scope, failure) } }
    }

    /// Runs code as a part of the process that begins it.
    private func run<R>(_ body: () async throws -> R) async rethrows -> R {
        try await CrashTrial.$die.withValue(self.state.withLock { $0.die }) {
            try await self.clock.watching { try await body() }
        }
    }

    private func didBegin(_ scope: TaskScope) {
        let date = self.clock.date
        self.state.withLock { state in
            state.beginnings.append(
                TaskBeginning(
                    execution: scope.executionID, task: scope.task, attempt: scope.attempt, at: date,
                    process: state.process))
        }
    }
}
