import CloacinaWorkflow
package import FoundationEssentials

extension PipelineResult {
    /// Reads what was stored with a pipeline's end; nil when that is not all there.
    package init?(stored: StoredPipeline) throws(PipelineError) {
        guard stored.status.isTerminal, let output = stored.output, let outcomes = stored.outcomes else { return nil }
        let entries = Dictionary(PipelineReport(stored).tasks.map { ($0.id, $0) }) { first, _ in first }
        let context: Context
        var tasks: [TaskResult] = []
        do {
            context = try Context(parsing: output, byteLimit: .max)
            for (id, status) in try Self.pairs(of: JSONValue(parsing: outcomes)) {
                let entry = entries[id]
                tasks.append(
                    TaskResult(
                        id: id, status: status, attempt: entry?.attempt ?? 0, attempts: entry?.attempts ?? [],
                        error: entry?.error))
            }
        } catch {
            throw PipelineError(.storageFailed, "the pipeline's stored result can't be read", underlying: error)
        }
        self.init(stored, status: stored.status, finalContext: context, tasks: tasks)
    }

    private static func pairs(of outcomes: JSONValue) throws -> [(id: String, status: TaskStatus)] {
        guard case .array(let pairs) = outcomes else { throw PipelineError(.storageFailed, "outcomes are no array") }
        return try pairs.map { pair in
            guard case .array(let parts) = pair, parts.count == 2, case .string(let id) = parts[0],
                case .string(let text) = parts[1], let status = TaskStatus(rawValue: text)
            else { throw PipelineError(.storageFailed, "an outcome is a task's id and its status") }
            return (id, status)
        }
    }

    init(
        _ pipeline: StoredPipeline, status: PipelineStatus, finalContext: Context, tasks: [TaskResult],
        endedAt: Date? = nil
    ) {
        let startedAt = pipeline.startedAt ?? pipeline.createdAt
        let endedAt = endedAt ?? pipeline.endedAt ?? startedAt
        self.init(
            id: pipeline.id, workflow: pipeline.workflow, status: status, finalContext: finalContext, tasks: tasks,
            startedAt: startedAt, duration: .clamped(seconds: max(0, endedAt.timeIntervalSince(startedAt))))
    }

    package init(
        _ machine: inout PipelineStateMachine, of pipeline: StoredPipeline, endedAt: Date
    ) throws(PipelineError) {
        let tasks = machine.tasks.indices.map { position in
            let record = machine.tasks[position]
            let attempts = machine.attempts[position]
            var error = record.state == .completed ? nil : attempts.last?.error
            if case .skipped(let reason) = record.state { error = reason.text }
            return TaskResult(
                id: machine.workflow.tasks[position].id, status: record.state.status, attempt: record.attempt,
                attempts: attempts, error: error)
        }
        let context: Context
        do {
            context = try machine.finalContext()
        } catch {
            throw PipelineError(.storageFailed, "the final context can't be merged", underlying: error)
        }
        self.init(pipeline, status: machine.status, finalContext: context, tasks: tasks, endedAt: endedAt)
    }
}

extension PipelineTransition {
    /// Puts into the end of a pipeline whose code isn't here what its lines tell: the tasks that have one, and their changes in the
    /// order in which they happened.
    mutating func keepResult(of stored: StoredPipeline) {
        let outcomes = PipelineReport(stored).tasks.map { task -> JSONValue in
            [.string(task.id), .string((task.status.isTerminal ? task.status : .skipped).rawValue)]
        }
        var context = Context(stored.input, byteLimit: .max)
        try? context.apply(stored.history.compactMap { $0.kind == .taskCompleted ? $0.delta : nil })
        self.outcomes = try? JSONValue.array(outcomes).jsonText()
        if context.byteCount <= PipelineStateMachine.maximumOutputBytes { self.output = context.jsonText }
    }
}
