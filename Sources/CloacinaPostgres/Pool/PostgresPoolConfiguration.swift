/// How a pool reaches its server and shares its connections.
public struct PostgresPoolConfiguration: Sendable {
    /// How to reach the server, with the pool's own login.
    public var connection: PostgresConfiguration
    /// The budget: connections that may exist at one time, for all tenants together; 10 by default. At least 1: a pool of none
    /// is a mistake in the program, and stops it. Beside it there may be a few more, the reserve: a quarter of the budget, at
    /// least 1 and at most 4. The engine's own writes, such as what became of a task and that a runner lives, go there while
    /// tasks hold every connection.
    public var maximumConnections = 10
    /// The floor: a tenant with fewer connections than this is never passed over; 1 by default.
    public var minimumPerTenant = 1
    /// The cap: connections that one tenant may hold at a time. By default a quarter of the budget, at least one
    /// connection, is left to the others: 8 of 10, 3 of 4, 1 of 2. Set it to `maximumConnections` where there is only
    /// one tenant.
    public var maximumPerTenant: Int?
    /// How many callers may wait; no limit by default. One too many gets ``PostgresError/Code/tooManyWaiters`` at once.
    public var maximumWaiters: Int?
    /// How long a caller waits when it names no deadline of its own; 30 seconds by default.
    public var checkoutTimeout: Duration = .seconds(30)
    /// How long a connection may lie idle before it is closed; 5 minutes by default.
    public var idleTimeout: Duration = .seconds(300)
    /// How long a connection may live; an hour by default.
    public var maximumAge: Duration = .seconds(3600)
    /// Which part of the age is left to chance, so that connections don't all expire together; 0.1 by default.
    public var ageJitter = 0.1
    /// How many labels a connection may serve in its life; 500 by default.
    ///
    /// A backend keeps memory for every table of every schema it has seen: about 0.2 MB for a schema of 12 tables.
    public var maximumTenantsPerConnection = 500
    /// Finds the password of a tenant's own login, for labels that name one; without it such labels are refused.
    public var password: (@Sendable (_ login: String) async throws -> String)?

    /// The cap in force.
    var tenantCap: Int {
        self.maximumPerTenant ?? max(1, self.maximumConnections - max(1, self.maximumConnections / 4))
    }

    /// How many connections the reserve has: one alone would have a thousand tenants' heartbeats wait for each other, for about
    /// as long as a lease lasts where a commit takes 10 ms.
    var reservedConnections: Int { min(4, max(1, self.maximumConnections / 4)) }

    /// Makes a configuration with defaults.
    public init(_ connection: PostgresConfiguration) {
        self.connection = connection
    }
}

/// A pool's numbers at one moment, those of its reserve included.
public struct PostgresPoolStatistics: Sendable, Equatable {
    /// Connections that exist, those being opened or closed included.
    public var connections = 0
    /// Connections on loan.
    public var leased = 0
    /// Callers that wait.
    public var waiting = 0
    /// Leases given since the pool began.
    public var checkouts = 0
    /// Leases that needed another label than the connection had.
    public var relabels = 0
    /// Connections opened since the pool began.
    public var opened = 0
    /// Connections that could not be opened.
    public var failedToOpen = 0
    /// Connections closed because of their age, their idleness or the number of labels served.
    public var recycled = 0
    /// Connections destroyed because a lease left a transaction open or broke the connection, or because the server had
    /// turned read-only.
    public var discarded = 0
    /// Connections destroyed because the session's path, role or settings were not what the label says.
    public var leaksDetected = 0
    /// Callers that got nothing before their deadline.
    public var timedOut = 0

    /// All zero.
    public init() {}
}
