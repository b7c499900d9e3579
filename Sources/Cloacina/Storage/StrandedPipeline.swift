public import FoundationEssentials

/// A pipeline that is due and that a runner can't take.
///
/// Another runner may: one that has the workflow, or the version. Only what nobody takes for long is stranded for good.
public struct StrandedPipeline: Sendable, Hashable, Identifiable {
    /// The code of what keeps a runner from taking a pipeline.
    public struct Reason: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
        /// The code.
        public let rawValue: String

        /// Makes a reason of its code.
        public init(rawValue: String) { self.rawValue = rawValue }

        /// The runner has no workflow of that name.
        public static let unknownWorkflow = Self(rawValue: "unknown_workflow")
        /// The pipeline has begun with a version of the workflow that the runner doesn't have.
        public static let unknownVersion = Self(rawValue: "unknown_version")
        /// A newer version of this library wrote it, in a format that the runner doesn't know.
        public static let newerFormat = Self(rawValue: "newer_format")

        /// The code.
        public var description: String { self.rawValue }
    }

    /// The pipeline's id.
    public let id: UUID
    /// The workflow's name.
    public let workflow: String
    /// The content version that it has begun with, or would begin with.
    public let version: String
    /// The code of what keeps the runner from taking it.
    public let reason: Reason
    /// When it was asked for.
    public let createdAt: Date
    /// Since when it waits; of one that has begun, its old place in the queue.
    public let dueAt: Date

    package init(id: UUID, workflow: String, version: String, reason: Reason, createdAt: Date, dueAt: Date) {
        self.id = id
        self.workflow = workflow
        self.version = version
        self.reason = reason
        self.createdAt = createdAt
        self.dueAt = dueAt
    }
}

extension QueueClaim {
    /// The code of what keeps a claim from taking a pipeline that is due; nil when it may.
    func obstacle(workflow: String, version: String, hasBegun: Bool, format: Int) -> StrandedPipeline.Reason? {
        guard format <= StoredLimits.format else { return .newerFormat }
        // By their bytes, as the databases compare names.
        guard let known = self.workflows.index(forKey: workflow),
            self.workflows[known].key.utf8.elementsEqual(workflow.utf8)
        else { return .unknownWorkflow }
        return hasBegun && !self.knows(version, of: workflow) ? .unknownVersion : nil
    }
}
