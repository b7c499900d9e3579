/// How a ``DefaultRunner`` works.
public struct RunnerConfiguration: Sendable {
    /// How many tasks may run at the same time, over all pipelines of the runner: 16. At least 1.
    public var maximumConcurrentTasks = 16

    /// How long the runner keeps trying to write when the database can't be reached, before it gives a pipeline up: 30 s.
    /// Tasks that run go on meanwhile, and what they did is written when the database is back.
    public var databasePatience: Duration = .seconds(30)

    /// Makes a configuration of the defaults.
    public init() {}
}
