#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// How a pipeline is started.
public struct ExecutionOptions: Sendable, Hashable {
    /// A key that at most one pipeline of the tenant has: who starts the same workflow with the same input a second time is given
    /// the first one, and learns that (``PipelineExecution/isNew``, ``PipelineResult/isNew``). With another workflow or another
    /// input the call throws ``PipelineError/Code/keyConflict``. Inputs are the same when their values are equal; priority, delay
    /// and timeout don't count.
    ///
    /// At most 2,000 bytes of UTF-8, compared byte by byte. The key is free again when its pipeline is deleted, as
    /// ``RunnerConfiguration/retention`` does; see also ``keyReuse``.
    public var idempotencyKey: String?
    /// The rule by which a call takes its key from the pipeline that has it, and begins a new one: never.
    public var keyReuse: KeyReusePolicy = .never
    /// Pipelines of a higher priority leave the queue before others: 0.
    public var priority = 0
    /// How long it waits before it may begin: zero. With a delay it waits in the queue, where every runner may take it that a
    /// ``RunnerGroup`` serves; without one it waits for ever. It is counted from when the pipeline is stored, on PostgreSQL by the
    /// server's clock, whatever those of the hosts show. A century at most.
    public var delay: Duration = .zero
    /// How long it may take from its beginning to its end: no limit. When the time is up, what runs is cancelled and the
    /// pipeline fails; one that is paused or back in the queue then, when a runner has it again.
    public var timeout: Duration?

    /// Makes the defaults.
    public init(
        idempotencyKey: String? = nil, keyReuse: KeyReusePolicy = .never, priority: Int = 0, delay: Duration = .zero,
        timeout: Duration? = nil
    ) {
        self.idempotencyKey = idempotencyKey
        self.keyReuse = keyReuse
        self.priority = priority
        self.delay = delay
        self.timeout = timeout
    }

    /// How many bytes an idempotency key may have: what fits into an index of every database.
    static let maximumKeyBytes = 2_000

    func check(fileID: String, line: Int) throws(PipelineError) {
        let bytes = self.idempotencyKey?.utf8.count ?? 0
        guard bytes <= Self.maximumKeyBytes else {
            throw PipelineError(
                .invalidOptions, "the idempotency key has \(bytes) bytes, \(Self.maximumKeyBytes) are allowed",
                fileID: fileID, line: line)
        }
    }
}

/// The rule by which a call that brings an idempotency key takes that from the pipeline that has it.
public enum KeyReusePolicy: String, Sendable, Hashable, CaseIterable {
    /// Leaves the key to that pipeline as long as it is stored, whatever came of it: the caller is given that one. Temporal's
    /// `RejectDuplicate`, but for the error.
    case never
    /// Takes the key once that pipeline, of the same workflow, has failed or was cancelled: a new one begins, with whatever input
    /// the call brings, and has the key from then on; the earlier one stays stored without a key. Of several callers at the same
    /// time one begins a new pipeline, and the others are answered as with ``never``. So are those that find a pipeline that
    /// waits, runs, is paused, or has completed. Temporal's `AllowDuplicateFailedOnly`.
    case afterFailure
}

/// Which pipelines to list.
public struct PipelineQuery: Sendable, Hashable {
    /// Of this workflow only.
    public var workflow: String?
    /// In one of these states only; all when empty.
    public var statuses: Set<PipelineStatus> = []
    /// Begin after this one: the last of the page before.
    public var after: UUID?
    /// How many at most: 50. A page has no more than 10,000.
    public var limit = 50

    static func pageSize(_ limit: Int) -> Int { min(max(0, limit), 10_000) }

    /// Makes a query for the newest pipelines.
    public init(
        workflow: String? = nil, statuses: Set<PipelineStatus> = [], after: UUID? = nil, limit: Int = 50
    ) {
        self.workflow = workflow
        self.statuses = statuses
        self.after = after
        self.limit = limit
    }
}

/// One line of a list of pipelines.
public struct PipelineSummary: Sendable, Hashable, Identifiable {
    /// The pipeline's id. Ids of later pipelines are greater.
    public let id: UUID
    /// The workflow's name.
    public let workflow: String
    /// The content version it is pinned to.
    public let version: String
    /// Where it stands.
    public let status: PipelineStatus
    /// When it was asked for.
    public let createdAt: Date
    /// When it began first; nil when it hasn't.
    public let startedAt: Date?
    /// When it ended; nil when it hasn't.
    public let endedAt: Date?
    /// How many of its runners died.
    public let recoveries: Int

    package init(
        id: UUID, workflow: String, version: String, status: PipelineStatus, createdAt: Date, startedAt: Date?,
        endedAt: Date?, recoveries: Int
    ) {
        self.id = id
        self.workflow = workflow
        self.version = version
        self.status = status
        self.createdAt = createdAt
        self.startedAt = startedAt
        self.endedAt = endedAt
        self.recoveries = recoveries
    }
}
