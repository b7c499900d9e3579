import FoundationEssentials
import GRDB

/// What the store's methods do inside a transaction.
extension Database {
    func create(_ new: NewPipeline) throws -> Creation {
        let key = new.options.idempotencyKey
        try self.run(
            SQLiteQueries.create,
            [
                .uuid(new.id), .text(new.workflow), .text(new.version), .uuid(new.owner),
                .integer(new.options.priority), .time(new.dueAt), .time(new.at),
                .integer(new.options.timeout?.wholeMilliseconds), .text(key), .text(new.input.jsonText),
            ])
        guard self.changesCount > 0 else {
            let existing = try self.rows(SQLiteQueries.existing, [.uuid(new.id), .text(key)]) {
                try $0.value(UUID.self)
            }
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
            let requests = try self.rows(SQLiteQueries.asked, [.uuid(change.id)]) { try $0.optional(String.self) }
            request = requests.first?.flatMap { PipelineRequest(rawValue: $0) }
        }
        try self.run(
            SQLiteQueries.apply,
            [
                .uuid(change.id), .text(transition.status.rawValue), .time(transition.dueAt),
                .time(transition.status.isTerminal ? change.at : nil), .integer(transition.expectedRevision),
                .integer(change.epoch),
            ])
        guard self.changesCount > 0 else { return .stale }
        try self.note(transition.events, of: change.id, revision: transition.expectedRevision + 1)
        return .applied(transition.keeps(request))
    }

    /// Adds lines to a history.
    func note(_ events: [PipelineEvent], of pipeline: UUID, revision: Int) throws {
        let statement = try SQLiteStatement(SQLiteQueries.happened, in: self)
        for (position, event) in events.enumerated() {
            let delta = event.delta.flatMap { $0.isEmpty ? nil : $0.jsonText }
            try statement.run([
                .uuid(pipeline), .integer(revision), .integer(position), .text(event.kind.rawValue),
                .text(event.task), .integer(event.attempt), .uuid(event.worker), .time(event.startedAt),
                .time(event.at), .time(event.dueAt), .text(event.detail), .text(delta),
            ])
        }
    }

    func history(of pipeline: UUID) throws -> [PipelineEvent] {
        try self.rows(SQLiteQueries.history, [.uuid(pipeline)]) { try PipelineEvent(&$0) }
    }

    /// What a runner may claim, in order.
    func due<Value>(
        for claim: QueueClaim, limit: Int, _ read: (inout SQLiteRow) throws -> Value
    ) throws -> [Value] {
        var due: [Value] = []
        try self.forEachLevel { level in
            try self.forEach(SQLiteQueries.due, [.time(claim.at), .integer(level)]) { row in
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
        while true {
            let levels = try self.rows(SQLiteQueries.level, [.integer(last)]) { try $0.optional(Int64.self) }
            guard let level = levels.first ?? nil, try body(level) else { return }
            last = level
        }
    }

    /// Pauses a pipeline that can't be read.
    func putAside(_ id: UUID, for claim: QueueClaim, _ error: any Error) throws {
        let revision = try self.rows(SQLiteQueries.putAside, [.uuid(id)]) { try $0.value(Int.self) }.first
        guard let revision else { return }
        try self.note([.putAside(by: claim, error)], of: id, revision: revision)
    }

    func pipeline(_ id: UUID) throws -> StoredPipeline? {
        try self.rows(SQLiteQueries.load, [.uuid(id)]) { try StoredPipeline(&$0) }.first
    }

    func claim(_ pipeline: StoredPipeline, for claim: QueueClaim) throws -> StoredPipeline {
        var (claimed, start) = pipeline.claimed(by: claim)
        try self.run(
            SQLiteQueries.claim,
            [.uuid(claimed.id), .uuid(claim.runner), .text(claimed.version), .time(claimed.startedAt)])
        try self.note([start], of: claimed.id, revision: claimed.revision)
        // A pipeline that was queued and claimed has nothing else to tell.
        claimed.events =
            claimed.revision > 2
            ? try self.history(of: claimed.id)
            : [PipelineEvent(.pipelineQueued, at: pipeline.createdAt, dueAt: pipeline.dueAt), start]
        return claimed
    }
}
