import CloacinaWorkflow
package import FoundationEssentials

/// What the lines of a history say of each task, without the workflow's definition.
struct TaskLines {
    struct Entry {
        /// The status that the last line left it in.
        var status = TaskStatus.ready
        /// How many attempts were begun, as far as the lines tell.
        var attempt = 0
        var attempts: [TaskAttempt] = []
        /// Why it was skipped.
        var skipped: String?
    }

    /// The tasks in the order of their first lines.
    private(set) var ids: [String] = []
    private(set) var entries: [String: Entry] = [:]

    init(_ history: [PipelineEvent]) {
        for event in history {
            guard let id = event.task else { continue }
            if self.entries[id] == nil { self.ids.append(id) }
            self.entries[id, default: Entry()].take(event)
        }
    }
}

extension TaskLines.Entry {
    fileprivate mutating func take(_ event: PipelineEvent) {
        self.attempt = max(self.attempt, event.attempt)
        if let attempt = TaskAttempt(event) { self.attempts.keep(attempt) }
        guard !self.status.isTerminal else { return }
        switch event.kind.known {
        case .taskStarted: self.status = .running
        case .taskCompleted: self.status = .completed
        case .taskFailed: self.status = .failed
        case .taskRetrying: self.status = .retrying
        case .taskSkipped:
            self.status = .skipped
            self.skipped = event.detail
        default: self.status = .ready
        }
    }

    fileprivate func result(_ id: String, as status: TaskStatus) -> TaskResult {
        let error =
            switch status {
            case .completed: nil as String?
            case .skipped: self.skipped
            default: self.attempts.last?.error
            }
        return TaskResult(id: id, status: status, attempt: self.attempt, attempts: self.attempts, error: error)
    }
}

extension PipelineResult {
    /// Reads what was stored with a pipeline's end; nil when that is not all there.
    package init?(stored: StoredPipeline) throws(PipelineError) {
        guard stored.status.isTerminal, let output = stored.output, let outcomes = stored.outcomes else { return nil }
        let lines = TaskLines(stored.history)
        let context: Context
        var tasks: [TaskResult] = []
        do {
            context = try Context(parsing: output, byteLimit: .max)
            for (id, status) in try Self.pairs(of: JSONValue(parsing: outcomes)) {
                tasks.append((lines.entries[id] ?? TaskLines.Entry()).result(id, as: status))
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
        let lines = TaskLines(stored.history)
        let outcomes = lines.ids.map { id -> JSONValue in
            let status = lines.entries[id]?.status ?? .skipped
            return [.string(id), .string((status.isTerminal ? status : .skipped).rawValue)]
        }
        var context = Context(stored.input, byteLimit: .max)
        try? context.apply(stored.history.compactMap { $0.kind == .taskCompleted ? $0.delta : nil })
        self.outcomes = try? JSONValue.array(outcomes).jsonText()
        if context.byteCount <= PipelineStateMachine.maximumOutputBytes { self.output = context.jsonText }
    }
}
