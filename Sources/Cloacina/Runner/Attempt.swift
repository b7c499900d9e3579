import FoundationEssentials

/// One run of one task's code, and what came of it.
struct Attempt: Sendable {
    let claim: PipelineTransition.Claim
    let outcome: TaskOutcome
    /// The context as the task left it; nil when it failed.
    let output: Context?
    let startedAt: Date
    let endedAt: Date
    let duration: Duration

    /// The most bytes of an error's text that are kept.
    static let maximumErrorBytes = 4_096

    /// Runs the code on a copy of what the task is given.
    static func run(
        _ task: WorkflowTask, claim: PipelineTransition.Claim, given: Result<Context, WorkflowError>, scope: TaskScope
    ) async -> Attempt {
        let startedAt = Date()
        let begin = ContinuousClock.now
        var outcome: TaskOutcome
        var output: Context?
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
            outcome = .failed(self.text(of: error))
        }
        return Attempt(
            claim: claim, outcome: outcome, output: output, startedAt: startedAt, endedAt: Date(),
            duration: begin.duration(to: .now))
    }

    /// An error in words that every database takes: bounded, without NUL characters.
    static func text(of error: any Error) -> String {
        var scalars = String.UnicodeScalarView()
        scalars.append(contentsOf: "\(error)".unicodeScalars.lazy.map { $0 == "\0" ? "\u{FFFD}" : $0 })
        let text = String(scalars)
        guard text.utf8.count > self.maximumErrorBytes else { return text }
        var end = text.utf8.index(text.startIndex, offsetBy: self.maximumErrorBytes)
        while text.utf8[end] & 0xC0 == 0x80 { end = text.utf8.index(before: end) }
        return String(text[..<end]) + "…"
    }
}
