public import CloacinaPostgres
import CloacinaWorkflow
import FoundationEssentials
import Synchronization

/// A tenant's database, as a task may use it.
struct TenantDatabase: Sendable {
    let pool: PostgresPool
    let label: PostgresLabel
}

/// Where a task stands: which pipeline, under which claim, and how deep below other pipelines.
struct TaskPlace: Sendable {
    let pipeline: UUID
    let epoch: Int
    let task: String
    var depth = 0
    var priority = 0
}

/// What the engine lends to one attempt at a task.
final class TaskMeans: TaskResource {
    let database: TenantDatabase?
    let runner: DefaultRunner
    let place: TaskPlace
    let slot: HeldSlot
    private let ownCommit = Mutex(OwnCommit.none)
    /// Which beginning of each child this attempt has been given.
    let children = Mutex<[String: Int]>([:])
    private let isAbandoned = Mutex(false)
    private let isReleased = Mutex(false)

    init(database: TenantDatabase?, runner: DefaultRunner, place: TaskPlace, slot: HeldSlot) {
        self.database = database
        self.runner = runner
        self.place = place
        self.slot = slot
    }

    /// True once the runner can't go on with the pipeline, so that the task is begun again, here or elsewhere.
    var isBegunAgain: Bool { self.isAbandoned.withLock { $0 } }

    /// Notes that the runner can't go on with the pipeline; before the task's cancellation.
    func abandon() { self.isAbandoned.withLock { $0 = true } }

    /// True when a pipeline that the attempt waited for was given back as the runner shut down. The task may make an error of its own
    /// of that.
    var hasWaitedInVain: Bool { self.isReleased.withLock { $0 } }

    func noting(_ error: PipelineError) -> PipelineError {
        if error.code == .released { self.isReleased.withLock { $0 = true } }
        return error
    }

    /// What the task handed on, if that is stored already.
    var committed: ContextDelta? {
        self.ownCommit.withLock { if case .done(let delta) = $0 { delta } else { nil } }
    }

    /// Whether the attempt asked for leave to commit and never said what became of it.
    var isUndecided: Bool { self.ownCommit.withLock { if case .underWay = $0 { true } else { false } } }

    /// Asks for leave to commit; false when nobody waits for the attempt any more, and nothing of it may be stored.
    ///
    /// - Parameter canceller: Ends the wait for the commit, until ``leaveConnection()``.
    func beginCommit(_ canceller: @escaping @Sendable () -> Void) -> Bool {
        self.ownCommit.withLock { state in
            guard case .none = state else { return false }
            state = .underWay(canceller)
            return true
        }
    }

    /// Ends the wait for a commit that takes too long; its outcome is found out as ever.
    func cancelCommit() { self.ownCommit.withLock { if case .underWay(let canceller?) = $0 { canceller() } } }

    /// Notes that the connection of the commit is about to be given back.
    func leaveConnection() { self.ownCommit.withLock { if case .underWay = $0 { $0 = .underWay(nil) } } }

    /// Notes what became of the commit: done, with what the task handed on, or not.
    func endCommit(_ delta: ContextDelta?) {
        self.ownCommit.withLock { state in
            if let delta { state = .done(delta) } else if case .underWay = state { state = .none }
        }
    }

    /// Forbids the attempt to commit; false when it is doing so or has done so, and its end must be waited for.
    func forbidCommit() -> Bool {
        self.ownCommit.withLock { state in
            switch state {
            case .none, .forbidden:
                state = .forbidden
                return true
            case .underWay, .done: return false
            }
        }
    }
}

/// The pools of which the task that runs holds a connection.
enum HeldConnection {
    @TaskLocal static var pools: [ObjectIdentifier] = []
}

/// How far a task is with storing its completion together with its own writes.
private enum OwnCommit {
    case none, forbidden
    /// With what ends the wait for it, as long as it has its connection.
    case underWay((@Sendable () -> Void)?)
    case done(ContextDelta)
}

extension TaskScope {
    /// Lends a connection to the tenant's own schema to a closure; see `PostgresPool.withConnection`.
    ///
    /// The engine records the task's end in another transaction, so a task that is run again may find that its work was
    /// committed before.
    /// ``WorkflowTask/transactional(_:after:retry:triggerRule:timeout:codeVersion:onSuccess:onFailure:run:)`` makes it one.
    ///
    /// A task that waits for a connection has not failed: it waits as long as its own timeout lets it, also when the pool is
    /// smaller than ``RunnerConfiguration/maximumConcurrentTasks``. The engine's own statements don't wait behind it.
    ///
    /// - Parameter deadline: Until when to wait for a connection; as long as it takes when `nil`.
    /// - Throws: What the closure throws; `PostgresError`; ``PipelineError`` with ``PipelineError/Code/noDatabase`` when the
    ///   task was not started by a runner with a database, and with ``PipelineError/Code/nestedConnection``, at once, when it
    ///   holds a connection already.
    public func withConnection<R>(
        deadline: ContinuousClock.Instant? = nil, fileID: String = #fileID, line: Int = #line,
        _ body: (borrowing PostgresLease) async throws -> R
    ) async throws -> R {
        guard let database = (self.resource as? TaskMeans)?.database else {
            throw PipelineError(
                .noDatabase, "\"\(self.task)\" runs without a tenant's database", fileID: fileID, line: line)
        }
        guard !HeldConnection.pools.contains(ObjectIdentifier(database.pool)) else {
            throw PipelineError(
                .nestedConnection,
                "\"\(self.task)\" holds a connection of the pool and asks for another: enough such tasks wait for each other for "
                    + "ever. Use the one that was lent", fileID: fileID, line: line)
        }
        let patience = deadline ?? .now.advanced(by: .clamped(seconds: .infinity))
        return try await HeldConnection.$pools.withValue(HeldConnection.pools + [ObjectIdentifier(database.pool)]) {
            try await database.pool.withConnection(
                database.label, deadline: patience, fileID: fileID, line: line, body)
        }
    }
}
