public import CloacinaPostgres
import FoundationEssentials
import Synchronization

/// A tenant's database, as a task may use it.
struct TenantDatabase: Sendable {
    let pool: PostgresPool
    let label: PostgresLabel
}

/// Where a task stands: which pipeline, under which claim, at which position.
struct TaskPlace: Sendable {
    let pipeline: UUID
    let epoch: Int
    let position: Int
}

/// What the engine lends to one attempt at a task.
final class TaskMeans: TaskResource {
    let database: TenantDatabase?
    let runner: DefaultRunner
    let place: TaskPlace
    let slot: HeldSlot
    private let delta = Mutex<ContextDelta?>(nil)

    init(database: TenantDatabase?, runner: DefaultRunner, place: TaskPlace, slot: HeldSlot) {
        self.database = database
        self.runner = runner
        self.place = place
        self.slot = slot
    }

    /// What the task handed on, if that is stored already.
    var committed: ContextDelta? { self.delta.withLock { $0 } }

    func didCommit(_ delta: ContextDelta) { self.delta.withLock { $0 = delta } }
}

extension TaskScope {
    /// Lends a connection to the tenant's own schema to a closure; see `PostgresPool.withConnection`.
    ///
    /// The engine records the task's end in another transaction, so a task that is run again may find that its work was
    /// committed before. ``WorkflowTask/transactional(_:after:run:)`` makes it one.
    ///
    /// - Parameter deadline: Until when to wait for a connection; the pool's `checkoutTimeout` from now when `nil`.
    /// - Throws: What the closure throws; `PostgresError`; ``PipelineError`` with ``PipelineError/Code/noDatabase`` when the
    ///   task was not started by a runner with a database.
    public func withConnection<R>(
        deadline: ContinuousClock.Instant? = nil, fileID: String = #fileID, line: Int = #line,
        _ body: (borrowing PostgresLease) async throws -> R
    ) async throws -> R {
        guard let database = (self.resource as? TaskMeans)?.database else {
            throw PipelineError(
                .noDatabase, "\"\(self.task)\" runs without a tenant's database", fileID: fileID, line: line)
        }
        return try await database.pool.withConnection(
            database.label, deadline: deadline, fileID: fileID, line: line, body)
    }
}
