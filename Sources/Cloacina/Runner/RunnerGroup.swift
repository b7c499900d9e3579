public import CloacinaPostgres
import FoundationEssentials
public import Logging
public import ServiceLifecycle
import Synchronization

/// Serves the queues of many tenants' runners in one process: one connection that listens for all of them, one sweep that
/// goes round, nothing at all for a tenant that has nothing to do.
///
/// ```swift
/// let group = RunnerGroup(runners, listeningOn: PostgresConfiguration(url))
/// try await group.run()    // until the task is cancelled or the service is shut down
/// ```
///
/// The runners are the group's for good: they end with it, and a tenant that is made later needs a group of its own, with a
/// listening connection of its own. What goes wrong without anybody waiting for it is logged as a warning.
///
/// A call that is lost costs time, never a pipeline: every tenant is looked at once in each
/// ``RunnerConfiguration/sweepInterval``.
public final class RunnerGroup: Service {
    private let runners: [DefaultRunner]
    private let bySchema: [String: [DefaultRunner]]
    private let listener: PostgresConfiguration?
    private let drain: Duration
    private let logger: Logger

    /// Makes a group.
    ///
    /// - Parameters:
    ///   - runners: One or more for each tenant.
    ///   - listener: Where to listen for calls of other processes: any login of the database. Without one, a
    ///     runner begins at once what it puts into its own queue, and others' with the next sweep.
    ///   - drain: How long what runs may take to end when the group is shut down, before it is cancelled: 30 s.
    public init(
        _ runners: [DefaultRunner], listeningOn listener: PostgresConfiguration? = nil,
        drain: Duration = .seconds(30), logger: Logger? = nil
    ) {
        self.runners = runners
        self.bySchema = Dictionary(grouping: runners) { $0.database?.label.schema ?? "" }
        self.listener = listener
        self.drain = drain
        self.logger = logger ?? .silent
    }

    /// Serves until the task is cancelled or the service is shut down; then ends every runner in good order.
    public func run() async throws {
        for runner in self.runners { runner.state.withLock { $0.serves = true } }
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                if let listener = self.listener { group.addTask { await self.listen(listener) } }
                group.addTask { await self.sweepAll() }
            }
        }
        // Not children: the end must be written although the task is cancelled.
        let drain = self.drain
        let ends = self.runners.map { runner in Task { await runner.shutDown(drain: drain) } }
        for end in ends { await end.value }
    }

    private func listen(_ configuration: PostgresConfiguration) async {
        var pause = Duration.milliseconds(100)
        while !Task.isCancelled {
            do {
                try await PostgresConnection.withConnection(configuration) { connection in
                    try await connection.listen(on: QueueCall.channel)
                    pause = .milliseconds(100)
                    // What was called while nobody listened.
                    for runner in self.runners { runner.wake() }
                    for try await call in connection.notifications {
                        guard let call = QueueCall(call.payload) else { continue }
                        for runner in self.bySchema[call.schema] ?? [] { runner.hear(call) }
                    }
                }
            } catch {
                self.logger.warning("not listening", metadata: [LogKeys.error: "\(error)"])
            }
            try? await Task.sleep(for: pause)
            pause = min(pause * 2, .seconds(5))
        }
    }

    /// Goes round: each runner once in its interval, evenly spread, and sooner where somebody may have died.
    private func sweepAll() async {
        await withDiscardingTaskGroup { group in
            while !Task.isCancelled {
                for runner in self.runners {
                    if let again = await runner.sweep() {
                        group.addTask {
                            try? await Task.sleep(for: again)
                            if !Task.isCancelled { _ = await runner.sweep() }
                        }
                    }
                    let interval = runner.configuration.sweepInterval / max(1, self.runners.count)
                    try? await Task.sleep(for: interval)
                    if Task.isCancelled { return }
                }
                if self.runners.isEmpty { try? await Task.sleep(for: .seconds(60)) }
            }
        }
    }
}
