#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// Which events of a tenant's pipelines to read.
public struct EventQuery: Sendable, Hashable {
    /// Of one of these kinds only; of all when empty.
    public var kinds: Set<PipelineEvent.Kind> = []
    /// Of the tasks with this id only, whatever their workflow.
    public var task: String?
    /// Of this pipeline only.
    public var pipeline: UUID?
    /// How many at most: 100. A page has no more than 10,000, and ends early with the line that reaches 8 MiB: the last page is the
    /// one that is empty.
    public var limit = 100
    /// Begin after this one: ``RecordedEvent/cursor`` of the last of the page before.
    public var after: EventCursor?

    /// Makes a query for the events of the newest pipelines.
    public init(
        kinds: Set<PipelineEvent.Kind> = [], task: String? = nil, pipeline: UUID? = nil, limit: Int = 100,
        after: EventCursor? = nil
    ) {
        self.kinds = kinds
        self.task = task
        self.pipeline = pipeline
        self.limit = limit
        self.after = after
    }
}

/// An event among those of all of a tenant's pipelines.
public struct RecordedEvent: Sendable, Hashable {
    /// The pipeline it happened to.
    public let pipeline: UUID
    /// What happened.
    public let event: PipelineEvent
    /// Its place; a query that begins after it goes on with what comes next.
    public let cursor: EventCursor

    package init(_ event: PipelineEvent, at cursor: EventCursor) {
        self.pipeline = cursor.pipeline
        self.event = event
        self.cursor = cursor
    }
}

/// An event's place in the order in which a tenant's events are read. It serves wherever the same tenant's events are read, also
/// after it went to a client and came back.
public struct EventCursor: Sendable, Hashable, Codable {
    package let pipeline: UUID
    /// The pipeline's revision that the event came with; 0 where a store only counts the events.
    package let revision: Int
    package let position: Int

    package init(pipeline: UUID, revision: Int, position: Int) {
        self.pipeline = pipeline
        self.revision = revision
        self.position = position
    }
}
