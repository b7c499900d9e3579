public import FoundationEssentials
import Synchronization

/// The state of a runner, as far as it knows itself: nothing is read from the database for it.
///
/// ```swift
/// // A readiness endpoint of a process that serves many tenants.
/// let problems = group.health.flatMap { health in health.problems.map { "\(health.id): \($0)" } }
/// ```
///
/// Times are by the runner's clock; one that was put forward by more than a lease makes a runner look unhealthy until its next
/// heartbeat or sweep.
public struct RunnerHealth: Sendable, Identifiable {
    /// The runner's id.
    public let id: UUID
    /// The time at which this was put together.
    public let at: Date
    /// True while a ``RunnerGroup`` serves the runner's queue. A runner that only executes is as healthy without.
    public let isServing: Bool
    /// True once the runner is told to shut down.
    public let isStopping: Bool
    /// True while the group hears at once that another process puts something into the queue: its listener is connected. Nil when
    /// there is nothing to hear: no group, a group without a listener, an SQLite file, a store in memory.
    public let isListening: Bool?
    /// True when the database refused the last write because it takes none: a standby, or a server that was demoted
    /// (SQLSTATE 25006), or an SQLite file that may not be written; or when the listener was refused so. What was refused longer
    /// ago than a ``RunnerConfiguration/sweepInterval`` and a ``RunnerConfiguration/leaseDuration`` counts no more.
    public let isReadOnly: Bool
    /// The time of the last look at the queue that succeeded; nil before the first. Only runners of a group look.
    public let lastSweep: Date?
    /// The error of the last look at the queue; nil when that succeeded.
    public let sweepError: PipelineError?
    /// The time of the last heartbeat that was stored; nil before the first. A runner sends them only while it has pipelines.
    public let lastHeartbeat: Date?
    /// The error of the last heartbeat; nil when that was stored.
    public let heartbeatError: PipelineError?
    /// The number of pipelines that run here.
    public let activePipelines: Int
    /// The number of those that came from the queue.
    public let claimedPipelines: Int
    /// The number of pipelines that are the runner's as far as the database knows, and that it gave up because something could not
    /// be stored: they go back into the queue when the database answers.
    public let adriftPipelines: Int
    /// The number of pipelines that no runner goes on with, as of the last sweep that counted them; nil when none did. They are no
    /// ``problems`` of this runner's.
    public let stranded: Int?
    /// The reasons why the runner can't do its work, in words that are safe to log; empty when there are none:
    ///
    /// - it was shut down;
    /// - its database takes no writes (``isReadOnly``);
    /// - it has pipelines, and no heartbeat was stored for longer than a ``RunnerConfiguration/leaseDuration``: others take them;
    /// - it is served, and no sweep succeeded for longer than a ``RunnerConfiguration/sweepInterval`` and a lease;
    /// - its group's listener has not been connected for longer than a lease: calls of other processes are heard with sweeps
    ///   only.
    public let problems: [String]

    /// True when there are no ``problems``.
    public var isHealthy: Bool { self.problems.isEmpty }
}

/// The notes that a runner keeps of its own doings, for ``RunnerHealth``.
struct HealthRecord {
    /// The time since which a group serves the queue; nil when none does.
    var servingSince: Date?
    /// The state of the group's listener.
    var listener: ListenerWatch?
    /// The time since which heartbeats are due; nil when none are.
    var beatingSince: Date?
    private(set) var lastSweep: Date?
    private(set) var sweepError: PipelineError?
    private(set) var lastHeartbeat: Date?
    private(set) var heartbeatError: PipelineError?

    mutating func noteSweep(at now: Date) {
        self.lastSweep = now
        self.sweepError = nil
    }

    mutating func noteSweep(_ error: PipelineError) { self.sweepError = error }

    mutating func noteHeartbeat(at now: Date) {
        self.lastHeartbeat = now
        self.heartbeatError = nil
    }

    mutating func noteHeartbeat(_ error: PipelineError) { self.heartbeatError = error }

    /// The problems that are a matter of time.
    func problems(at now: Date, configuration: RunnerConfiguration) -> [String] {
        let lease = LimitedWait.clamped(configuration.leaseDuration)
        var problems: [String] = []
        if let due = self.beatingSince, let silence = self.silence(since: due, self.lastHeartbeat, at: now, over: lease)
        {
            problems.append(
                "no heartbeat was stored for \(silence) s, so that others take its pipelines"
                    + self.cause(self.heartbeatError))
        }
        let interval = Self.patience(configuration)
        if let due = self.servingSince, let silence = self.silence(since: due, self.lastSweep, at: now, over: interval)
        {
            problems.append("the queue was not looked at for \(silence) s" + self.cause(self.sweepError))
        }
        if let outage = self.listener?.outage, outage.duration > lease {
            problems.append(
                "the listener has not been connected for \(Self.whole(outage.duration.seconds)) s; what others put into the queue "
                    + "waits for a sweep" + self.cause(outage.error))
        }
        return problems
    }

    /// The time for which the queue may be left alone, or a refusal counts.
    static func patience(_ configuration: RunnerConfiguration) -> Duration {
        LimitedWait.clamped(configuration.sweepInterval) + LimitedWait.clamped(configuration.leaseDuration)
    }

    /// The seconds for which nothing has come, if that is too long.
    private func silence(since due: Date, _ last: Date?, at now: Date, over limit: Duration) -> Int? {
        let silence = now.timeIntervalSince(last.map { max($0, due) } ?? due)
        return silence > limit.seconds ? Self.whole(silence) : nil
    }

    private func cause(_ error: (any Error)?) -> String { error.map { " (\($0))" } ?? "" }

    private static func whole(_ seconds: Double) -> Int { Int(exactly: seconds.rounded(.down)) ?? .max }
}

extension DefaultRunner {
    /// The runner's state, as far as it knows by itself: nothing is read from the database, and nobody is waited for.
    public var health: RunnerHealth {
        let now = self.clock.now()
        let isReadOnly = self.refusals.isReadOnly(at: now, for: HealthRecord.patience(self.configuration))
        return self.state.withLock { state in
            let record = state.health
            let listener = self.database == nil ? nil : record.listener
            let isReadOnly = isReadOnly || listener?.isReadOnly == true
            var problems: [String] = []
            if state.isShutDown { problems.append("the runner was shut down") }
            if isReadOnly { problems.append("the database takes no writes: a standby, or demoted") }
            problems += record.problems(at: now, configuration: self.configuration)
            return RunnerHealth(
                id: self.id, at: now, isServing: state.serves, isStopping: state.isShutDown,
                isListening: listener.map { $0.outage == nil }, isReadOnly: isReadOnly, lastSweep: record.lastSweep,
                sweepError: record.sweepError, lastHeartbeat: record.lastHeartbeat,
                heartbeatError: record.heartbeatError, activePipelines: state.driven,
                claimedPipelines: state.admission.claimed, adriftPipelines: state.adrift.count,
                stranded: state.stranded, problems: problems)
        }
    }

    /// Serves the queue from now on.
    ///
    /// - Parameter listener: The state of what hears of other processes' calls; nil when nothing does.
    func noteServing(_ listener: ListenerWatch? = nil) {
        let now = self.clock.now()
        self.state.withLock { state in
            state.serves = true
            state.health.servingSince = state.health.servingSince ?? now
            if self.database != nil { state.health.listener = listener ?? state.health.listener }
        }
    }
}

extension RunnerGroup {
    /// The state of each of the group's runners, in their order; see ``DefaultRunner/health``. Nothing is read from the database.
    ///
    /// The process is ready when `group.health.allSatisfy(\.isHealthy)`; a tenant's database that is away makes one runner
    /// unhealthy, and the others go on.
    public var health: [RunnerHealth] { self.runners.map(\.health) }
}
