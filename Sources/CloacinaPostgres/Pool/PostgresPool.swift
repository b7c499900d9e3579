package import CoreMetrics
public import Logging
public import ServiceLifecycle
import Synchronization

/// Lends the connections of one budget to many tenants.
///
/// ```swift
/// let pool = PostgresPool(PostgresPoolConfiguration(PostgresConfiguration(url)))
/// async let running: Void = pool.run()
/// let rows = try await pool.withConnection(PostgresLabel(schema: "acme", role: "acme_runtime")) { lease in
///     try await lease.query("SELECT id, total FROM orders WHERE total > \(100)")
/// }
/// ```
///
/// Each connection carries one ``PostgresLabel``. A lease gets, in this order: an idle connection with its label, an
/// unlabelled one, a new one within the budget, or the one whose tenant has been quiet longest, set to the new label in
/// the same flush as the lease's first statement. Who must wait is served max-min fairly across tenants.
///
/// Opening and closing happen in ``run()``, which must be running for the pool to lend anything. When it returns, every
/// connection is closed.
public final class PostgresPool: Service {
    typealias ConnectionID = PoolStateMachine.ConnectionID
    typealias WaiterID = PoolStateMachine.WaiterID
    private typealias Waiting = CheckedContinuation<Result<Grant, PostgresError>, Never>

    /// A lease as the machine grants it.
    struct Grant: Sendable {
        let id: ConnectionID
        let connection: PostgresConnection
        let number: UInt64
    }

    /// What a waiter's request has led to so far.
    private enum Request {
        case undecided
        case waiting(Waiting)
        case decided(Result<Grant, PostgresError>)
    }

    /// What `run()` is asked to do.
    private enum Command: Sendable {
        case open(ConnectionID, login: String?)
        case close(ConnectionID, PostgresConnection)
        case wake(at: ContinuousClock.Instant)
        case giveUpOpening
    }

    /// What is left to do once the lock is released.
    private enum Effect {
        case resume(Waiting, Result<Grant, PostgresError>)
        case command(Command)
    }

    private struct State {
        var machine: PoolStateMachine
        var connections: [ConnectionID: PostgresConnection] = [:]
        var requests: [WaiterID: Request] = [:]
        /// Requests that have another way when they get nothing, so that they don't count as timed out.
        var firstTries: Set<WaiterID> = []
        /// When connections were last distrusted because the server refused a write.
        var distrustedAt: ContinuousClock.Instant?
        /// Connections that are no longer wanted although they are still being opened.
        var unwanted: Set<ConnectionID> = []
        var lastWaiter: UInt64 = 0
        var wakesAt: ContinuousClock.Instant?
        var statistics = PostgresPoolStatistics()
        var isRunning = false
    }

    private let configuration: PostgresPoolConfiguration
    private let logger: Logger
    private let metrics: PoolMetrics
    /// A few connections beside the budget; `nil` for the reserve itself.
    let reserve: PostgresPool?
    private let state: Mutex<State>
    private let commands: AsyncStream<Command>
    private let commandSink: AsyncStream<Command>.Continuation

    /// Makes a pool; nothing is opened before ``run()`` runs and someone asks.
    public convenience init(_ configuration: PostgresPoolConfiguration, logger: Logger? = nil) {
        self.init(configuration, logger: logger, metrics: MetricsSystem.factory)
    }

    package convenience init(
        _ configuration: PostgresPoolConfiguration, logger: Logger?, metrics: any MetricsFactory
    ) {
        let metrics = PoolMetrics(factory: metrics)
        var reserve = configuration
        reserve.maximumConnections = configuration.reservedConnections
        reserve.maximumPerTenant = nil
        reserve.maximumWaiters = nil
        reserve.idleTimeout = min(configuration.idleTimeout, Self.reserveIdleTimeout)
        self.init(
            configuration, logger: logger, metrics: metrics,
            reserve: PostgresPool(reserve, logger: logger, metrics: metrics, reserve: nil))
    }

    private init(
        _ configuration: PostgresPoolConfiguration, logger: Logger?, metrics: PoolMetrics, reserve: PostgresPool?
    ) {
        self.metrics = metrics
        self.reserve = reserve
        self.configuration = configuration
        self.logger = logger ?? .discarding
        var machine = PoolStateMachine.Configuration(maximumConnections: configuration.maximumConnections)
        machine.minimumPerTenant = configuration.minimumPerTenant
        machine.maximumPerTenant = configuration.tenantCap
        machine.maximumWaiters = configuration.maximumWaiters
        machine.idleTimeout = configuration.idleTimeout
        machine.maximumAge = configuration.maximumAge
        machine.ageJitter = configuration.ageJitter
        machine.maximumTenantsPerConnection = configuration.maximumTenantsPerConnection
        self.state = Mutex(State(machine: PoolStateMachine(machine)))
        (self.commands, self.commandSink) = AsyncStream.makeStream(of: Command.self)
    }

    /// The pool's numbers now.
    public var statistics: PostgresPoolStatistics {
        var statistics = self.ownStatistics
        if let reserve = self.reserve { statistics.add(reserve.ownStatistics) }
        return statistics
    }

    private var ownStatistics: PostgresPoolStatistics {
        self.state.withLock { state in
            var statistics = state.statistics
            statistics.connections = state.machine.live
            statistics.waiting = state.requests.count
            return statistics
        }
    }

    private func meterConnections() {
        let count = self.state.withLock { $0.machine.live }
        self.metrics.connections.set(count, isReserve: self.reserve == nil)
    }

    // MARK: Lending

    /// Lends a connection under a label to a closure.
    ///
    /// - Parameters:
    ///   - label: The tenant's schema and role, and the login where the server itself is to enforce the border.
    ///   - deadline: Until when to wait for a connection; the configuration's `checkoutTimeout` from now when `nil`.
    ///   - body: What to do with the connection. It goes back when the closure ends, however it ends; one that is left in a
    ///     transaction, broken or with other settings is destroyed instead.
    /// - Throws: What the closure throws; ``PostgresError`` with ``PostgresError/Code/checkoutTimedOut``,
    ///   ``PostgresError/Code/cancelled``, ``PostgresError/Code/poolShutDown``, ``PostgresError/Code/tooManyWaiters`` or
    ///   ``PostgresError/Code/connectionFailed``, or ``PostgresError/Code/poolerUnsupported`` for a role behind a
    ///   pooler that hands sessions on.
    public func withConnection<R>(
        _ label: PostgresLabel, deadline: ContinuousClock.Instant? = nil, fileID: String = #fileID, line: Int = #line,
        _ body: (borrowing PostgresLease) async throws -> R
    ) async throws -> R {
        let grant = try await self.checkOut(
            label, until: self.limit(deadline), isFirstTry: false, fileID: fileID, line: line)
        return try await self.lend(grant, label, fileID: fileID, line: line, body)
    }

    /// Until when a caller waits.
    func limit(_ deadline: ContinuousClock.Instant?) -> ContinuousClock.Instant {
        deadline ?? .fromNow(self.configuration.checkoutTimeout)
    }

    /// Lends what was granted, and takes it back however the closure ends.
    func lend<R>(
        _ grant: Grant, _ label: PostgresLabel, fileID: String, line: Int,
        _ body: (borrowing PostgresLease) async throws -> R
    ) async throws -> R {
        do {
            if grant.connection.pooler == .shared, label.role != nil {
                throw PostgresError.needsOwnSession("a label with a role").at(fileID, line)
            }
            let scope = LeaseScope(label: label, number: grant.number)
            let result = try await body(PostgresLease(connection: grant.connection, scope: scope))
            self.checkIn(grant, label, fileID: fileID, line: line)
            return result
        } catch {
            self.checkIn(grant, label, fileID: fileID, line: line)
            throw error
        }
    }

    /// A connection that the server closed while it lay idle is replaced, not lent.
    func checkOut(
        _ label: PostgresLabel, until limit: ContinuousClock.Instant, isFirstTry: Bool, fileID: String, line: Int
    ) async throws(PostgresError) -> Grant {
        while true {
            let grant = try await self.request(
                label, until: limit, isFirstTry: isFirstTry, fileID: fileID, line: line)
            guard grant.connection.isHungUp else { return grant }
            grant.connection.report.insert(.broken)
            self.checkIn(grant, label, fileID: fileID, line: line)
        }
    }

    private func request(
        _ label: PostgresLabel, until limit: ContinuousClock.Instant, isFirstTry: Bool, fileID: String, line: Int
    ) async throws(PostgresError) -> Grant {
        let now = ContinuousClock.now
        if Task.isCancelled { throw PostgresError(.cancelled, fileID: fileID, line: line) }
        let (waiter, granted, effects) = self.state.withLock { state -> (WaiterID, Grant?, [Effect]) in
            state.lastWaiter += 1
            let waiter = WaiterID(rawValue: state.lastWaiter)
            if isFirstTry { state.firstTries.insert(waiter) }
            defer { if state.requests[waiter] == nil { state.firstTries.remove(waiter) } }
            let actions = state.machine.request(waiter, label: label, deadline: limit, at: now)
            if actions.count == 1, case .lease(waiter, let id, let relabel) = actions[0] {
                return (waiter, self.grant(id, relabel: relabel, &state), [])
            }
            state.requests[waiter] = .undecided
            return (waiter, nil, self.effects(of: actions, &state) + self.wake(at: limit, &state))
        }
        if let granted { return granted }
        self.perform(effects)
        let result = await self.wait(for: waiter, until: limit)
        if isFirstTry { self.state.withLock { _ = $0.firstTries.remove(waiter) } }
        self.metrics.waitTime.recordNanoseconds(now.duration(to: .now).boundedNanoseconds)
        do throws(PostgresError) {
            return try result.get()
        } catch {
            throw error.at(fileID, line)
        }
    }

    /// Waits for the machine's decision; keeps the time itself as long as ``run()``, which otherwise does, has not begun.
    private func wait(for waiter: WaiterID, until limit: ContinuousClock.Instant) async -> Result<Grant, PostgresError>
    {
        guard self.state.withLock({ !$0.isRunning }) else { return await self.wait(for: waiter) }
        return await withTaskGroup(of: Void.self) { group in
            group.addTask {
                try? await Task.sleep(until: limit.bounded, clock: .continuous)
                if !Task.isCancelled { self.apply { $0.tick(at: .now) } }
            }
            let result = await self.wait(for: waiter)
            group.cancelAll()
            return result
        }
    }

    /// Waits for the machine's decision on a request that it could not grant at once.
    private func wait(for waiter: WaiterID) async -> Result<Grant, PostgresError> {
        await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: Waiting) in
                let decided = self.state.withLock { state -> Result<Grant, PostgresError>? in
                    if case .decided(let result) = state.requests[waiter] {
                        state.requests[waiter] = nil
                        return result
                    }
                    state.requests[waiter] = .waiting(continuation)
                    return nil
                }
                if let decided { continuation.resume(returning: decided) }
            }
        } onCancel: {
            self.apply { $0.cancel(waiter) }
        }
    }

    private func grant(_ id: ConnectionID, relabel: Bool, _ state: inout State) -> Grant? {
        guard let connection = state.connections[id] else { return nil }
        state.statistics.checkouts += 1
        state.statistics.leased += 1
        if relabel { state.statistics.relabels += 1 }
        return Grant(id: id, connection: connection, number: UInt64(clamping: state.statistics.checkouts))
    }

    private func checkIn(_ grant: Grant, _ label: PostgresLabel, fileID: String, line: Int) {
        let flags = grant.connection.report.current
        let now = ContinuousClock.now
        let effects = self.state.withLock { state -> [Effect] in
            state.statistics.leased -= 1
            if flags.contains(.tainted) {
                state.statistics.leaksDetected += 1
            } else if !flags.isEmpty {
                state.statistics.discarded += 1
            }
            let outcome: PoolStateMachine.Outcome = flags.isEmpty ? .healthy(label: label) : .doubtful
            var actions = state.machine.released(grant.id, outcome: outcome, at: now)
            if flags.contains(.readOnly) { actions += self.distrust(at: now, &state) }
            return self.effects(of: actions, &state) + self.wakeWhenDue(&state)
        }
        if !flags.isEmpty { self.note(flags, fileID: fileID, line: line) }
        self.perform(effects)
    }

    /// A server that refuses writes has been demoted, so the other connections lead to the wrong one too. Where it is
    /// meant to be read-only, this happens now and then only.
    private func distrust(at now: ContinuousClock.Instant, _ state: inout State) -> [PoolStateMachine.Action] {
        if let last = state.distrustedAt, last.duration(to: now) < .seconds(5) { return [] }
        state.distrustedAt = now
        let actions = state.machine.distrust()
        for action in actions {
            guard case .close = action else { continue }
            state.statistics.discarded += 1
            self.metrics.discarded.increment()
        }
        return actions
    }

    private func note(_ flags: ConnectionReport.Flags, fileID: String, line: Int) {
        guard flags.contains(.tainted) else {
            self.metrics.discarded.increment()
            return
        }
        self.metrics.leaksDetected.increment()
        self.logger.warning(
            "A lease left the session with other settings; its connection was destroyed",
            metadata: ["lease.file": "\(fileID)", "lease.line": "\(line)"])
    }

    // MARK: Decisions and effects

    /// Lets the machine decide and performs what it decided.
    private func apply(
        openFailure: PostgresError? = nil, _ event: (inout PoolStateMachine) -> [PoolStateMachine.Action]
    ) {
        let effects = self.state.withLock { state in
            let actions = event(&state.machine)
            return self.effects(of: actions, openFailure: openFailure, &state) + self.wakeWhenDue(&state)
        }
        self.perform(effects)
    }

    private func effects(
        of actions: [PoolStateMachine.Action], openFailure: PostgresError? = nil, _ state: inout State
    ) -> [Effect] {
        var effects: [Effect] = []
        for action in actions {
            switch action {
            case .lease(let waiter, let id, let relabel):
                guard let grant = self.grant(id, relabel: relabel, &state) else {
                    preconditionFailure("the machine lends a connection that was never opened")
                }
                self.decide(waiter, .success(grant), &state, &effects)
            case .fail(let waiter, let reason):
                if case .deadlineExceeded = reason, !state.firstTries.contains(waiter) {
                    state.statistics.timedOut += 1
                    self.metrics.timedOut.increment()
                }
                let error = self.error(reason, openFailure, isRunning: state.isRunning)
                self.decide(waiter, .failure(error), &state, &effects)
            case .open(let id, let login, for: _):
                effects.append(.command(.open(id, login: login)))
            case .close(let id, let reason):
                switch reason {
                case .age, .idle, .servedManyTenants:
                    state.statistics.recycled += 1
                    self.metrics.recycled.increment()
                default: break
                }
                if let connection = state.connections.removeValue(forKey: id) {
                    effects.append(.command(.close(id, connection)))
                } else {
                    state.unwanted.insert(id)
                }
            }
        }
        return effects
    }

    private func decide(
        _ waiter: WaiterID, _ result: Result<Grant, PostgresError>, _ state: inout State, _ effects: inout [Effect]
    ) {
        switch state.requests[waiter] {
        case .waiting(let continuation):
            state.requests[waiter] = nil
            effects.append(.resume(continuation, result))
        case .undecided: state.requests[waiter] = .decided(result)
        case .decided, nil: break
        }
    }

    private func perform(_ effects: [Effect]) {
        for effect in effects {
            switch effect {
            case .resume(let continuation, let result): continuation.resume(returning: result)
            case .command(let command): self.commandSink.yield(command)
            }
        }
    }

    private func error(
        _ reason: PoolStateMachine.FailReason, _ openFailure: PostgresError?, isRunning: Bool
    ) -> PostgresError {
        switch reason {
        case .openFailed: openFailure ?? PostgresError(.connectionFailed)
        case .deadlineExceeded:
            PostgresError(
                .checkoutTimedOut,
                advice: isRunning
                    ? "every connection of the budget was busy; raise maximumConnections or hold leases more briefly"
                    : "the pool's run() is not running, so nothing opens connections")
        case .cancelled: PostgresError(.cancelled)
        case .tooManyWaiters: PostgresError(.tooManyWaiters, advice: "try again later")
        case .shutDown: PostgresError(.poolShutDown)
        }
    }

    // MARK: Time

    /// Makes sure that the machine is asked again by `instant`.
    private func wake(at instant: ContinuousClock.Instant, _ state: inout State) -> [Effect] {
        if let wakesAt = state.wakesAt, wakesAt <= instant { return [] }
        state.wakesAt = instant
        return [.command(.wake(at: instant))]
    }

    private func wakeWhenDue(_ state: inout State) -> [Effect] {
        guard let due = state.machine.nextDue() else { return [] }
        return self.wake(at: due, &state)
    }

    private func tick(_ instant: ContinuousClock.Instant) {
        let effects = self.state.withLock { state -> [Effect] in
            if state.wakesAt == instant { state.wakesAt = nil }
            let actions = state.machine.tick(at: .now)
            return self.effects(of: actions, &state) + self.wakeWhenDue(&state)
        }
        self.perform(effects)
    }

    // MARK: Running

    /// Opens, closes and recycles connections until the task is cancelled or the service shuts down.
    ///
    /// A graceful shutdown lets leases under way end and waiting callers be served; cancellation ends everything at once.
    /// - Throws: Nothing but what the service protocol asks for.
    public func run() async throws {
        precondition(self.begin() && self.reserve?.begin() != false, "run() may run once")
        // Connections must be closed although the caller's task is cancelled, so the work goes on in a task of its own,
        // which ends with the last connection.
        let work = Task {
            async let reserve: Void? = self.reserve?.work()
            await self.work()
            await reserve
        }
        await withTaskCancellationHandler {
            await withGracefulShutdownHandler {
                await work.value
            } onGracefulShutdown: {
                self.shutDown(graceful: true)
            }
        } onCancel: {
            self.shutDown(graceful: false)
        }
    }

    private func begin() -> Bool {
        self.state.withLock { state in
            defer { state.isRunning = true }
            return !state.isRunning
        }
    }

    private func work() async {
        await withDiscardingTaskGroup { group in
            for await command in self.commands {
                if case .giveUpOpening = command {
                    group.cancelAll()
                } else {
                    group.addTask { await self.execute(command) }
                }
            }
            group.cancelAll()
        }
    }

    /// Begins to shut down: gracefully, leases under way end and waiting callers are served; otherwise all end at once.
    public func shutDown(graceful: Bool = true) {
        self.reserve?.shutDown(graceful: graceful)
        self.apply { $0.shutdown(graceful: graceful) }
        if !graceful { self.commandSink.yield(.giveUpOpening) }
        self.finishIfDone()
    }

    private func finishIfDone() {
        let isFinished = self.state.withLock { $0.machine.isFinished }
        if isFinished { self.commandSink.finish() }
    }

    private func execute(_ command: Command) async {
        switch command {
        case .open(let id, let login): await self.open(id, login: login)
        case .close(let id, let connection):
            await self.close(id, connection)
        case .wake(let instant):
            try? await Task.sleep(until: instant.bounded, clock: .continuous)
            if !Task.isCancelled { self.tick(instant) }
        case .giveUpOpening: break
        }
    }

    private func open(_ id: ConnectionID, login: String?) async {
        do {
            let connection = try await self.connect(login: login)
            self.metrics.opened.increment()
            defer { self.meterConnections() }
            let expiry = self.state.withLock { state in
                state.connections[id] = connection
                state.statistics.opened += 1
                return state.machine.configuration.expiry(openedAt: .now, random: .random(in: 0...1))
            }
            self.apply { $0.opened(id, expiresAt: expiry, at: .now) }
            let isUnwanted = self.state.withLock { state in
                guard state.unwanted.remove(id) != nil else { return false }
                state.connections[id] = nil
                return true
            }
            if isUnwanted { await self.close(id, connection) }
        } catch {
            self.metrics.failedToOpen.increment()
            self.state.withLock { state in
                state.statistics.failedToOpen += 1
                state.unwanted.remove(id)
            }
            let failure =
                error as? PostgresError
                ?? PostgresError(.connectionFailed, advice: "no password for the tenant's login", underlying: error)
            self.apply(openFailure: failure) { $0.openFailed(id, at: .now) }
        }
        self.finishIfDone()
    }

    private func close(_ id: ConnectionID, _ connection: PostgresConnection) async {
        connection.abort()  // a lease that goes on in spite of a hard shutdown must not hold us up
        await connection.close()
        self.apply { $0.closed(id, at: .now) }
        self.meterConnections()
        self.finishIfDone()
    }

    private func connect(login: String?) async throws -> PostgresConnection {
        var configuration = self.configuration.connection
        if let login {
            guard let password = self.configuration.password else {
                throw PostgresError(
                    .connectionFailed,
                    advice: "the label names a login, but the pool's configuration has no password for it")
            }
            configuration.user = login
            configuration.password = try await password(login)
        }
        return try await PostgresConnection.connect(configuration, logger: self.logger)
    }
}
