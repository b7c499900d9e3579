import FoundationEssentials
import GRDB

/// What the store's methods do inside a transaction.
extension Database {
    func create(_ new: NewPipeline) throws -> Creation {
        let key = new.options.idempotencyKey
        try self.run(
            SQLiteQueries.create, new.id, new.workflow, new.version, new.owner, new.options.priority,
            new.dueAt?.sqliteMicroseconds, new.at.sqliteMicroseconds, new.options.timeout?.wholeMilliseconds, key,
            new.input.jsonText)
        guard self.changesCount > 0 else {
            let existing = try self.rows(SQLiteQueries.existing, new.id, key) { try $0.value(UUID.self) }
            return .exists(existing.first ?? new.id)
        }
        try self.note([new.event], of: new.id, revision: 1)
        return .created
    }

    func apply(_ change: PipelineChange) throws -> StoreOutcome {
        let transition = change.transition
        var request: PipelineRequest?
        // Nobody hears what was asked of one that has ended.
        if !transition.status.isTerminal {
            let requests = try self.rows(SQLiteQueries.asked, change.id) { try $0.optional(String.self) }
            request = requests.first?.flatMap { PipelineRequest(rawValue: $0) }
        }
        try self.run(
            SQLiteQueries.apply, change.id, transition.status.rawValue, transition.dueAt?.sqliteMicroseconds,
            transition.status.isTerminal ? change.at.sqliteMicroseconds : nil, transition.expectedRevision,
            change.epoch)
        guard self.changesCount > 0 else { return .stale }
        try self.note(transition.events, of: change.id, revision: transition.expectedRevision + 1)
        return .applied(transition.keeps(request))
    }

    /// Adds lines to a history.
    func note(_ events: [PipelineEvent], of pipeline: UUID, revision: Int) throws {
        for (position, event) in events.enumerated() {
            let delta = event.delta.flatMap { $0.isEmpty ? nil : $0.jsonText }
            try self.run(
                SQLiteQueries.happened, pipeline, revision, position, event.kind.rawValue, event.task, event.attempt,
                event.worker, event.startedAt?.sqliteMicroseconds, event.at.sqliteMicroseconds,
                event.dueAt?.sqliteMicroseconds, event.detail, delta)
        }
    }

    func history(of pipeline: UUID) throws -> [PipelineEvent] {
        try self.rows(SQLiteQueries.history, pipeline) { try PipelineEvent(&$0) }
    }

    /// What a runner may claim, in order.
    func due<Value>(
        for claim: QueueClaim, limit: Int, _ read: (inout SQLiteRow) throws -> Value
    ) throws -> [Value] {
        var due: [Value] = []
        try self.forEachLevel { level in
            try self.forEach(SQLiteQueries.due, claim.at.sqliteMicroseconds, level) { row in
                var head = row
                let (_, workflow, version) = (
                    try head.value(UUID.self), try head.value(String.self), try head.value(String.self)
                )
                let hasBegun = try head.optionalDate() != nil
                guard let known = claim.workflows[workflow], !hasBegun || known == version else { return true }
                due.append(try read(&row))
                return due.count < limit
            }
            return due.count < limit
        }
        return due
    }

    /// Hands the priorities of what waits to a closure, the highest first, until it says that it has enough.
    func forEachLevel(_ body: (Int64) throws -> Bool) throws {
        var last: Int64?
        while let level = try self.rows(SQLiteQueries.level, last, read: { try $0.optional(Int64.self) }).first ?? nil {
            guard try body(level) else { return }
            last = level
        }
    }

    /// Pauses a pipeline that can't be read.
    func putAside(_ id: UUID, for claim: QueueClaim, _ error: any Error) throws {
        let revision = try self.rows(SQLiteQueries.putAside, id) { try $0.value(Int.self) }.first
        guard let revision else { return }
        try self.note([.putAside(by: claim, error)], of: id, revision: revision)
    }

    func pipeline(_ id: UUID) throws -> StoredPipeline? {
        try self.rows(SQLiteQueries.load, id) { try StoredPipeline(&$0) }.first
    }

    func claim(_ pipeline: StoredPipeline, for claim: QueueClaim) throws -> StoredPipeline {
        var (claimed, start) = pipeline.claimed(by: claim)
        try self.run(
            SQLiteQueries.claim, claimed.id, claim.runner, claimed.version, claimed.startedAt?.sqliteMicroseconds)
        try self.note([start], of: claimed.id, revision: claimed.revision)
        // A pipeline that was queued and claimed has nothing else to tell.
        claimed.events =
            claimed.revision > 2
            ? try self.history(of: claimed.id)
            : [PipelineEvent(.pipelineQueued, at: pipeline.createdAt, dueAt: pipeline.dueAt), start]
        return claimed
    }
}
