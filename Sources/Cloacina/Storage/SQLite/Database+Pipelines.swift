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
                .uuid(new.parent), .integer(new.depth),
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
                .integer(change.epoch), .text(transition.output), .text(transition.outcomes),
                .integer(transition.isUnbegun ? 1 : 0), .text(transition.version),
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
                .time(event.at), .time(event.dueAt), .text(event.reason?.rawValue), .text(event.detail), .text(delta),
            ])
        }
    }

    func history(of pipeline: UUID) throws -> [PipelineEvent] {
        guard try self.historyBytes(of: pipeline) <= StoredLimits.historyBytes else {
            throw SQLiteError(
                .corrupt, "the history is beyond the \(StoredLimits.historyBytes) bytes that are read of one pipeline")
        }
        return try self.rows(SQLiteQueries.history, [.uuid(pipeline)]) { try PipelineEvent(&$0) }
    }

    func historyBytes(of pipeline: UUID) throws -> Int {
        try self.rows(SQLiteQueries.historyBytes, [.uuid(pipeline)]) { try $0.value(Int.self) }.first ?? 0
    }

    /// Hands what a runner may claim to a closure, in order, until it says that it has enough.
    func forEachDue(
        for claim: QueueClaim, _ body: (inout SQLiteRow) throws -> Bool
    ) throws {
        try self.forEachLevel { level in
            if let above = claim.abovePriority, level <= Int64(clamping: above) { return false }
            let values: [SQLiteValue] = [.time(claim.at), .integer(level), .integer(claim.onlyChildren ? 1 : 0)]
            var wantsMore = true
            try self.forEach(SQLiteQueries.due, values) { row in
                var head = row
                let (_, workflow, version) = (
                    try head.value(UUID.self), try head.value(String.self), try head.value(String.self)
                )
                let hasBegun = try head.optionalDate() != nil
                guard claim.workflows[workflow] != nil, !hasBegun || claim.versions.contains(version) else {
                    return true
                }
                wantsMore = try body(&row)
                return wantsMore
            }
            return wantsMore
        }
    }

    /// Hands the priorities of what waits to a closure, the highest first, until it says that it has enough.
    func forEachLevel(_ body: (Int64) throws -> Bool) throws {
        var highest = Int64.max
        while true {
            let levels = try self.rows(SQLiteQueries.level, [.integer(highest)]) { try $0.optional(Int64.self) }
            guard let level = levels.first ?? nil, try body(level), level > .min else { return }
            highest = level - 1
        }
    }

    /// Pauses a pipeline that can't be read.
    func putAside(_ id: UUID, for claim: QueueClaim, _ error: any Error) throws {
        let revision = try self.rows(SQLiteQueries.putAside, [.uuid(id)]) { try $0.value(Int.self) }.first
        guard let revision else { return }
        try self.note([.putAside(by: claim, error)], of: id, revision: revision)
    }

    func pipeline(_ id: UUID) throws -> StoredPipeline? {
        try self.rows(SQLiteQueries.load, [.uuid(id)]) { row in
            var pipeline = try StoredPipeline(&row)
            pipeline.output = try row.optional()
            pipeline.outcomes = try row.optional()
            return pipeline
        }.first
    }

    func claim(_ pipeline: StoredPipeline, for claim: QueueClaim) throws -> StoredPipeline {
        var (claimed, start) = pipeline.claimed(by: claim)
        try self.run(
            SQLiteQueries.claim,
            [.uuid(claimed.id), .uuid(claim.runner), .text(claimed.version), .time(claimed.startedAt)])
        try self.note([start], of: claimed.id, revision: claimed.revision)
        // A pipeline that was queued and claimed has nothing else to tell.
        let history =
            claimed.revision > 2
            ? try self.history(of: claimed.id)
            : [PipelineEvent(.pipelineQueued, at: pipeline.createdAt, dueAt: pipeline.dueAt), start]
        if let line = history.unknownLine { throw SQLiteError(.corrupt, line) }
        claimed.events = history
        return claimed
    }
}
