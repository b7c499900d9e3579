package import FoundationEssentials

/// Pipelines of one workflow, and of one version when they have begun, that nobody has taken for a while.
///
/// Runners don't store what they can take. So these are either what no live runner has the workflow or the version of, or what
/// those that have it are too busy for.
package struct WaitingGroup: Sendable, Hashable {
    package var workflow: String
    /// The version that they have begun with; nil when no task of theirs has, so that every version may take them.
    package var version: String?
    /// The format of their rows: a higher one than ``StoredLimits/format`` is left to newer builds.
    package var format: Int
    /// The number of them, at most ``limit``.
    package var count: Int
    /// True when there are more than were counted.
    package var hasMore: Bool
    /// The time since which the one waits that waits longest of those that were counted: it is due, and was put back, by then.
    package var since: Date
    /// The id of that one.
    package var longest: UUID

    package init(
        workflow: String, version: String?, format: Int, count: Int, hasMore: Bool, since: Date, longest: UUID
    ) {
        self.workflow = workflow
        self.version = version
        self.format = format
        self.count = count
        self.hasMore = hasMore
        self.since = since
        self.longest = longest
    }

    /// The number of pipelines that are counted of a workflow in a version.
    package static let limit = 10_000
}
