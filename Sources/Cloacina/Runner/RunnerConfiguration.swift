import CloacinaWorkflow

/// How a ``DefaultRunner`` works.
public struct RunnerConfiguration: Sendable {
    /// How many tasks may run at the same time, over all pipelines of the runner: 16. At least 1.
    public var maximumConcurrentTasks = 16

    /// How long the runner keeps trying to write when the database can't be reached, before it gives a pipeline up: 30 s.
    /// Tasks that run go on meanwhile, and what they did is written when the database is back.
    public var databasePatience: Duration = .seconds(30)

    /// How many pipelines from the queue a runner has at a time: 256.
    public var maximumQueuedPipelines = 256

    /// How often a runner with pipelines says that it lives: every 5 s.
    public var heartbeatInterval: Duration = .seconds(5)

    /// How long a runner may say nothing before others take its pipelines: 20 s, several heartbeats. Measured with the
    /// others' own monotonic clocks, from the first time that they see the number of its heartbeats, so a clock that is put
    /// forward or back takes nothing from anyone. Only runners of a ``RunnerGroup`` look.
    public var leaseDuration: Duration = .seconds(20)

    /// How often a task is begun again although its process died while it ran and nothing else of its pipeline: 3. After
    /// that it fails as abandoned. A runner that lives and gives a pipeline back counts for nothing.
    public var maximumRecoveries = 3

    /// How long a task that was cancelled may take to stop before nobody waits for it any more: 10 s.
    public var cancellationGrace: Duration = .seconds(10)

    /// How often each tenant's queue is looked at even when nothing has called: every 60 s. This is what finds pipelines
    /// whose call was lost.
    public var sweepInterval: Duration = .seconds(60)

    /// How many bytes of JSON a context may have: 1 MiB.
    public var maximumContextBytes = Context.defaultByteLimit

    /// How long pipelines are kept after their end; for ever when nil, the default. Sweeps delete older ones, with their
    /// history.
    public var retention: Duration?

    /// Makes a configuration of the defaults.
    public init() {}
}
