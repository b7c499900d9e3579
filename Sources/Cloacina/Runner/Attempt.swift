import FoundationEssentials

/// One run of one task's code, and what came of it.
struct Attempt: Sendable {
    let position: Int
    let number: Int
    let outcome: TaskOutcome
    /// The context as the task left it; nil when it failed.
    let output: Context?
    let startedAt: Date
    let endedAt: Date
    /// The error with which it failed, if that is one of this library's.
    var failure: PipelineError?

    /// Runs the code on a copy of what the task is given.
    static func run(
        _ task: WorkflowTask, start: TaskStart, given: Result<Context, WorkflowError>, scope: TaskScope,
        clock: any EngineClock
    ) async -> Attempt {
        let startedAt = clock.now()
        var outcome: TaskOutcome
        var output: Context?
        var failure: PipelineError?
        do {
            let given = try given.get()
            var context = given
            try await task.run(&context, scope: scope)
            if context.byteLimit != given.byteLimit {
                // The task put another context in place of its own, with another limit.
                context = try Context(context.values, byteLimit: given.byteLimit)
            }
            outcome = .completed(ContextDelta(from: given, to: context))
            output = context
        } catch {
            outcome = .failed(TaskFailure(error))
            failure = error as? PipelineError
        }
        return Attempt(
            position: start.position, number: start.attempt, outcome: outcome, output: output, startedAt: startedAt,
            endedAt: clock.now(), failure: failure)
    }

    /// The same attempt, whose completion is stored already, together with the task's own writes.
    func committed(_ delta: ContextDelta) -> Attempt {
        Attempt(
            position: self.position, number: self.number, outcome: .committed(delta), output: self.output,
            startedAt: self.startedAt, endedAt: self.endedAt)
    }
}
