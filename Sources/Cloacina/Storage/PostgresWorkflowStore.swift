package import CloacinaPostgres
package import FoundationEssentials

/// Keeps the pipelines of one tenant in the tenant's schema, over the pool that all tenants share.
package struct PostgresWorkflowStore: WorkflowStore {
    private let pool: PostgresPool
    private let label: PostgresLabel
    /// How long a heartbeat waits for one of the pool's connections before it takes one beside them.
    private let beatPatience: Duration
    private let cursor: QueueCursor

    package init(
        pool: PostgresPool, label: PostgresLabel, beatPatience: Duration = .seconds(5),
        slowClaim: Duration = .milliseconds(5)
    ) {
        self.pool = pool
        self.label = label
        self.beatPatience = beatPatience
        self.cursor = QueueCursor(slowClaim: slowClaim)
    }

    package func create(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [Creation] {
        var queries = [PostgresWorkflowQueries.create(pipelines)]
        if pipelines.contains(where: { $0.options.idempotencyKey != nil }) {
            queries.insert(PostgresWorkflowQueries.impatiently, at: 0)
        }
        let created = try await self.run(queries) { results in
            Set(try results[results.count - 1].column("id", as: UUID.self))
        }
        let refused = pipelines.filter { !created.contains($0.id) }
        let existing = refused.isEmpty ? [:] : try await self.existing(refused)
        return pipelines.map { existing[$0.id] ?? .created }
    }

    /// What stood in the way of new pipelines.
    private func existing(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [UUID: Creation] {
        let keys = pipelines.compactMap(\.options.idempotencyKey)
        var (holders, ids) = ([String: UUID](), Set<UUID>())
        if !keys.isEmpty {
            let question = PostgresWorkflowQueries.find(keys: keys, ids: pipelines.map(\.id))
            (holders, ids) = try await self.run([question]) { results in
                var (holders, ids) = ([String: UUID](), Set<UUID>())
                for row in results[0] {
                    let id: UUID = try row.value("id")
                    if let key: String = try row.value("idempotency_key") { holders[key] = id } else { ids.insert(id) }
                }
                return (holders, ids)
            }
        }
        var creations: [UUID: Creation] = [:]
        var free: [NewPipeline] = []
        for pipeline in pipelines {
            let key = pipeline.options.idempotencyKey
            let holder = key.flatMap { holders[$0] }
            if key == nil || holder != nil || ids.contains(pipeline.id) {
                creations[pipeline.id] = .exists(holder ?? pipeline.id)
            } else {
                // What was in its way has been deleted since.
                free.append(pipeline)
            }
        }
        guard !free.isEmpty else { return creations }
        for (pipeline, creation) in zip(free, try await self.create(free)) { creations[pipeline.id] = creation }
        return creations
    }

    package func apply(_ changes: [PipelineChange]) async throws(PipelineError) -> [StoreOutcome] {
        if changes.count == 1 {
            return try await self.run([PostgresWorkflowQueries.apply(changes[0])]) { results in
                guard let row = results[0].first else { return [.stale] }
                return [.applied(try Self.request(of: row))]
            }
        }
        return try await self.run([PostgresWorkflowQueries.apply(changes)]) { results in
            var applied: [UUID: StoreOutcome] = [:]
            for row in results[0] { applied[try row.value("id")] = .applied(try Self.request(of: row)) }
            return changes.map { applied[$0.id] ?? .stale }
        }
    }

    package func claim(_ claim: QueueClaim) async throws(PipelineError) -> [StoredPipeline] {
        guard claim.limit > 0, !claim.workflows.isEmpty else { return [] }
        guard let position = self.cursor.position(at: .now) else { return try await self.claimFromStart(claim) }
        let claimed = try await self.claim(claim, after: position)
        self.cursor.note(claimed.last, isFull: claimed.count == claim.limit)
        // Of those that can't be read others may take the place.
        guard claimed.pipelines.count < claim.limit else { return claimed.pipelines }
        var rest = claim
        rest.limit -= claimed.pipelines.count
        return claimed.pipelines + (try await self.claimFromStart(rest))
    }

    private func claimFromStart(_ claim: QueueClaim) async throws(PipelineError) -> [StoredPipeline] {
        var found: [StoredPipeline] = []
        var rest = claim
        while true {
            let begin = ContinuousClock.now
            let claimed = try await self.claim(rest, after: nil)
            self.cursor.note(claimed.last, isFull: claimed.count == rest.limit)
            self.cursor.noteScan(from: begin, to: .now)
            found += claimed.pipelines
            // What can't be read took the place of others.
            guard claimed.count == rest.limit, claimed.pipelines.count < claimed.count else { return found }
            rest.limit -= claimed.pipelines.count
        }
    }

    /// What a claim took: those that can be read, how many there were, and the last one's place in the queue.
    private struct Claimed {
        var pipelines: [StoredPipeline]
        var count = 0
        var last: QueueCursor.Position?
    }

    private func claim(
        _ claim: QueueClaim, after position: QueueCursor.Position?
    ) async throws(PipelineError) -> Claimed {
        let queries = [
            PostgresWorkflowQueries.inQueueOrder, PostgresWorkflowQueries.claim(claim, after: position),
        ]
        var last: QueueCursor.Position?
        var count = 0
        var unreadable: [PipelineChange] = []
        var claimed = try await self.run(queries) { results in
            count = results[1].count
            return try results[1].compactMap { row in
                last = QueueCursor.Position(
                    priority: try row.value("priority"), dueAt: try row.value("queued_at"), id: try row.value("id"))
                do {
                    return try StoredPipeline(row)
                } catch {
                    unreadable.append(
                        PipelineChange(
                            puttingAside: try row.value("id"), revision: try row.value("revision"),
                            epoch: try row.value("epoch"), for: claim, error))
                    return nil
                }
            }
        }
        // A pipeline that was queued and claimed has nothing else to tell.
        let begun = claimed.filter { $0.revision > 2 }.map(\.id)
        if !begun.isEmpty {
            let histories = try await self.histories(of: begun)
            claimed = claimed.compactMap { pipeline in
                guard let history = histories[pipeline.id] else { return pipeline }
                var pipeline = pipeline
                do {
                    pipeline.events = try history.get().events
                    return pipeline
                } catch {
                    unreadable.append(
                        PipelineChange(
                            puttingAside: pipeline.id, revision: pipeline.revision, epoch: pipeline.epoch, for: claim,
                            error))
                    return nil
                }
            }
        }
        if !unreadable.isEmpty { _ = try await self.apply(unreadable) }
        return Claimed(pipelines: claimed, count: count, last: last)
    }

    private func histories(
        of ids: [UUID]
    ) async throws(PipelineError) -> [UUID: Result<PipelineHistory, any Error>] {
        try await self.run([PostgresWorkflowQueries.histories(ids)]) { results in
            var histories: [UUID: PipelineHistory] = [:]
            var unreadable: [UUID: any Error] = [:]
            for row in results[0] {
                let id: UUID = try row.value("pipeline_id")
                do { try histories[id, default: PipelineHistory()].append(row) } catch { unreadable[id] = error }
            }
            return histories.mapValues { .success($0) }.merging(unreadable.mapValues { .failure($0) }) { $1 }
        }
    }

    package func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
        let queries = [PostgresWorkflowQueries.load(id), PostgresWorkflowQueries.history(id)]
        return try await self.run(queries) { results in
            guard let row = results[0].first else { return nil }
            var pipeline = try StoredPipeline(row)
            // The history is read after the pipeline: what has come since is not part of it.
            var history = PipelineHistory()
            for row in results[1] { try history.append(row, upTo: pipeline.revision) }
            pipeline.events = history.events
            return pipeline
        }
    }

    package func status(of id: UUID) async throws(PipelineError) -> PipelineStatus? {
        try await self.run([PostgresWorkflowQueries.status(of: id)]) { results in
            try results[0].first.map { row in
                try StoredPipeline.known(PipelineStatus.init(rawValue:), try row.value("state"))
            }
        }
    }

    package func ask(_ request: PipelineRequest, of id: UUID) async throws(PipelineError) {
        try await self.run([PostgresWorkflowQueries.ask(request, of: id)]) { _ in }
    }

    package func beat(
        _ runner: UUID, number: Int, pipelines: [UUID], at: Date
    ) async throws(PipelineError) -> BeatAnswer {
        var queries = [PostgresWorkflowQueries.beat(runner, number: number, at: at)]
        if !pipelines.isEmpty { queries.append(PostgresWorkflowQueries.requests(of: runner, pipelines)) }
        return try await self.run(queries, isBeat: true) { results in
            var answer = BeatAnswer()
            for row in results.dropFirst().joined() {
                let id: UUID = try row.value("id")
                answer.held.insert(id)
                answer.requests[id] = try Self.request(of: row)
            }
            return answer
        }
    }

    package func survey(everyOwner: Bool, at: Date) async throws(PipelineError) -> QueueSurvey {
        let known = [PostgresWorkflowQueries.runners(everyOwner: everyOwner)]
        var (survey, isWaiting) = try await self.run(known, within: Self.patience) { results in
            var (survey, isWaiting) = (QueueSurvey(beats: [:]), false)
            for row in results[0] {
                let number: Int? = try row.value("number")
                guard let id = try row.value("id", as: UUID?.self) else {
                    isWaiting = number != nil
                    continue
                }
                if let request = try Self.request(of: row) {
                    survey.unheard[id] = request
                } else {
                    survey.beats[id] = number
                }
            }
            return (survey, isWaiting)
        }
        guard isWaiting else { return survey }
        (survey.isDue, survey.nextDue) = try await self.run(
            [PostgresWorkflowQueries.queue(at: at)], within: Self.patience
        ) { results in
            guard let row = results[0].first else { return (false, nil) }
            return (try row.value("is_due"), try row.value("due_at"))
        }
        return survey
    }

    package func recover(_ runner: UUID, beats: Int, by rescuer: UUID, at: Date) async throws(PipelineError) -> Int {
        let queries = [PostgresWorkflowQueries.recover(runner, beats: beats, by: rescuer, at: at)]
        return try await self.run(queries, within: Self.patience) { results in
            try results[0].single("recovered", as: Int.self)
        }
    }

    package func claims(of runner: UUID) async throws(PipelineError) -> [UUID: Int] {
        try await self.run([PostgresWorkflowQueries.claims(of: runner)], within: Self.patience) { results in
            var claims: [UUID: Int] = [:]
            for row in results[0] { claims[try row.value("id")] = try row.value("epoch", as: Int.self) }
            return claims
        }
    }

    package func leave(_ runner: UUID) async throws(PipelineError) {
        try await self.run([PostgresWorkflowQueries.leave(runner)], within: Self.patience) { _ in }
    }

    package func list(_ query: PipelineQuery) async throws(PipelineError) -> [PipelineSummary] {
        try await self.run([PostgresWorkflowQueries.list(query)]) { results in
            try results[0].map { row in
                PipelineSummary(
                    id: try row.value("id"), workflow: try row.value("workflow"), version: try row.value("version"),
                    status: try StoredPipeline.known(PipelineStatus.init(rawValue:), try row.value("state")),
                    createdAt: try row.value("created_at"), startedAt: try row.value("started_at"),
                    endedAt: try row.value("ended_at"), recoveries: try row.value("recoveries"))
            }
        }
    }

    package func events(_ query: EventQuery) async throws(PipelineError) -> [RecordedEvent] {
        try await self.run([PostgresWorkflowQueries.events(query)]) { results in
            try results[0].map { row in
                let cursor = EventCursor(
                    pipeline: try row.value("pipeline_id"), revision: try row.value("revision"),
                    position: try row.value("position"))
                return RecordedEvent(try PipelineEvent(row), at: cursor)
            }
        }
    }

    package func prune(endedBefore: Date, below bound: UUID, limit: Int) async throws(PipelineError) -> Int {
        let queries = [PostgresWorkflowQueries.prune(endedBefore: endedBefore, below: bound, limit: limit)]
        return try await self.run(queries, within: Self.patience) { results in
            try results[0].single("pruned", as: Int.self)
        }
    }

    /// How long a statement may take that others wait for: the other tenants, or who counts heartbeats. Somebody's lock on a
    /// table must not stop more than what needs the table.
    private static var patience: Duration { .seconds(10) }

    private func send(
        _ statements: [PostgresStatement], checkout: ContinuousClock.Instant? = nil, within patience: Duration?
    ) async throws -> [PostgresRows] {
        try await self.pool.withConnection(self.label, deadline: checkout) { lease in
            try await lease.pipeline(
                statements, deadline: patience.map { .now.advanced(by: $0) }, fileID: #fileID, line: #line)
        }
    }

    /// A heartbeat must come through although tasks have leased every connection, or others would take what lives for dead.
    private func beat(_ statements: [PostgresStatement]) async throws -> [PostgresRows] {
        do {
            return try await self.send(
                statements, checkout: .now.advanced(by: self.beatPatience), within: Self.patience)
        } catch let error as PostgresError where [.checkoutTimedOut, .tooManyWaiters].contains(error.code) {
            return try await self.pool.withSpareConnection(self.label) { connection in
                try await connection.pipeline(
                    statements, deadline: .now.advanced(by: Self.patience), fileID: #fileID, line: #line)
            }
        }
    }

    private static func request(of row: PostgresRow) throws -> PipelineRequest? {
        try row.value("request", as: String?.self).flatMap { PipelineRequest(rawValue: $0) }
    }

    private func run<Value>(
        _ statements: [PostgresStatement], isBeat: Bool = false, within patience: Duration? = nil,
        _ read: ([PostgresRows]) throws -> Value
    ) async throws(PipelineError) -> Value {
        do {
            let results =
                isBeat ? try await self.beat(statements) : try await self.send(statements, within: patience)
            return try read(results)
        } catch {
            throw PipelineError(.storageFailed, "the pipeline can't be read or written", underlying: error)
        }
    }
}

extension StoredPipeline {
    fileprivate init(_ row: PostgresRow) throws {
        let id: UUID = try row.value("id")
        let createdAt: Date = try row.value("created_at")
        self.init(
            id: id, workflow: try row.value("workflow"), version: try row.value("version"),
            status: try Self.known(PipelineStatus.init(rawValue:), try row.value("state")),
            revision: try row.value("revision"), epoch: try row.value("epoch"), owner: try row.value("owner"),
            recoveries: try row.value("recoveries"), priority: try row.value("priority"),
            timeout: try row.value("timeout_ms", as: Int64?.self).map { .milliseconds($0) },
            input: try Context(parsing: row.value("input"), byteLimit: .max), createdAt: createdAt,
            startedAt: try row.value("started_at"), endedAt: try row.value("ended_at"),
            dueAt: try row.value("due_at"),
            request: try row.value("request", as: String?.self).flatMap { PipelineRequest(rawValue: $0) },
            idempotencyKey: try row.value("idempotency_key"), events: [])
    }

    static func known<State>(_ state: (String) -> State?, _ text: String) throws -> State {
        guard let state = state(text) else {
            throw PipelineError(.storageFailed, "a newer version of this library wrote the state \"\(text)\"")
        }
        return state
    }
}

extension PipelineHistory {
    fileprivate mutating func append(_ row: PostgresRow, upTo revision: Int = .max) throws {
        let found: Int = try row.value("revision")
        if found == PostgresWorkflowQueries.ownCommits {
            self.appendOwnCommit(try PipelineEvent(row))
        } else if found <= revision {
            self.append(try PipelineEvent(row))
        }
    }
}

extension PipelineEvent {
    fileprivate init(_ row: PostgresRow) throws {
        let kind = try StoredPipeline.known(Kind.init(rawValue:), try row.value("kind"))
        let delta = try row.value("delta", as: String?.self)
        self.init(
            kind, task: try row.value("task"), attempt: try row.value("attempt"), worker: try row.value("worker"),
            startedAt: try row.value("started_at"), at: try row.value("at"), detail: try row.value("detail"),
            delta: try delta.map { try ContextDelta(parsing: $0) } ?? (kind == .taskCompleted ? ContextDelta() : nil),
            dueAt: try row.value("due_at"))
    }
}
