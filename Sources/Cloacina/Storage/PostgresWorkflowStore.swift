package import CloacinaPostgres
package import FoundationEssentials

/// Keeps the pipelines of one tenant in the tenant's schema, over the pool that all tenants share.
package struct PostgresWorkflowStore: WorkflowStore {
    private let pool: PostgresPool
    private let label: PostgresLabel
    private let cursor: QueueCursor
    /// How many lines of histories one statement deletes.
    private let linesPerDeletion: Int
    let recoveries: RecoveryBatch
    /// True when a pipeline that is due by the server's clock is due, too: a host whose clock is behind would serve the others late by as much.
    let followsServersClock: Bool
    /// True for an administrator's session, which must not run what somebody has tied to the tables.
    private let isGuarded: Bool

    /// Makes a store.
    ///
    /// - Parameters:
    ///   - isGuarded: Whether to only read, and nothing unless the tables are as migrations make them; see ``TableGuard``.
    ///   - followsServersClock: Whether times come from clocks that are meant to show what the server's does; not those in a test's
    ///     hand.
    package init(
        pool: PostgresPool, label: PostgresLabel, slowClaim: Duration = .milliseconds(5),
        linesPerDeletion: Int = 200_000, pipelinesPerRecovery: Int = 10_000, isGuarded: Bool = false,
        followsServersClock: Bool = false
    ) {
        self.followsServersClock = followsServersClock
        self.recoveries = RecoveryBatch(atMost: pipelinesPerRecovery)
        self.pool = pool
        self.isGuarded = isGuarded
        self.linesPerDeletion = max(1, linesPerDeletion)
        self.label = label
        self.cursor = QueueCursor(slowClaim: slowClaim)
    }

    package func create(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [Creation] {
        if Self.dependOnEachOther(pipelines) {
            var creations: [Creation] = []
            for pipeline in pipelines { creations += try await self.create([pipeline]) }
            return creations
        }
        var queries = Self.creating(pipelines, byServersClock: self.followsServersClock)
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

    /// The statements that store pipelines, in one transaction.
    private static func creating(_ pipelines: [NewPipeline], byServersClock: Bool) -> [PostgresStatement] {
        let taking = pipelines.filter(\.takesKey)
        return (taking.isEmpty ? [] : [PostgresWorkflowQueries.releaseKeys(for: taking)])
            + [PostgresWorkflowQueries.create(pipelines, byServersClock: byServersClock)]
    }

    /// True when one of several pipelines with one key may take it from an earlier pipeline: then their order counts, and one
    /// statement has none.
    private static func dependOnEachOther(_ pipelines: [NewPipeline]) -> Bool {
        guard pipelines.count > 1, pipelines.contains(where: \.takesKey) else { return false }
        var counts: [[UInt8]: Int] = [:]
        for key in pipelines.compactMap(\.options.idempotencyKey) { counts[Array(key.utf8), default: 0] += 1 }
        return pipelines.contains { pipeline in
            pipeline.takesKey && pipeline.options.idempotencyKey.flatMap { counts[Array($0.utf8)] } != 1
        }
    }

    /// Stores a pipeline inside a transaction of the caller's.
    static func create(
        _ new: NewPipeline, byServersClock: Bool, in transaction: borrowing PostgresTransaction
    ) async throws -> Creation {
        while true {
            let created = try await transaction.pipeline(self.creating([new], byServersClock: byServersClock))
            guard created.last?.isEmpty ?? true, let key = new.options.idempotencyKey else { return .created }
            let rows = try await transaction.query(PostgresWorkflowQueries.holders(of: [new]))
            // Without one, what was in its way has been deleted since.
            guard let (holder, hasSameText) = try Holders(rows).byPlace[1] else { continue }
            if let answer = new.answer(for: holder, hasSameText: hasSameText) { return answer }
            let inputs = try await transaction.query(PostgresWorkflowQueries.input(of: holder.id, key: key))
            guard let input = inputs.first else { continue }
            return new.answer(for: holder, storedInput: try input.value("input"))
        }
    }

    /// The holders of new pipelines' keys, by the places of those, and the ids that are stored already.
    private struct Holders {
        var byPlace: [Int: (holder: KeyHolder, hasSameText: Bool)] = [:]
        var ids: Set<UUID> = []

        init(_ rows: PostgresRows) throws {
            for row in rows {
                let id: UUID = try row.value("id")
                guard let place = try row.value("place", as: Int?.self) else {
                    self.ids.insert(id)
                    continue
                }
                let holder = KeyHolder(id: id, workflow: try row.value("workflow"), parent: try row.value("parent_id"))
                self.byPlace[place] = (holder, try row.value("has_same_text"))
            }
        }
    }

    /// What stood in the way of new pipelines.
    private func existing(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [UUID: Creation] {
        var creations: [UUID: Creation] = [:]
        let keyed = pipelines.filter { $0.options.idempotencyKey != nil }
        for pipeline in pipelines where pipeline.options.idempotencyKey == nil {
            creations[pipeline.id] = .exists(pipeline.id)
        }
        guard !keyed.isEmpty else { return creations }
        let holders = try await self.run([PostgresWorkflowQueries.holders(of: keyed)]) { try Holders($0[0]) }
        var free: [NewPipeline] = []
        for (index, pipeline) in keyed.enumerated() {
            if holders.ids.contains(pipeline.id) {
                creations[pipeline.id] = .exists(pipeline.id)
            } else if let (holder, hasSameText) = holders.byPlace[index + 1],
                let answer = try await self.answer(to: pipeline, for: holder, hasSameText: hasSameText)
            {
                creations[pipeline.id] = answer
            } else {
                // What was in its way has been deleted since.
                free.append(pipeline)
            }
        }
        guard !free.isEmpty else { return creations }
        for (pipeline, creation) in zip(free, try await self.create(free)) { creations[pipeline.id] = creation }
        return creations
    }

    /// The answer to a new pipeline whose key another one has; nil when that has it no more.
    private func answer(
        to new: NewPipeline, for holder: KeyHolder, hasSameText: Bool
    ) async throws(PipelineError) -> Creation? {
        if let answer = new.answer(for: holder, hasSameText: hasSameText) { return answer }
        // One at a time: each may be large.
        let question = PostgresWorkflowQueries.input(of: holder.id, key: new.options.idempotencyKey ?? "")
        return try await self.run([question]) { results in
            try results[0].first.map { new.answer(for: holder, storedInput: try $0.value("input")) }
        }
    }

    package func apply(_ changes: [PipelineChange]) async throws(PipelineError) -> [StoreOutcome] {
        if changes.count > 1, changes.contains(where: \.transition.foldsEverything) {
            var outcomes: [StoreOutcome] = []
            for change in changes { outcomes += try await self.apply([change]) }
            return outcomes
        }
        if changes.count == 1 {
            var queries = [PostgresWorkflowQueries.apply(changes[0], byServersClock: self.followsServersClock)]
            if changes[0].transition.foldsEverything {
                // What is being committed must be visible to the statement that folds it in.
                queries.insert(PostgresWorkflowQueries.lock(changes[0].id), at: 0)
            }
            return try await self.run(queries) { results in
                guard let row = results[results.count - 1].first else { return [.stale] }
                return [.applied(try Self.request(of: row))]
            }
        }
        let query = PostgresWorkflowQueries.apply(changes, byServersClock: self.followsServersClock)
        return try await self.run([query], lockTimeout: Self.batchLockTimeout) { results in
            var applied: [UUID: StoreOutcome] = [:]
            for row in results[0] { applied[try row.value("id")] = .applied(try Self.request(of: row)) }
            return changes.map { applied[$0.id] ?? .stale }
        }
    }

    package func claim(_ claim: QueueClaim) async throws(PipelineError) -> [StoredPipeline] {
        guard claim.limit > 0, !claim.workflows.isEmpty else { return [] }
        guard let position = self.cursor.position(at: .now, for: claim) else {
            return try await self.claimFromStart(claim)
        }
        let claimed = try await self.claim(claim, after: position)
        self.cursor.note(claimed.last, of: claim, isFull: claimed.count == claim.limit)
        // Of those that can't be read others may take the place.
        var rest = claim
        guard rest.takeAway(claimed.pipelines) else { return claimed.pipelines }
        return claimed.pipelines + (try await self.claimFromStart(rest))
    }

    private func claimFromStart(_ claim: QueueClaim) async throws(PipelineError) -> [StoredPipeline] {
        var found: [StoredPipeline] = []
        var rest = claim
        var window = PostgresWorkflowQueries.window(for: claim)
        // A tenant may put in more that can't be read than anybody can set aside.
        let end = ContinuousClock.now.advanced(by: .seconds(2))
        while true {
            let begin = ContinuousClock.now
            let claimed = try await self.claim(rest, after: nil, window: window)
            self.cursor.note(claimed.last, of: claim, isFull: claimed.count == rest.limit)
            self.cursor.noteScan(from: begin, to: .now)
            found += claimed.pipelines
            // Others hold so much of what comes first that there may be more behind it, or what can't be read took the place of
            // others.
            if claimed.isCut { window = min(window, 1 << 40) * 16 }
            guard claimed.isCut || claimed.count == rest.limit && .now < end, rest.takeAway(claimed.pipelines) else {
                return found
            }
        }
    }

    /// The pipelines that a claim took and that can be read, how many there were, and the last one's place in the queue.
    private struct Claimed {
        var pipelines: [StoredPipeline]
        var count = 0
        /// Whether others held so much of what comes first that there may be more.
        var isCut = false
        var last: QueueCursor.Position?
    }

    private func claim(
        _ claim: QueueClaim, after position: QueueCursor.Position?, window: Int? = nil
    ) async throws(PipelineError) -> Claimed {
        let queries = [
            PostgresWorkflowQueries.byIndexes,
            PostgresWorkflowQueries.claim(
                claim, after: position, window: window, byServersClock: self.followsServersClock),
        ]
        var last: QueueCursor.Position?
        var (count, isCut) = (0, false)
        var unreadable: [PipelineChange] = []
        var claimed = try await self.run(queries) { results in
            try results[1].compactMap { row -> StoredPipeline? in
                isCut = try row.value("is_cut")
                // Where nothing was claimed, one row says that.
                guard try row.value("id", as: UUID?.self) != nil else { return nil }
                count += 1
                last = QueueCursor.Position(
                    priority: try row.value("priority"), dueAt: try row.value("queued_at"), id: try row.value("id"))
                do {
                    var pipeline = try StoredPipeline(row)
                    pipeline.storedBytes = Int(clamping: try row.value("bytes", as: Int64.self))
                    try Self.checkSize(pipeline.storedBytes)
                    return pipeline
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
                    let history = try history.get()
                    if let line = history.events.unknownLine { throw PipelineError(.storageFailed, line) }
                    (pipeline.events, pipeline.commits) = (history.events, history.commits)
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
        return Claimed(pipelines: claimed, count: count, isCut: isCut, last: last)
    }

    private static func checkSize(_ bytes: Int) throws(PipelineError) {
        guard bytes <= StoredLimits.historyBytes else { throw Self.tooLong }
    }

    private static var tooLong: PipelineError {
        PipelineError(
            .storageFailed,
            "its history is beyond the \(StoredLimits.historyBytes) bytes that are read of one pipeline")
    }

    private func histories(
        of ids: [UUID]
    ) async throws(PipelineError) -> [UUID: Result<PipelineHistory, any Error>] {
        let queries = [PostgresWorkflowQueries.commits(ids), PostgresWorkflowQueries.histories(ids)]
        return try await self.run(queries) { results in
            var histories: [UUID: PipelineHistory] = [:]
            var unreadable: [UUID: any Error] = [:]
            for row in results[0] {
                let id: UUID = try row.value("pipeline_id")
                do { histories[id, default: PipelineHistory()].appendCommit(try PipelineEvent(row)) } catch {
                    unreadable[id] = error
                }
            }
            for row in results[1] {
                let id: UUID = try row.value("pipeline_id")
                guard try row.value("kind", as: String?.self) != nil else {
                    unreadable[id] = Self.tooLong
                    continue
                }
                do { histories[id, default: PipelineHistory()].append(try PipelineEvent(row)) } catch {
                    unreadable[id] = error
                }
            }
            return histories.mapValues { .success($0) }.merging(unreadable.mapValues { .failure($0) }) { $1 }
        }
    }

    package func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
        // What is folded into the history meanwhile is found twice, never not at all.
        let queries = [
            PostgresWorkflowQueries.commits([id]), PostgresWorkflowQueries.load(id),
            PostgresWorkflowQueries.history(id),
        ]
        return try await self.run(queries) { results in
            guard let row = results[1].first else { return nil }
            var pipeline = try StoredPipeline(row)
            pipeline.output = try row.value("output")
            pipeline.outcomes = try row.value("outcomes")
            // The history is read after the pipeline: what has come since is not part of it.
            var history = PipelineHistory()
            for row in results[0] { history.appendCommit(try PipelineEvent(row)) }
            for row in results[2] where try row.value("revision", as: Int.self) <= pipeline.revision {
                guard try row.value("kind", as: String?.self) != nil else { throw Self.tooLong }
                history.append(try PipelineEvent(row))
            }
            (pipeline.events, pipeline.commits) = (history.events, history.commits)
            return pipeline
        }
    }

    package func row(of id: UUID) async throws(PipelineError) -> StoredPipeline? {
        try await self.run([PostgresWorkflowQueries.row(of: id)]) { results in
            try results[0].first.map { try StoredPipeline($0) }
        }
    }

    package func standing(of id: UUID) async throws(PipelineError) -> PipelineStanding? {
        try await self.run([PostgresWorkflowQueries.standing(of: id)]) { results in
            try results[0].first.map { row in
                PipelineStanding(
                    status: PipelineStatus(rawValue: try row.value("state")) ?? .unknown,
                    revision: try row.value("revision"), epoch: try row.value("epoch"), owner: try row.value("owner"))
            }
        }
    }

    package func children(of id: UUID, after last: UUID?) async throws(PipelineError) -> [UUID] {
        try await self.run([PostgresWorkflowQueries.children(of: id, after: last)]) {
            try $0[0].column("id", as: UUID.self)
        }
    }

    package func status(of id: UUID) async throws(PipelineError) -> PipelineStatus? {
        try await self.run([PostgresWorkflowQueries.status(of: id)]) { results in
            try results[0].first.map { row in
                PipelineStatus(rawValue: try row.value("state")) ?? .unknown
            }
        }
    }

    package func list(_ query: PipelineQuery) async throws(PipelineError) -> [PipelineSummary] {
        try await self.run([PostgresWorkflowQueries.list(query)]) { results in
            try results[0].map { row in
                PipelineSummary(
                    id: try row.value("id"), workflow: try row.value("workflow"), version: try row.value("version"),
                    status: PipelineStatus(rawValue: try row.value("state")) ?? .unknown,
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
                let event: PipelineEvent
                do { event = try PipelineEvent(row) } catch {
                    // One bad row is one bad line.
                    event = PipelineEvent(unreadable: error, at: (try? row.value("at")) ?? .distantPast)
                }
                return RecordedEvent(event, at: cursor)
            }
        }
    }

    package func prune(endedBefore: Date, below bound: UUID, limit: Int) async throws(PipelineError) -> Int {
        var lines = self.linesPerDeletion
        while true {
            let queries = [
                PostgresWorkflowQueries.byIndexes,
                PostgresWorkflowQueries.prune(endedBefore: endedBefore, below: bound, limit: limit, lines: lines),
            ]
            do throws(PipelineError) {
                let (pruned, deleted) = try await self.run(queries, within: Self.patience) { results in
                    guard let row = results[1].first else { return (0, 0) }
                    return (try row.value("pruned", as: Int.self), try row.value("lines", as: Int.self))
                }
                // As long as only lines are deleted, the pipelines that they belong to come next.
                guard pruned == 0, deleted >= lines else { return pruned }
            } catch {
                // What takes too long at once is done in smaller parts.
                guard error.isOverdue, lines > 1_000 else { throw error }
                lines /= 4
            }
        }
    }

    /// How long a statement may take that others wait for: the other tenants, or who counts heartbeats. Somebody's lock on a
    /// table must not stop more than what needs the table.
    static var patience: Duration { .seconds(10) }

    /// How long any call may take: whoever waits for one hears nothing, such as that the pipeline was cancelled or the runner is to
    /// stop. A commit that waits for a standby is done then, and what was stored without an answer is found by the next try.
    private static var longestCall: Duration { .seconds(60) }

    private func send(
        _ statements: [PostgresStatement], within patience: Duration, lockTimeout: Duration
    ) async throws -> [PostgresRows] {
        // Tasks may have leased every connection of the budget.
        try await self.pool.withReservedConnection(self.label) { lease in
            if self.isGuarded {
                return try await TableGuard(self.label).read(statements, over: lease, within: patience, lockTimeout)
            }
            return try await lease.pipeline(
                statements, deadline: .now.advanced(by: patience), lockTimeout: lockTimeout,
                fileID: #fileID, line: #line)
        }
    }

    /// How long a statement waits for somebody's lock: a tenant that locks its tables must not pin a connection that all share.
    private static let lockTimeout: Duration = .seconds(5)
    /// How long several transitions that go together wait for a lock on one of them, such as that of a task that is committing.
    /// Longer than a commit usually takes; each is tried for itself after that.
    private static let batchLockTimeout: Duration = .milliseconds(250)

    static func request(of row: PostgresRow) throws -> PipelineRequest? {
        try row.value("request", as: String?.self).flatMap { PipelineRequest(rawValue: $0) }
    }

    func run<Value>(
        _ statements: [PostgresStatement], within patience: Duration = Self.longestCall,
        lockTimeout: Duration = Self.lockTimeout, _ read: ([PostgresRows]) throws -> Value
    ) async throws(PipelineError) -> Value {
        do {
            let results = try await self.send(statements, within: patience, lockTimeout: lockTimeout)
            return try read(results)
        } catch {
            throw PipelineError(storing: self.label, error)
        }
    }
}

extension QueueClaim {
    /// Leaves what is still to be claimed; false when that is nothing.
    fileprivate mutating func takeAway(_ claimed: [StoredPipeline]) -> Bool {
        self.limit -= claimed.count
        self.byteLimit -= claimed.reduce(0) { $0 &+ $1.storedBytes }
        return self.limit > 0 && (self.byteLimit > 0 || claimed.isEmpty)
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
            timeout: try row.value("timeout_ms", as: Int64?.self).map { .milliseconds($0) },  // can't trap: an integer
            input: try Context(parsing: row.value("input"), byteLimit: .max), createdAt: createdAt,
            startedAt: try row.value("started_at"), endedAt: try row.value("ended_at"),
            dueAt: try row.value("due_at"),
            request: try row.value("request", as: String?.self).flatMap { PipelineRequest(rawValue: $0) },
            idempotencyKey: try row.value("idempotency_key"), events: [])
        self.parent = try row.value("parent_id")
        self.depth = try row.value("depth")
    }

    static func known<State>(_ state: (String) -> State?, _ text: String) throws -> State {
        guard let state = state(text) else {
            throw PipelineError(.storageFailed, "a newer version of this library wrote the state \"\(text)\"")
        }
        return state
    }
}

extension PipelineEvent {
    fileprivate init(_ row: PostgresRow) throws {
        let kind = Kind(rawValue: try row.value("kind"))
        let delta = try row.value("delta", as: String?.self)
        self.init(
            kind, task: try row.value("task"), attempt: try row.value("attempt"), worker: try row.value("worker"),
            startedAt: try row.value("started_at"), at: try row.value("at"),
            reason: try row.value("reason", as: String?.self).map { Reason(rawValue: $0) },
            detail: try row.value("detail"),
            delta: try delta.map { try ContextDelta(parsing: $0) } ?? (kind == .taskCompleted ? ContextDelta() : nil),
            dueAt: try row.value("due_at"))
    }

    /// The line that stands for a row that can't be read.
    init(unreadable error: any Error, at: Date) {
        self.init(.unreadable, at: at, reason: .unreadable, detail: PipelineEvent.storable("\(error)"))
    }
}
