package import FoundationEssentials
import GRDB

/// Keeps the pipelines of one tenant in one file. Several processes may share it.
package struct SQLiteWorkflowStore: WorkflowStore {
    let database: SQLiteDatabase
    /// How many lines of histories one transaction deletes.
    let linesPerDeletion: Int

    /// Opens a file, makes it when it is missing, and brings its tables up to date.
    package init(
        opening url: URL, configuration: SQLiteConfiguration = SQLiteConfiguration(),
        linesPerDeletion: Int = 20_000, fileID: String = #fileID, line: Int = #line
    ) async throws(PipelineError) {
        self.linesPerDeletion = max(1, linesPerDeletion)
        do {
            self.database = try await SQLiteDatabase.open(Self.path(of: url), configuration: configuration)
        } catch let error as PipelineError {
            throw PipelineError(
                error.code, error.message, underlying: error.underlying, fileID: fileID, line: line)
        } catch {
            throw PipelineError(
                .storageFailed, "the file can't be opened", underlying: error, fileID: fileID, line: line)
        }
    }

    private static func path(of url: URL) throws(SQLiteError) -> String {
        guard url.isFileURL, url.query == nil, url.fragment == nil else {
            throw SQLiteError(.invalidPath, "the URL is no file's, or has a query or a fragment")
        }
        let path = url.path(percentEncoded: false)
        guard path.utf8.first == UInt8(ascii: "/"), path.utf8.last != UInt8(ascii: "/"), !path.utf8.contains(0) else {
            throw SQLiteError(.invalidPath, "the path is a directory's or has a NUL character")
        }
        return path
    }

    package func create(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [Creation] {
        try await self.database.write { database in try pipelines.map { try database.create($0) } }
    }

    package func apply(_ changes: [PipelineChange]) async throws(PipelineError) -> [StoreOutcome] {
        try await self.database.write { database in try changes.map { try database.apply($0) } }
    }

    package func claim(_ claim: QueueClaim) async throws(PipelineError) -> [StoredPipeline] {
        guard claim.limit > 0, !claim.workflows.isEmpty else { return [] }
        let isNeeded: @Sendable (Database) throws -> Bool = { database in
            var isDue = false
            try database.forEachDue(for: claim, limit: 1) { _ in
                isDue = true
                return false
            }
            return isDue
        }
        return try await self.database.write(if: isNeeded, else: []) { database in
            var claimed: [StoredPipeline] = []
            var bytes = 0
            // One is always taken.
            let byteLimit = max(1, claim.byteLimit)
            while claimed.count < claim.limit, bytes < byteLimit {
                // Others take the place of those that can't be read.
                let missing = claim.limit - claimed.count
                var due: [(id: UUID, pipeline: Result<StoredPipeline, any Error>)] = []
                var read = bytes
                try database.forEachDue(for: claim, limit: missing) { row in
                    var head = row
                    let pipeline = Result { try StoredPipeline(&row) }
                    read += (try? pipeline.get().input.byteCount) ?? 0
                    due.append((try head.value(UUID.self), pipeline))
                    return due.count < missing && read < byteLimit
                }
                for (id, pipeline) in due where bytes < byteLimit {
                    do {
                        var pipeline = try pipeline.get()
                        let history = pipeline.startedAt == nil ? 0 : try database.historyBytes(of: id)
                        pipeline.storedBytes = pipeline.input.byteCount + history
                        bytes += pipeline.storedBytes
                        claimed.append(try database.claim(pipeline, for: claim))
                    } catch {
                        // What the file says is the matter, not the file.
                        if error is DatabaseError { throw error }
                        try database.putAside(id, for: claim, error)
                    }
                }
                guard due.count == missing else { break }
            }
            return claimed
        }
    }

    package func load(_ id: UUID) async throws(PipelineError) -> StoredPipeline? {
        try await self.database.read { database in
            var pipeline = try database.pipeline(id)
            pipeline?.events = try database.history(of: id)
            return pipeline
        }
    }

    package func row(of id: UUID) async throws(PipelineError) -> StoredPipeline? {
        try await self.database.read {
            try $0.rows(SQLiteQueries.queued, [.uuid(id)]) { try StoredPipeline(&$0) }.first
        }
    }

    package func standing(of id: UUID) async throws(PipelineError) -> PipelineStanding? {
        try await self.database.read { database in
            try database.rows(SQLiteQueries.standing, [.uuid(id)]) { row in
                PipelineStanding(
                    status: PipelineStatus(rawValue: try row.value()) ?? .unknown, revision: try row.value(),
                    epoch: try row.value(), owner: try row.optional())
            }.first
        }
    }

    package func children(of id: UUID, after last: UUID?) async throws(PipelineError) -> [UUID] {
        try await self.database.read { database in
            try database.rows(SQLiteQueries.children, [.uuid(id), .uuid(last)]) { try $0.value(UUID.self) }
        }
    }

    package func status(of id: UUID) async throws(PipelineError) -> PipelineStatus? {
        try await self.database.read { database in
            try database.rows(SQLiteQueries.status, [.uuid(id)]) { row in
                PipelineStatus(rawValue: try row.value()) ?? .unknown
            }.first
        }
    }

    package func ask(_ request: PipelineRequest, of id: UUID) async throws(PipelineError) {
        try await self.database.write { try $0.run(SQLiteQueries.ask, [.uuid(id), .text(request.rawValue)]) }
    }

    package func beat(
        _ runner: UUID, number: Int, pipelines: [UUID], isStopping: Bool, at: Date
    ) async throws(PipelineError) -> BeatAnswer {
        try await self.database.write { database in
            try database.run(
                SQLiteQueries.beat, [.uuid(runner), .integer(number), .time(at), .integer(isStopping ? 1 : 0)])
            var answer = BeatAnswer()
            for id in pipelines {
                try database.forEach(SQLiteQueries.request, [.uuid(id), .uuid(runner)]) { row in
                    answer.held.insert(id)
                    answer.requests[id] = try row.optional(String.self).flatMap { PipelineRequest(rawValue: $0) }
                    return false
                }
            }
            return answer
        }
    }

    package func survey(everyOwner: Bool, at: Date) async throws(PipelineError) -> QueueSurvey {
        let query = everyOwner ? SQLiteQueries.beatsOfEveryOwner : SQLiteQueries.beats
        return try await self.database.read { database in
            let beats = try database.rows(query) { (try $0.value(UUID.self), try $0.value(Int.self)) }
            var survey = QueueSurvey(beats: Dictionary(beats) { known, _ in known })
            if everyOwner {
                try database.forEach(SQLiteQueries.unheard) { row in
                    let id: UUID = try row.value()
                    survey.unheard[id] = PipelineRequest(rawValue: try row.value())
                    return true
                }
            }
            let isAll = try database.forEachPlace { lane, level in
                let values: [SQLiteValue] = [.time(at), .text(lane), .integer(level)]
                if try !database.rows(SQLiteQueries.isDue, values, read: { _ in true }).isEmpty { survey.isDue = true }
                let next = try database.rows(SQLiteQueries.nextDue, values) { try $0.optionalDate() }
                survey.nextDue = (next + [survey.nextDue]).compactMap { $0 }.min()
            }
            // Of those that are left, a claim finds out.
            if !isAll { survey.isDue = true }
            return survey
        }
    }

    package func stranded(
        _ claim: QueueClaim, dueBefore: Date, limit: Int
    ) async throws(PipelineError) -> [StrandedPipeline] {
        let limit = min(limit, StoredLimits.surveyRows)
        guard limit > 0 else { return [] }
        return try await self.database.read { database in
            var found: [(priority: Int, pipeline: StrandedPipeline)] = []
            try database.forEachStranded(for: claim, dueBefore: dueBefore) { found.append(($0, $1)) }
            found.sort { left, right in
                (right.priority, left.pipeline.dueAt, left.pipeline.id.uuidString)
                    < (left.priority, right.pipeline.dueAt, right.pipeline.id.uuidString)
            }
            return found.prefix(limit).map(\.pipeline)
        }
    }

    package func strandedPage(
        _ claim: QueueClaim, dueBefore: Date, after place: StrandedPlace?, limit: Int
    ) async throws(PipelineError) -> StrandedPage {
        try await self.database.read { database in
            var page = try database.strandedPage(
                for: claim, after: place ?? .start, limit: min(max(1, limit), StoredLimits.surveyRows))
            page.pipelines.removeAll { $0.dueAt > dueBefore }
            return page
        }
    }

    package func recover(_ runner: UUID, beats: Int, by rescuer: UUID, at: Date) async throws(PipelineError) -> Int {
        try await self.database.write { database in
            let known = try database.rows(SQLiteQueries.beatsOfRunner, [.uuid(runner)]) {
                (beats: try $0.value(Int.self), isStopping: try $0.value(Int.self) != 0)
            }.first
            guard known?.beats ?? 0 == beats else { return 0 }
            let lost = try database.rows(SQLiteQueries.lost, [.uuid(runner)]) { row in
                (id: try row.value(UUID.self), revision: try row.value(Int.self))
            }
            for pipeline in lost {
                try database.run(SQLiteQueries.recover, [.uuid(pipeline.id), .time(at)])
                let event = PipelineEvent(
                    .pipelineRecovered, worker: rescuer, at: at,
                    reason: known?.isStopping == true ? .runnerStopped : .runnerDied,
                    detail: PipelineEvent.recovery(of: runner))
                try database.note([event], of: pipeline.id, revision: pipeline.revision + 1)
            }
            // What later ones recover is of the same runner, which may have been stopping.
            if lost.count < SQLiteQueries.mostLost { try database.run(SQLiteQueries.leave, [.uuid(runner)]) }
            return lost.count
        }
    }

    package func claims(of runner: UUID, includingCreated: Bool) async throws(PipelineError) -> [UUID: Int] {
        try await self.database.read { database in
            let binds: [SQLiteValue] = [.uuid(runner), .integer(includingCreated ? 1 : 0)]
            let claims = try database.rows(SQLiteQueries.claims, binds) {
                (try $0.value(UUID.self), try $0.value(Int.self))
            }
            return Dictionary(claims) { known, _ in known }
        }
    }

    /// Writes a heartbeat of nobody's and takes it back, in one transaction: a full disk takes what changes nothing.
    package func checkWritable() async throws(PipelineError) {
        let (nobody, now) = (UUID.version7(), Date())
        try await self.database.write { database in
            try database.run(SQLiteQueries.beat, [.uuid(nobody), .integer(1), .time(now), .integer(0)])
            try database.run(SQLiteQueries.leave, [.uuid(nobody)])
        }
    }

    package func leave(_ runner: UUID) async throws(PipelineError) {
        try await self.database.write { try $0.run(SQLiteQueries.leave, [.uuid(runner)]) }
    }

    package func list(_ query: PipelineQuery) async throws(PipelineError) -> [PipelineSummary] {
        let states = query.statuses.map { #""\#($0.rawValue)""# }.joined(separator: ",")
        return try await self.database.read { database in
            try database.rows(
                SQLiteQueries.list,
                [
                    .uuid(query.after), .text(query.workflow), .text(states.isEmpty ? nil : "[\(states)]"),
                    .integer(PipelineQuery.pageSize(query.limit)),
                ]
            ) { try PipelineSummary(&$0) }
        }
    }

    package func events(_ query: EventQuery) async throws(PipelineError) -> [RecordedEvent] {
        let kinds = query.kinds.map { #""\#($0.rawValue)""# }.joined(separator: ",")
        return try await self.database.read { database in
            var (events, bytes) = ([RecordedEvent](), 0)
            try database.forEach(
                SQLiteQueries.events,
                [
                    .text(kinds.isEmpty ? nil : "[\(kinds)]"), .text(query.task), .uuid(query.pipeline),
                    .uuid(query.after?.pipeline), .integer(query.after.map { Int64(clamping: $0.revision) }),
                    .integer(query.after.map { Int64(clamping: $0.position) }),
                    .integer(PipelineQuery.pageSize(query.limit)),
                ]
            ) { row in
                let event = try RecordedEvent(&row)
                bytes += 200 + (event.event.detail?.utf8.count ?? 0) + (event.event.delta?.jsonText.utf8.count ?? 0)
                bytes += event.event.task?.utf8.count ?? 0
                events.append(event)
                return bytes < QueueClaim.defaultByteLimit
            }
            return events
        }
    }

    /// Looks for what is old without a lock, and then deletes it, in transactions of so many lines of histories that others
    /// who write wait for none of them long, and gives back what space that left, or an earlier call. A pipeline goes with the last
    /// of its lines.
    package func prune(endedBefore: Date, below bound: UUID, limit: Int) async throws(PipelineError) -> Int {
        let old = try await self.database.read { database in
            try database.rows(
                SQLiteQueries.ended, [.time(endedBefore), .uuid(bound), .integer(max(0, limit))]
            ) { try $0.value(UUID.self) }
        }
        var (pruned, rest) = (0, old[...])
        while !rest.isEmpty {
            let (deleted, done) = try await self.database.write { [rest] database in
                try database.deleteOld(rest, endedBefore: endedBefore, lines: self.linesPerDeletion)
            }
            pruned += deleted
            rest = rest.dropFirst(done)
        }
        // What is deleted is deleted, whatever comes of this; the next call tries again.
        try? await self.database.giveBackSpace()
        return pruned
    }
}
