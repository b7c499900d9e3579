import HeapModule

/// Decides who gets which connection. Events in, actions out; it knows neither sockets nor clocks.
///
/// The shell holds it in a `Mutex`, reports what happened, leaves the lock and then performs the actions in order.
/// Whoever asks is a *waiter* until one action ends it: ``Action/lease(_:_:relabel:)`` or ``Action/fail(_:_:)``.
///
/// Words used below. A tenant is a schema. A *lane* is the queue of one tenant's waiters for one login. A connection
/// that is being opened, or closed to make room, is *promised* to a lane; the tenant's *share* is what it has leased
/// plus what it is promised, and whoever has the smallest share comes first (max-min fairness).
struct PoolStateMachine {
    typealias Instant = ContinuousClock.Instant

    /// One physical connection, from the decision to open it until it is closed. Never used twice.
    struct ConnectionID: Hashable, Sendable {
        let rawValue: Int
    }

    /// One request for a connection. The shell chooses it and never uses one twice.
    struct WaiterID: Hashable, Sendable {
        let rawValue: UInt64
    }

    struct Configuration: Sendable {
        /// The budget: connections that may exist at one time, those being opened and closed included.
        var maximumConnections: Int
        /// The floor: affinity never passes over a tenant whose share is smaller.
        var minimumPerTenant = 1
        /// The cap: how many connections one tenant may lease at a time; the whole budget when `nil`.
        var maximumPerTenant: Int?
        /// How long a connection may lie idle.
        var idleTimeout: Duration = .seconds(300)
        /// How long a connection may live; see ``expiry(openedAt:random:)``.
        var maximumAge: Duration = .seconds(3600)
        /// Which part of `maximumAge` is left to chance, so that connections don't all expire together.
        var ageJitter = 0.1
        /// How many distinct labels a connection may serve; a backend keeps memory for each.
        var maximumTenantsPerConnection = 100
        /// How many requests may wait without a connection on its way to them; no limit when `nil`.
        var maximumWaiters: Int?
        /// How often in a row a connection may stay with its label although an equally entitled tenant waits longer.
        var affinityStreak = 8
        /// How often a tenant may be passed over for equally entitled ones that the free connection has served before, while
        /// the connection that has served it is busy.
        var maximumPassesOver = 16

        init(maximumConnections: Int) {
            self.maximumConnections = maximumConnections
        }

        /// When a connection opened now is due, given a random number from 0 to 1.
        func expiry(openedAt opened: Instant, random: Double) -> Instant {
            let jitter = self.ageJitter.isFinite ? min(max(self.ageJitter, 0), 1) : 0
            return opened + self.maximumAge.bounded * (1 - jitter * min(max(random, 0), 1))
        }
    }

    enum Action: Equatable, Sendable {
        /// Hand the connection to the waiter; with `relabel`, set it to the waiter's label first.
        case lease(WaiterID, ConnectionID, relabel: Bool)
        /// Connect as this login, then report `opened` or `openFailed`.
        case open(ConnectionID, login: String?, for: WaiterID)
        /// Close, then report `closed`. A connection still being opened is to be given up.
        case close(ConnectionID, CloseReason)
        /// Tell the waiter that it gets nothing.
        case fail(WaiterID, FailReason)
    }

    enum CloseReason: Hashable, Sendable {
        case idle, age, servedManyTenants, doubtful, neededForOtherLogin, shutDown
    }

    enum FailReason: Hashable, Sendable {
        case openFailed, deadlineExceeded, cancelled, tooManyWaiters, shutDown
    }

    /// How a lease ended.
    enum Outcome: Sendable {
        /// Nothing is left open, and the connection is set to this label (`nil`: to none).
        case healthy(label: PostgresLabel?)
        /// Something may be left behind; the connection must not be used again.
        case doubtful
    }

    enum Stage: Sendable {
        case running, draining, stopped
    }

    let configuration: Configuration
    let cap: Int
    var stage = Stage.running

    // Tables; everything refers to everything else by index.
    var connections: [Connection] = []
    var freeConnections: [Int] = []
    var waiters: [Waiter] = []
    var freeWaiters: [Int] = []
    var lanes: [Lane] = []
    var freeLanes: [Int] = []
    var labels = InternTable<PostgresLabel, Label>()
    var tenants = InternTable<String, Tenant>()
    var logins = InternTable<String?, Login>()
    var waiterIndex: [WaiterID: Int] = [:]
    /// Labels that no connection and no waiter refers to; kept for a while, since tenants come back.
    var dormantLabels = 0

    // Lists; `Links` holds the chains, the heads are where they belong.
    var labelLinks = Links()
    var loginLinks = Links()
    var idleLinks = Links()
    var promiseLinks = Links()
    var waiterLinks = Links()
    /// All idle connections, the longest idle first.
    var idle = List()
    /// Connections being closed whose place is promised to nobody.
    var unpromisedClosings = List()

    // Orders, with outdated entries that are dropped when they come up.
    var needy = Heap<Rank>()
    var deadlines = Heap<Due<WaiterID>>()
    var expiries = Heap<Due<ConnectionID>>()

    var sequence: UInt64 = 0
    /// What connections opened from now on belong to; older ones are not trusted.
    var epoch: UInt64 = 0
    var live = 0
    var promised = 0

    init(_ configuration: Configuration) {
        precondition(configuration.maximumConnections > 0, "A pool needs a budget of at least one connection.")
        var configuration = configuration
        configuration.maximumConnections = min(configuration.maximumConnections, Self.connectionLimit)
        configuration.idleTimeout = configuration.idleTimeout.bounded
        self.configuration = configuration
        self.cap = max(1, min(configuration.maximumPerTenant ?? .max, configuration.maximumConnections))
    }

    /// More than any process can open, and what an identifier has room for.
    private static var connectionLimit: Int { 1 << 20 }

    /// Whether the pool is shut down and every connection is closed.
    var isFinished: Bool { self.stage != .running && self.live == 0 && self.waiterIndex.isEmpty }

    /// Entries in the orders, outdated ones included: in proportion to who waits and what is open.
    var orderedEntries: Int { self.needy.count + self.deadlines.count + self.expiries.count }
}

// MARK: Events

extension PoolStateMachine {
    /// Somebody wants a connection with this label. The answer is a lease at once, or the waiter waits.
    mutating func request(
        _ waiter: WaiterID, label: PostgresLabel, deadline: Instant? = nil, at now: Instant
    ) -> [Action] {
        guard self.stage == .running else { return [.fail(waiter, .shutDown)] }
        if let deadline, deadline <= now { return [.fail(waiter, .deadlineExceeded)] }
        let label = self.intern(label)
        let tenant = self.labels[label].tenant
        if self.tenants[tenant].waiting == 0, self.tenants[tenant].share < self.cap,
            let slot = self.idleConnection(for: label)
        {
            let relabel = self.grant(slot, label: label)
            return [.lease(waiter, self.id(of: slot), relabel: relabel)]
        }
        var actions: [Action] = []
        self.enqueue(waiter, label: label, deadline: deadline)
        self.plan(&actions)
        if let limit = self.configuration.maximumWaiters, self.waiterIndex.count - self.promised > limit,
            let index = self.waiterIndex[waiter]
        {
            self.fail(index, .tooManyWaiters, &actions)
        }
        return actions
    }

    /// The waiter's task was cancelled. Does nothing when its lease or failure was already decided; the shell must call
    /// it after `request`, so whoever is cancelled from the start is checked for after enqueuing.
    mutating func cancel(_ waiter: WaiterID) -> [Action] {
        guard let index = self.waiterIndex[waiter] else { return [] }
        var actions: [Action] = []
        self.fail(index, .cancelled, &actions)
        self.plan(&actions)
        return actions
    }

    /// A connection is there. It goes to the lane that it was opened for.
    mutating func opened(_ connection: ConnectionID, expiresAt: Instant, at now: Instant) -> [Action] {
        guard let slot = self.slot(of: connection), self.connections[slot].phase == .opening else { return [] }
        var actions: [Action] = []
        let lane = self.connections[slot].lane
        self.detach(slot)
        self.connections[slot].expiresAt = expiresAt
        self.scheduleExpiry(of: connection, at: expiresAt)
        self.makeIdle(slot, at: now)
        if lane != Self.none {
            self.lease(slot, to: self.lanes[lane].queue.head, &actions)
            self.plan(&actions)
        } else {
            self.handOver(slot, &actions)
        }
        self.closeUnneeded(&actions)
        return actions
    }

    /// A connection could not be opened. The waiter that it was opened for gets an idle one of the same login if there
    /// is any; otherwise it fails.
    mutating func openFailed(_ connection: ConnectionID, at now: Instant) -> [Action] {
        guard let slot = self.slot(of: connection) else { return [] }
        guard self.connections[slot].phase == .opening else { return self.closed(connection, at: now) }
        var actions: [Action] = []
        let lane = self.connections[slot].lane
        let openedFor = self.connections[slot].openedFor
        self.removeConnection(slot)
        if lane != Self.none {
            self.disappoint(lane, preferring: openedFor, &actions)
        }
        self.plan(&actions)
        self.closeUnneeded(&actions)
        return actions
    }

    /// A lease ended.
    mutating func released(_ connection: ConnectionID, outcome: Outcome, at now: Instant) -> [Action] {
        guard let slot = self.slot(of: connection), self.connections[slot].phase == .leased else { return [] }
        self.endLease(slot)
        var actions: [Action] = []
        if let reason = self.reasonToClose(slot, outcome, at: now) {
            self.close(slot, reason, &actions)
            self.plan(&actions)
        } else {
            self.makeIdle(slot, at: now)
            if !self.waiterIndex.isEmpty { self.handOver(slot, &actions) }
        }
        if self.stage != .running { self.closeUnneeded(&actions) }
        return actions
    }

    /// A connection is gone: closed as asked, or, in any other state, lost.
    mutating func closed(_ connection: ConnectionID, at now: Instant) -> [Action] {
        guard let slot = self.slot(of: connection) else { return [] }
        var actions: [Action] = []
        switch self.connections[slot].phase {
        case .free: return []
        case .opening: return self.openFailed(connection, at: now)
        case .idle: break
        case .leased: self.endLease(slot)
        case .closing: break
        }
        let lane = self.connections[slot].lane
        self.removeConnection(slot)
        if lane != Self.none { self.open(for: lane, &actions) }
        self.plan(&actions)
        self.closeUnneeded(&actions)
        return actions
    }

    /// The server that connections lead to is not the right one any more: idle ones are closed now, others when they
    /// come back.
    mutating func distrust() -> [Action] {
        self.epoch &+= 1
        var actions: [Action] = []
        while self.idle.head != Self.none { self.close(self.idle.head, .doubtful, &actions) }
        self.plan(&actions)
        return actions
    }

    /// Ends what is due. To be called at ``nextDue()``.
    mutating func tick(at now: Instant) -> [Action] {
        var actions: [Action] = []
        self.failOverdueWaiters(at: now, &actions)
        self.closeOverdueConnections(at: now, &actions)
        self.plan(&actions)
        return actions
    }

    /// Ends the pool. Gracefully: whoever waits is still served, and connections close as they come back. Otherwise
    /// every waiter fails, and every connection is to be closed now, leased ones included.
    mutating func shutdown(graceful: Bool) -> [Action] {
        guard self.stage != .stopped else { return [] }
        var actions: [Action] = []
        if graceful {
            self.stage = .draining
            self.closeUnneeded(&actions)
            return actions
        }
        self.stage = .stopped
        for index in self.waiterIndex.values.sorted(by: { self.waiters[$0].sequence < self.waiters[$1].sequence }) {
            self.fail(index, .shutDown, &actions)
        }
        for slot in self.connections.indices {
            switch self.connections[slot].phase {
            case .free, .closing: continue
            case .opening: self.detach(slot)
            case .idle: break
            case .leased: self.endLease(slot)
            }
            self.close(slot, .shutDown, &actions)
        }
        return actions
    }
}
