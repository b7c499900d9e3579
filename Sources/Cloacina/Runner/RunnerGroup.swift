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
/// A tenant that is made later joins with ``add(_:fileID:line:)``, and one that goes away leaves with ``remove(_:drain:)``; the
/// runners that are left end with the group. What goes wrong without anybody waiting for it is logged as a warning.
///
/// A call that is lost costs time, never a pipeline: every tenant is looked at once in each
/// ``RunnerConfiguration/sweepInterval``.
public final class RunnerGroup: Service {
    private struct Members {
        var runners: [DefaultRunner] = []
        /// The runners by the word that calls them, as far as it is known.
        var byToken: [String: [DefaultRunner]] = [:]
        var tokens: [ObjectIdentifier: String] = [:]
        var isServing = false
        var hasEnded = false

        /// Forgets by which word a runner is called.
        mutating func forgetToken(of runner: DefaultRunner) {
            guard let token = self.tokens.removeValue(forKey: ObjectIdentifier(runner)) else { return }
            self.byToken[token]?.removeAll { $0 === runner }
            if self.byToken[token]?.isEmpty == true { self.byToken[token] = nil }
        }

        /// Notes by which word a runner of the group is called.
        mutating func note(token: String, of runner: DefaultRunner) {
            guard self.runners.contains(where: { $0 === runner }), self.tokens[ObjectIdentifier(runner)] != token
            else { return }
            self.forgetToken(of: runner)
            self.tokens[ObjectIdentifier(runner)] = token
            self.byToken[token, default: []].append(runner)
        }
    }
    private let members = Mutex(Members())
    /// The runners whose sweep is under way.
    private let sweeping = Mutex<Set<ObjectIdentifier>>([])
    private let listener: PostgresConfiguration?
    /// Tells whether the listener is connected; nil without one.
    private let listening: ListenerWatch?
    private let drain: Duration
    private let listenerCheck: Duration
    private let logger: Logger

    /// Makes a group.
    ///
    /// - Parameters:
    ///   - runners: One or more for each tenant.
    ///   - listener: Where to listen for calls of other processes: any login of the database. Without one, a
    ///     runner begins at once what it puts into its own queue, and others' with the next sweep. Every 3 s the server is asked
    ///     whether it can be written to; one that can't is left, so name all hosts, with `target_session_attrs=read-write`.
    ///   - drain: How long what runs may take to end when the group is shut down, before it is cancelled: 15 s. When the task that
    ///     runs the group is cancelled meanwhile, as a service group does that has waited long enough, that is at once.
    public convenience init(
        _ runners: [DefaultRunner], listeningOn listener: PostgresConfiguration? = nil,
        drain: Duration = .seconds(15), logger: Logger? = nil
    ) {
        self.init(runners, listeningOn: listener, drain: drain, logger: logger, listenerCheck: .seconds(3))
    }

    /// Makes a group that asks the listener's server as often as a test wants whether it can be written to.
    package init(
        _ runners: [DefaultRunner], listeningOn listener: PostgresConfiguration?, drain: Duration,
        logger: Logger? = nil, listenerCheck: Duration
    ) {
        self.listener = listener
        self.listening = listener.map { _ in ListenerWatch() }
        self.drain = drain
        self.listenerCheck = listenerCheck
        self.logger = logger ?? .silent
        self.members.withLock { $0.runners = runners }
    }

    /// Takes in another runner, for a tenant that has come since; its queue is served from now on when the group runs.
    ///
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/released`` when the group has ended.
    public func add(
        _ runner: DefaultRunner, fileID: String = #fileID, line: Int = #line
    ) throws(PipelineError) {
        let (hasEnded, isServing) = self.members.withLock { members in
            if !members.hasEnded, !members.runners.contains(where: { $0 === runner }) {
                members.runners.append(runner)
            }
            return (members.hasEnded, members.isServing)
        }
        guard !hasEnded else {
            throw PipelineError(.released, "the group has ended and serves nobody any more", fileID: fileID, line: line)
        }
        guard isServing else { return }
        runner.beginServing(self.listening)
        if self.listener != nil { runner.inBackground { await self.learnToken(of: runner) } }
    }

    /// Lets a runner go, for a tenant that goes away: ends it in good order, and returns when that is done.
    ///
    /// - Parameter drain: How long what runs may take to end before it is cancelled; the group's own when nil.
    public func remove(_ runner: DefaultRunner, drain: Duration? = nil) async {
        self.members.withLock { members in
            members.runners.removeAll { $0 === runner }
            members.forgetToken(of: runner)
        }
        // Not a child: the end must be written although the caller is cancelled.
        await Task { await runner.shutDown(drain: drain ?? self.drain) }.value
    }

    /// The runners that the group serves at the moment.
    public var runners: [DefaultRunner] { self.members.withLock { $0.runners } }

    /// Serves until the task is cancelled or the service is shut down; then ends every runner in good order. Once only.
    public func run() async throws {
        let runners = self.members.withLock { members in
            members.isServing = true
            return members.runners
        }
        self.listening?.begin()
        for runner in runners { runner.noteServing(self.listening) }
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                if let listener = self.listener { group.addTask { await self.listen(listener) } }
                group.addTask { await self.sweepAll() }
                group.addTask { await self.pruneAll() }
            }
        }
        // Not children: the end must be written although the task is cancelled.
        let drain = self.drain
        let last = self.members.withLock { members in
            members.hasEnded = true
            return members.runners
        }
        let ends = last.map { runner in Task { await runner.shutDown(drain: drain) } }
        // One that was cancelled to begin with ends in good order all the same; not one whose service group has waited long enough.
        guard !Task.isCancelled || Task.isShuttingDownGracefully else {
            for end in ends { await end.value }
            return
        }
        await withTaskCancellationHandler {
            for end in ends { await end.value }
        } onCancel: {
            for runner in last { runner.inBackground { await runner.shutDown(drain: .zero) } }
        }
    }

    /// Learns by which word a runner is called from now on; the one that is known stays when it can't be read.
    private func learnToken(of runner: DefaultRunner) async {
        guard let token = await runner.wakeupToken() else { return }
        self.members.withLock { $0.note(token: token, of: runner) }
    }

    /// Learns the words of all runners, a few at a time: also those that are known, for a tenant that was made anew, or restored, has
    /// another.
    private func learnTokens() async {
        await withDiscardingTaskGroup { group in
            let runners = self.runners
            for lane in 0..<8 {
                group.addTask {
                    for index in stride(from: lane, to: runners.count, by: 8) {
                        await self.learnToken(of: runners[index])
                    }
                }
            }
        }
    }

    private func listen(_ configuration: PostgresConfiguration) async {
        var pause = Duration.milliseconds(100)
        while !Task.isCancelled {
            do {
                try await PostgresConnection.withConnection(configuration) { connection in
                    try await connection.listen(on: QueueCall.channel)
                    try await Self.checkWritable(connection)
                    self.listening?.connected()
                    pause = .milliseconds(100)
                    await self.learnTokens()
                    // What was called while nobody listened.
                    for runner in self.runners { runner.wake(lookingAhead: true) }
                    try await withThrowingTaskGroup(of: Void.self) { group in
                        group.addTask { try await self.hearCalls(on: connection) }
                        group.addTask { try await self.watch(connection) }
                        // Whichever fails first ends the other.
                        defer { group.cancelAll() }
                        try await group.next()
                    }
                }
                self.listening?.disconnected(nil)
            } catch {
                self.listening?.disconnected(error)
                // An orderly stop is nothing to warn of.
                if !Task.isCancelled {
                    self.logger.warning("not listening", metadata: [LogKeys.error: "\(error)"])
                }
            }
            try? await Task.sleep(for: pause)
            pause = min(pause * 2, .seconds(5))
        }
    }

    private func hearCalls(on connection: PostgresConnection) async throws {
        for try await call in connection.notifications {
            guard let call = QueueCall(call.payload) else { continue }
            for runner in self.members.withLock({ $0.byToken[call.token] ?? [] }) { runner.hear(call) }
        }
    }

    /// Asks the server again and again whether it can be written to: who only listens is told by no error that nobody calls there
    /// any more.
    private func watch(_ connection: PostgresConnection) async throws {
        while true {
            try await Task.sleep(for: self.listenerCheck)
            try await Self.checkWritable(connection)
        }
    }

    private static func checkWritable(_ connection: PostgresConnection) async throws(PostgresError) {
        guard try await connection.isWritable(deadline: .now + .seconds(10)) else {
            throw PostgresError(
                .connectionLost,
                advice:
                    "the server has turned read-only or is a standby; a connection string that names every host, with "
                    + "target_session_attrs=read-write, finds the one that calls come from")
        }
    }

    /// Goes round: each runner once in its interval, evenly spread, and sooner where somebody may have died. One that takes long,
    /// such as where a tenant has locked its own tables, is not waited for.
    private func sweepAll() async {
        await withDiscardingTaskGroup { group in
            var next = ContinuousClock.now
            var rest = next
            while !Task.isCancelled {
                let runners = self.runners
                for runner in runners {
                    let isFree = self.sweeping.withLock { $0.insert(ObjectIdentifier(runner)).inserted }
                    if isFree {
                        let (waiting, end) = AsyncStream.makeStream(of: Void.self)
                        group.addTask {
                            let again = await runner.sweep()
                            _ = self.sweeping.withLock { $0.remove(ObjectIdentifier(runner)) }
                            end.finish()
                            if let again { await runner.watch(after: again) }
                        }
                        // Not a child: it ends with the waiting.
                        let timer = Task {
                            do { try await Task.sleep(for: Self.timePerSweep) } catch { return }
                            end.finish()
                        }
                        for await _ in waiting {}
                        timer.cancel()
                    }
                    // What one look takes longer, the next ones catch up with, as far as that is possible.
                    let interval = runner.configuration.sweepInterval
                    next = max(next, .now - interval).advanced(by: interval / runners.count)
                    // A second's runners in one go: waking up for each of them costs more than looking.
                    if rest.duration(to: next) >= min(.seconds(1), interval) {
                        try? await Task.sleep(until: next, clock: .continuous)
                        rest = next
                    }
                    if Task.isCancelled { return }
                }
                // Who joins looks after itself at first.
                if runners.isEmpty { try? await Task.sleep(for: .seconds(10)) }
            }
        }
    }

    /// How long the other tenants wait for one's sweep.
    private static let timePerSweep: Duration = .seconds(1)

    /// Deletes what is old, one tenant's after the other, beside the sweeps: nobody waits for it.
    private func pruneAll() async {
        while !Task.isCancelled {
            var pause = Duration.seconds(60)
            for runner in self.runners where runner.configuration.retention != nil {
                await runner.pruneOld()
                pause = min(pause, runner.configuration.sweepInterval)
                if Task.isCancelled { return }
            }
            try? await Task.sleep(for: pause)
        }
    }
}

extension DefaultRunner {
    /// Begins to serve the queue, with what waits there already, or is due soon.
    fileprivate func beginServing(_ listener: ListenerWatch?) {
        self.noteServing(listener)
        self.wake(lookingAhead: true)
    }
}
