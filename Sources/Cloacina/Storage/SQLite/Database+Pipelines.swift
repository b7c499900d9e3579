import FoundationEssentials
import GRDB

/// What the store's methods do inside a transaction.
extension Database {
    func create(_ new: NewPipeline) throws -> Creation {
        let key = new.options.idempotencyKey
        let input = new.input.jsonText
        if new.takesKey { try self.run(SQLiteQueries.releaseKey, [.text(key), .text(new.workflow), .uuid(new.id)]) }
        try self.run(
            SQLiteQueries.create,
            [
                .uuid(new.id), .text(new.workflow), .text(new.version), .uuid(new.owner),
                .integer(new.options.priority), .time(new.dueAt), .time(new.at),
                .integer(new.options.timeout?.wholeMilliseconds), .text(key), .text(input),
                .uuid(new.parent), .integer(new.depth),
            ])
        guard self.changesCount > 0 else {
            let existing = try self.rows(SQLiteQueries.existing, [.uuid(new.id), .text(key), .text(input)]) { row in
                let holder = KeyHolder(id: try row.value(), workflow: try row.value(), parent: try row.optional())
                return (holder, hasSameText: try row.value(Int64.self) != 0)
            }
            guard let (holder, hasSameText) = existing.first, holder.id != new.id else { return .exists(new.id) }
            if let answer = new.answer(for: holder, hasSameText: hasSameText) { return answer }
            let stored = try self.rows(SQLiteQueries.input, [.uuid(holder.id)]) { try $0.optional(String.self) }
            return new.answer(for: holder, storedInput: stored.first ?? nil)
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
                .integer(transition.isUnbegun ? 1 : 0), .text(transition.version), .uuid(change.owner),
            ])
        guard self.changesCount > 0 else { return .stale }
        try self.note(transition.events, of: change.id, revision: transition.expectedRevision + 1)
        return .applied(transition.keeps(request))
    }

    /// Adds lines to a history.
    func note(_ events: [PipelineEvent], of pipeline: UUID, revision: Int) throws {
        let statement = try SQLiteStatement(SQLiteQueries.happened, in: self)
        for (position, event) in events.enumerated() {
            let delta = event.storedDelta
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

    /// Hands what a runner may claim to a closure, in order, until it says that it has enough, or was handed so many.
    ///
    /// Only the runner's own lanes are looked at, so nothing is walked over that it can't take. The priorities are gone through
    /// from the highest, and of each the oldest of all lanes come first.
    func forEachDue(
        for claim: QueueClaim, limit: Int, _ body: (inout SQLiteRow) throws -> Bool
    ) throws {
        let lanes = try self.filledLanes(of: claim)
        var (highest, missing) = (Int64.max, limit)
        while missing > 0 {
            let levels = try lanes.compactMap { try self.level(of: $0, upTo: highest) }
            guard let level = levels.max(), claim.abovePriority.map({ level > Int64(clamping: $0) }) ?? true else {
                return
            }
            var due: [(id: UUID, dueAt: Int64)] = []
            for lane in lanes {
                let values: [SQLiteValue] = [
                    .time(claim.at), .text(lane), .integer(level), .integer(claim.onlyChildren ? 1 : 0),
                    .integer(missing),
                ]
                due += try self.rows(SQLiteQueries.due, values) { (try $0.value(UUID.self), try $0.value(Int64.self)) }
            }
            due.sort { $0.dueAt == $1.dueAt ? $0.id.uuidString < $1.id.uuidString : $0.dueAt < $1.dueAt }
            for (id, _) in due.prefix(missing) {
                var wantsMore = true
                try self.forEach(SQLiteQueries.queued, [.uuid(id)]) { row in
                    var head = row
                    let (_, workflow, version) = (
                        try head.value(UUID.self), try head.value(String.self), try head.value(String.self)
                    )
                    let hasBegun = try head.optionalDate() != nil
                    guard claim.workflows[workflow] != nil, !hasBegun || claim.knows(version, of: workflow) else {
                        return false
                    }
                    missing -= 1
                    wantsMore = try body(&row)
                    return false
                }
                guard wantsMore else { return }
            }
            guard level > .min else { return }
            highest = level - 1
        }
    }

    /// Those of a claim's lanes that something waits in, by one look for each of them that is not empty, or that comes after
    /// others that the runner can't take from.
    private func filledLanes(of claim: QueueClaim) throws -> [String] {
        var filled: [String] = []
        var rest = claim.lanes[...]
        while let next = rest.popFirst() {
            guard let lane = try self.filledLane(from: next) else { break }
            rest = rest.drop { $0.utf8.lexicographicallyPrecedes(lane.utf8) }
            if next.utf8.elementsEqual(lane.utf8) { filled.append(next) }
        }
        return filled
    }

    private func level(of lane: String, upTo highest: Int64) throws -> Int64? {
        try self.rows(SQLiteQueries.level, [.text(lane), .integer(highest)]) { try $0.optional(Int64.self) }.first
            ?? nil
    }

    func filledLane(from lane: String) throws -> String? {
        try self.rows(SQLiteQueries.filledLane, [.text(lane)]) { try $0.value(String.self) }.first
    }

    /// Hands the lanes and priorities of what waits to a closure; false when there are more than one look reads.
    func forEachPlace(_ body: (_ lane: String, _ level: Int64) throws -> Void) throws -> Bool {
        var (start, read) = ("", 0)
        while let lane = try self.filledLane(from: start) {
            var highest: Int64? = .max
            while let bound = highest, let level = try self.level(of: lane, upTo: bound) {
                guard read < StoredLimits.surveyRows else { return false }
                try body(lane, level)
                read += 1
                highest = level > .min ? level - 1 : nil
            }
            // Also where the text is damaged and the next one seems to come before it.
            read += 1
            guard read < StoredLimits.surveyRows else { return false }
            // The next one by its bytes.
            start = lane + "\0"
        }
        return true
    }

    /// Pauses a pipeline that can't be read.
    func putAside(_ id: UUID, for claim: QueueClaim, _ error: any Error) throws {
        let revision = try self.rows(SQLiteQueries.putAside, [.uuid(id)]) { try $0.value(Int.self) }.first
        guard let revision else { return }
        try self.note([.putAside(by: claim, error)], of: id, revision: revision)
    }

    /// Deletes old pipelines with their histories, in order, until so many lines are deleted; answers how many pipelines are
    /// deleted, and how many of those that it was given are done with.
    func deleteOld(
        _ old: ArraySlice<UUID>, endedBefore: Date, lines: Int
    ) throws -> (deleted: Int, done: Int) {
        var (deleted, done, rest) = (0, 0, lines)
        for id in old {
            // Somebody else may have deleted it meanwhile.
            if try !self.rows(SQLiteQueries.isOld, [.uuid(id), .time(endedBefore)], read: { _ in true }).isEmpty {
                try self.run(SQLiteQueries.deleteEvents, [.uuid(id), .integer(rest)])
                rest -= self.changesCount
                guard rest > 0 else { break }
                try self.run(SQLiteQueries.deletePipeline, [.uuid(id), .time(endedBefore)])
                deleted += self.changesCount
            }
            done += 1
        }
        return (deleted, done)
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
