package import FoundationEssentials

/// A part of what is due and a runner can't take, in the order of the queue's index.
package struct StrandedPage: Sendable, Hashable {
    /// Those of it that are due.
    package var pipelines: [StrandedPipeline] = []
    /// The beginning of the next part; nil when nothing follows.
    package var next: StrandedPlace?

    package init(_ pipelines: [StrandedPipeline] = [], next: StrandedPlace? = nil) {
        self.pipelines = pipelines
        self.next = next
    }
}

/// A place in the queue's index. What comes after it is found without reading what comes before.
package struct StrandedPlace: Sendable, Hashable {
    package var format: Int
    package var lane: String
    package var priority: Int
    package var dueAt: Date
    package var id: UUID

    package init(format: Int, lane: String, priority: Int, dueAt: Date, id: UUID) {
        self.format = format
        self.lane = lane
        self.priority = priority
        self.dueAt = dueAt
        self.id = id
    }

    /// The place before everything.
    static let start = Self(
        format: 0, lane: "", priority: 0, dueAt: Date(timeIntervalSince1970: 0),
        id: UUID(uuid: (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)))
}
