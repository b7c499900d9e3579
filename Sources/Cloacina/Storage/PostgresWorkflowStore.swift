package import CloacinaPostgres
package import FoundationEssentials

/// Keeps the pipelines of one tenant in the tenant's schema, over the pool that all tenants share.
package struct PostgresWorkflowStore: WorkflowStore {
    private let pool: PostgresPool
    private let label: PostgresLabel

    package init(pool: PostgresPool, label: PostgresLabel) {
        self.pool = pool
        self.label = label
    }

    package func create(_ pipeline: NewPipeline) async throws(PipelineError) -> Bool {
        try await self.run([PostgresWorkflowQueries.create(pipeline)]) { results throws(PostgresError) in
            try results[0].single("created", as: Int.self) == 1
        }
    }

    package func apply(_ change: PipelineChange) async throws(PipelineError) -> StoreOutcome {
        try await self.run([PostgresWorkflowQueries.apply(change)]) { results throws(PostgresError) in
            try results[0].single("applied", as: Int.self) == 1 ? .applied : .staleLease
        }
    }

    package func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
        let queries = [PostgresWorkflowQueries.loadInput(id), PostgresWorkflowQueries.loadTasks(id)]
        return try await self.run(queries) { results in
            guard let pipeline = results[0].first, let state = results[1].first else { return nil }
            return try StoredPipeline(pipeline: pipeline, state: state, tasks: results[1])
        }
    }

    private func run<Value>(
        _ statements: [PostgresStatement], _ read: ([PostgresRows]) throws -> Value
    ) async throws(PipelineError) -> Value {
        do {
            let results = try await self.pool.withConnection(self.label) { lease in
                try await lease.pipeline(statements)
            }
            return try read(results)
        } catch {
            throw PipelineError(.storageFailed, "the pipeline can't be read or written", underlying: error)
        }
    }
}

extension StoredPipeline {
    fileprivate init(pipeline: PostgresRow, state: PostgresRow, tasks rows: PostgresRows) throws {
        var tasks: [String: Task] = [:]
        for row in rows {
            let delta = try row.value("delta", as: String?.self)
            let record = TaskRecord(
                state: try Self.state(of: row), epoch: try row.value("epoch"), attempt: try row.value("attempt"))
            tasks[try row.value("task")] = Task(
                record: record, startedAt: try row.value("started_at"), endedAt: try row.value("ended_at"),
                reason: try row.value("reason"),
                delta: try delta.map { try ContextDelta(parsing: $0) }
                    ?? (record.state == .completed ? ContextDelta() : nil))
        }
        self.init(
            workflow: try pipeline.value("workflow"),
            status: try Self.known(PipelineStatus.init(rawValue:), try state.value("pipeline_state")),
            revision: try state.value("revision"),
            input: try Context(parsing: pipeline.value("input"), byteLimit: .max),
            startedAt: try pipeline.value("started_at"), endedAt: try state.value("pipeline_ended_at"), tasks: tasks)
    }

    private static func state(of row: PostgresRow) throws -> TaskState {
        switch try self.known(TaskStatus.init(rawValue:), try row.value("state")) {
        case .waiting: .waiting
        case .ready: .ready
        case .running: .running(owner: try row.value("owner"), epoch: try row.value("epoch"))
        case .completed: .completed
        case .failed: .failed
        case .skipped: .skipped(SkipReason(text: try row.value("reason", as: String?.self) ?? ""))
        }
    }

    private static func known<State>(_ state: (String) -> State?, _ text: String) throws -> State {
        guard let state = state(text) else {
            throw PipelineError(.storageFailed, "a newer version of this library wrote the state \"\(text)\"")
        }
        return state
    }
}
