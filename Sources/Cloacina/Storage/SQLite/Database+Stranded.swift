import FoundationEssentials
import GRDB

/// The pipelines that wait and a runner can't take.
extension Database {
    /// Hands what is due and a claim would not take to a closure, with its priority: of each lane that is none of the claim's what
    /// comes first in the index, and what is of a higher format.
    func forEachStranded(
        for claim: QueueClaim, dueBefore: Date, _ body: (Int, StrandedPipeline) -> Void
    ) throws {
        func take(_ row: inout SQLiteRow) throws -> Bool {
            let waiting = try Waiting(&row)
            if let stranded = waiting.stranded(for: claim), stranded.dueAt <= dueBefore {
                body(waiting.priority, stranded)
            }
            return true
        }
        try self.forEach(SQLiteQueries.ofNewerFormat, []) { try take(&$0) }
        var (start, foreign) = ("", 0)
        // Also where the text is damaged and the next lane seems to come before this one.
        for _ in 0..<StoredLimits.surveyRows {
            guard foreign < StoredLimits.foreignLanes, let lane = try self.filledLane(from: start) else { return }
            if !claim.lanes.contains(where: { $0.utf8.elementsEqual(lane.utf8) }) {
                foreign += 1
                try self.forEach(SQLiteQueries.inLane, [.text(lane)]) { try take(&$0) }
            }
            start = lane + "\0"
        }
    }

    /// The pipelines that wait after a place and a claim would not take, in the order of the queue's index, of so many rows: the first of a lane
    /// that is the claim's own is one of them, and what follows it is passed over.
    func strandedPage(for claim: QueueClaim, after place: StrandedPlace, limit: Int) throws -> StrandedPage {
        var page = StrandedPage()
        var (position, rest) = (place, limit)
        while rest > 0 {
            guard let next = try self.lane(from: position) else { return page }
            // In another lane, from its beginning.
            if next != position { position = next }
            let isOwn =
                position.format == StoredLimits.format
                && claim.lanes.contains { $0.utf8.elementsEqual(position.lane.utf8) }
            var read = 1
            if !isOwn {
                let rows = try self.rows(
                    SQLiteQueries.inLaneAfter,
                    [
                        .integer(position.format), .text(position.lane), .integer(position.priority),
                        .time(position.dueAt), .uuid(position.id), .integer(rest),
                    ]
                ) { try Waiting(&$0) }
                page.pipelines += rows.compactMap { $0.stranded(for: claim) }
                read = max(1, rows.count)
                if rows.count == rest, let last = rows.last {
                    page.next = StrandedPlace(
                        format: position.format, lane: position.lane, priority: last.priority, dueAt: last.dueAt,
                        id: last.id)
                    return page
                }
            }
            rest -= read
            position = .beginning(of: position.lane + "\0", format: position.format)
        }
        page.next = position
        return page
    }

    /// The place itself when something may wait in its lane, else the beginning of the first lane after it that something waits in.
    private func lane(from place: StrandedPlace) throws -> StrandedPlace? {
        let values: [SQLiteValue] = [.integer(place.format), .text(place.lane)]
        if let lane = try self.rows(SQLiteQueries.laneOfFormat, values, read: { try $0.value(String.self) }).first {
            return lane.utf8.elementsEqual(place.lane.utf8) ? place : .beginning(of: lane, format: place.format)
        }
        let formats = try self.rows(SQLiteQueries.formatAfter, [.integer(place.format)]) { try $0.optional(Int.self) }
        guard let format = formats.first ?? nil else { return nil }
        return try self.lane(from: .beginning(of: "", format: format))
    }
}

/// A row of what waits.
private struct Waiting {
    let id: UUID
    let workflow: String
    let version: String
    let format: Int
    let hasBegun: Bool
    let priority: Int
    let createdAt: Date
    let dueAt: Date

    init(_ row: inout SQLiteRow) throws {
        (self.id, self.workflow, self.version) = (try row.value(), try row.value(), try row.value())
        self.format = try row.value()
        self.hasBegun = try row.value(Int.self) != 0
        self.priority = try row.value()
        (self.createdAt, self.dueAt) = (try row.date(), try row.date())
    }

    func stranded(for claim: QueueClaim) -> StrandedPipeline? {
        let reason = claim.obstacle(
            workflow: self.workflow, version: self.version, hasBegun: self.hasBegun, format: self.format)
        return reason.map { reason in
            StrandedPipeline(
                id: self.id, workflow: self.workflow, version: self.version, reason: reason, createdAt: self.createdAt,
                dueAt: self.dueAt)
        }
    }
}

extension StrandedPlace {
    /// The place before everything in a lane.
    fileprivate static func beginning(of lane: String, format: Int) -> Self {
        Self(format: format, lane: lane, priority: .min, dueAt: .distantPast, id: Self.start.id)
    }
}
