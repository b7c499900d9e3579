import CloacinaWorkflow

/// How a ``DefaultRunner`` works.
public struct RunnerConfiguration: Sendable {
    /// How many tasks may run at the same time, over all pipelines of the runner: 16. At least 1. Each runner counts for itself:
    /// a process with runners of many tenants may run as many for each.
    public var maximumConcurrentTasks = 16

    /// How long a call keeps trying while the database can't be reached or refuses to write for now, before it throws: 30 s. It
    /// bounds ``DefaultRunner/enqueue(_:context:options:)``, the creation of what is executed, and the waiting for a pipeline that
    /// runs elsewhere.
    ///
    /// What a runner has to store of a pipeline that it has claimed is tried for as long as the claim may stand, however long
    /// that takes; after this time a warning is logged once. Tasks that run go on meanwhile, and nothing of that pipeline
    /// begins. It ends when the database answers, refuses for good or says that another runner has the pipeline, and
    /// ``cancellationGrace`` (at least a second) after the pipeline was cancelled or the time to drain of a shutdown was over.
    public var databasePatience: Duration = .seconds(30)

    /// How many pipelines from the queue a runner has at a time: 256. At least 1. Those that wait for the time of a retry don't
    /// count, up to fifteen times this number. Nor do those that wait for other pipelines; once these are fifteen times this
    /// number, the runner claims nothing but tasks' children.
    ///
    /// All of them together hold 64 MiB of inputs, whatever they wait for. With more the runner claims children alone, or, when nothing
    /// of it can go on, one pipeline at a time, up to four times as much.
    public var maximumQueuedPipelines = 256

    /// How often a runner with pipelines says that it lives: every 5 s.
    public var heartbeatInterval: Duration = .seconds(5)

    /// How long a runner may say nothing before others take its pipelines: 20 s, several heartbeats. Measured with the
    /// others' own monotonic clocks, from the first time that they see the number of its heartbeats, so a clock that is put
    /// forward or back takes nothing from anyone. Only runners of a ``RunnerGroup`` look. At least twice the
    /// ``heartbeatInterval``.
    public var leaseDuration: Duration = .seconds(20)

    /// How often a task is begun again although its process died while it ran and nothing else of its pipeline: 3. After
    /// that it fails as abandoned. A runner that lives and gives a pipeline back counts for nothing.
    public var maximumRecoveries = 3

    /// How many pipelines deep tasks may run other workflows: 64. A workflow that runs itself without an end is stopped there, with
    /// ``PipelineError/Code/tooDeep``.
    public var maximumDepth = 64

    /// The way with pipelines that have begun with a version of their workflow that no runner has: they go on with the current one
    /// when their stored history fits it. ``VersionPolicy/pinned`` leaves them in the queue.
    public var versionPolicy = VersionPolicy.continueWhenHistoryFits

    /// How long a task that was cancelled may take to stop before nobody waits for it any more: 10 s. Also how long handlers
    /// (`onSuccess`, `onFailure`) may go on after their pipeline has ended, before they are cancelled.
    public var cancellationGrace: Duration = .seconds(10)

    /// How often each tenant's queue is looked at even when nothing has called: every 60 s. This is what finds pipelines
    /// whose call was lost, and runners that died.
    public var sweepInterval: Duration = .seconds(60)

    /// How many bytes of JSON a context may have: 1 MiB. At most 16 MiB.
    public var maximumContextBytes = Context.defaultByteLimit

    /// How long pipelines are kept after their end; for ever when nil, the default. Sweeps delete older ones, with their
    /// history, after which their idempotency keys are free. Children are kept until their parent has ended.
    public var retention: Duration?

    /// Makes a configuration of the defaults.
    public init() {}

    func check(fileID: String, line: Int) throws(PipelineError) {
        func check(_ isValid: Bool, _ rule: String) throws(PipelineError) {
            guard !isValid else { return }
            throw PipelineError(.invalidOptions, rule, fileID: fileID, line: line)
        }
        try check(self.maximumConcurrentTasks >= 1, "maximumConcurrentTasks must be at least 1")
        try check(self.maximumQueuedPipelines >= 1, "maximumQueuedPipelines must be at least 1")
        try check(self.maximumRecoveries >= 0, "maximumRecoveries must not be negative")
        try check(self.maximumDepth >= 0, "maximumDepth must not be negative")
        try check(self.maximumContextBytes >= 2, "maximumContextBytes must be at least 2")
        try check(
            self.maximumContextBytes <= StoredLimits.valueBytes,
            "maximumContextBytes must be at most \(StoredLimits.valueBytes), which is what the databases take")
        try check(self.heartbeatInterval >= .milliseconds(1), "heartbeatInterval must be at least 1 ms")
        try check(
            self.leaseDuration >= self.heartbeatInterval * 2,
            "leaseDuration must be at least twice the heartbeatInterval, or others take what lives for dead")
        try check(self.sweepInterval >= .milliseconds(1), "sweepInterval must be at least 1 ms")
        for (name, duration) in [
            ("databasePatience", self.databasePatience), ("cancellationGrace", self.cancellationGrace),
            ("retention", self.retention ?? .zero),
        ] {
            try check(duration >= .zero, "\(name) must not be negative")
        }
    }
}
