package import CloacinaWorkflow
package import FoundationEssentials

/// What the stored history of a pipeline tells by itself, without the workflow's definition: for those who look on.
///
/// An attempt is written down when it has ended. So a task that runs for the first time is not in the report, and of one that
/// runs again the report has the attempt before; only after a crash is the beginning of an attempt written as well. A
/// pipeline that has ended has an entry for each of its tasks.
package struct PipelineReport: Sendable {
    /// What the history says of one task.
    package struct TaskEntry: Sendable, Hashable, Identifiable {
        /// The task's id.
        package let id: String
        /// Where its last event left it.
        package fileprivate(set) var status: TaskStatus
        /// How many attempts were begun, as far as the history tells.
        package fileprivate(set) var attempt = 0
        /// What came of each attempt that ended, in order.
        package fileprivate(set) var attempts: [TaskAttempt] = []
        /// When the attempt began that has not ended; known only after a crash.
        package fileprivate(set) var runningSince: Date?
        /// When the next attempt is due.
        package fileprivate(set) var dueAt: Date?
        /// Why it failed last or was skipped.
        package fileprivate(set) var error: String?

        /// When the last attempt began that is known of; nil when there is none.
        package var startedAt: Date? { self.runningSince ?? self.attempts.last?.startedAt }
        /// When the last attempt ended; nil while one runs.
        package var endedAt: Date? { self.runningSince == nil ? self.attempts.last?.endedAt : nil }
        /// How long the last attempt took; nil while one runs.
        package var duration: Duration? { self.runningSince == nil ? self.attempts.last?.duration : nil }
    }

    /// The pipeline itself.
    package let pipeline: StoredPipeline
    /// The tasks that have an event, in the order of their first ones.
    package let tasks: [TaskEntry]
    /// The history in the order in which it happened.
    package let history: [PipelineEvent]

    /// Reads a pipeline's history.
    package init(_ pipeline: StoredPipeline) {
        let history = pipeline.history
        var positions: [String: Int] = [:]
        var tasks: [TaskEntry] = []
        for case let (id?, kind) in history.map({ ($0.task, $0.kind) }) where positions[id] == nil {
            positions[id] = tasks.count
            tasks.append(TaskEntry(id: id, status: kind == .taskStarted ? .running : .ready))
        }
        for event in pipeline.history {
            if let id = event.task {
                if let position = positions[id] { tasks[position].take(event) }
            } else if event.kind == .pipelineRecovered {
                for position in tasks.indices { tasks[position].didLoseRunner() }
            }
        }
        self.pipeline = pipeline
        self.tasks = tasks
        self.history = history
    }

    /// How long the pipeline took; nil when it has not begun or not ended.
    package var duration: Duration? {
        guard let startedAt = self.pipeline.startedAt, let endedAt = self.pipeline.endedAt else { return nil }
        return .clamped(seconds: max(0, endedAt.timeIntervalSince(startedAt)))
    }
}

extension PipelineReport.TaskEntry {
    fileprivate mutating func take(_ event: PipelineEvent) {
        self.attempt = max(self.attempt, event.attempt)
        if let attempt = TaskAttempt(event) { self.attempts.keep(attempt) }
        guard !self.status.isTerminal else { return }
        self.runningSince = event.kind == .taskStarted ? event.at : nil
        self.dueAt = event.kind == .taskRetrying ? event.dueAt : nil
        switch event.kind {
        case .taskStarted: self.status = .running
        case .taskCompleted: self.status = .completed
        case .taskRetrying: self.status = .retrying
        case .taskFailed: self.status = .failed
        case .taskSkipped: self.status = .skipped
        default: self.status = .ready
        }
        // Why an earlier attempt failed still counts while the next one is awaited, not once one succeeded.
        self.error = event.kind == .taskCompleted ? nil : event.detail ?? self.error
    }

    fileprivate mutating func didLoseRunner() {
        guard self.status == .running else { return }
        self.status = .ready
        self.runningSince = nil
    }
}

// MARK: Over a definition

extension PipelineReport {
    /// How each task of a definition fared, as far as the history and the arrows tell.
    ///
    /// A task without an event waits if something it depends on has not ended. Otherwise it is ready, or, while a runner
    /// has the pipeline, `ready or running`: which of the two is not stored. In a pipeline that has ended every task has an
    /// event, so one that hasn't is not in the version that ran.
    package func runs(in graph: WorkflowGraph) -> [String: WorkflowGraph.TaskRun] {
        let entries = Dictionary(self.tasks.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        var waiting: Set<String> = []
        for edge in graph.edges where entries[edge.from]?.status.isTerminal != true { waiting.insert(edge.to) }
        var runs: [String: WorkflowGraph.TaskRun] = [:]
        for node in graph.nodes {
            if let entry = entries[node.id] {
                runs[node.id] = WorkflowGraph.TaskRun(
                    state: entry.status.rawValue, attempts: entry.attempt, duration: entry.duration)
            } else {
                runs[node.id] = WorkflowGraph.TaskRun(
                    state: self.stateWithoutEvent(isWaiting: waiting.contains(node.id)))
            }
        }
        return runs
    }

    /// The tasks of the run that a definition doesn't have: it is another version's.
    package func tasks(missingFrom graph: WorkflowGraph) -> [String] {
        let known = Set(graph.nodes.map(\.id))
        return self.tasks.map(\.id).filter { !known.contains($0) }
    }

    private func stateWithoutEvent(isWaiting: Bool) -> String {
        switch self.pipeline.status {
        case .completed, .failed, .cancelled, .unknown: "not in this run"
        case .queued, .paused: isWaiting ? TaskStatus.waiting.rawValue : TaskStatus.ready.rawValue
        case .running: isWaiting ? TaskStatus.waiting.rawValue : "ready or running"
        }
    }
}
