extension PostgresPool {
    /// How long the ordinary budget is tried before the reserve.
    private static var patience: Duration { .milliseconds(20) }
    /// How long the reserve's connections are kept: longer than the pause between two heartbeats.
    static var reserveIdleTimeout: Duration { .seconds(10) }

    /// Lends a connection for the engine's own writes, which must never wait behind tasks that hold connections.
    ///
    /// It comes from the budget when one is free within a moment, else from a reserve of a few connections beside
    /// it, which all tenants share fairly and which are kept for some seconds. It is for short work: whoever holds it holds
    /// up the others.
    ///
    /// - Parameters:
    ///   - deadline: Until when to wait for a connection in all; the configuration's `checkoutTimeout` from now when
    ///     `nil`.
    ///   - body: What to do with the connection, as for ``withConnection(_:deadline:fileID:line:_:)``.
    /// - Throws: What the closure throws, or ``PostgresError`` as ``withConnection(_:deadline:fileID:line:_:)`` does.
    package func withReservedConnection<R>(
        _ label: PostgresLabel, deadline: ContinuousClock.Instant? = nil, fileID: String = #fileID, line: Int = #line,
        _ body: (borrowing PostgresLease) async throws -> R
    ) async throws -> R {
        let limit = self.limit(deadline)
        guard let reserve = self.reserve else {
            return try await self.withConnection(label, deadline: limit, fileID: fileID, line: line, body)
        }
        let grant: Grant
        do throws(PostgresError) {
            let patience = min(limit, .fromNow(Self.patience))
            grant = try await self.checkOut(label, until: patience, isFirstTry: true, fileID: fileID, line: line)
        } catch {
            guard error.code == .checkoutTimedOut || error.code == .tooManyWaiters else { throw error }
            return try await reserve.withConnection(label, deadline: limit, fileID: fileID, line: line, body)
        }
        return try await self.lend(grant, label, fileID: fileID, line: line, body)
    }
}

extension PostgresPoolStatistics {
    /// Adds another pool's numbers.
    mutating func add(_ other: PostgresPoolStatistics) {
        self.connections += other.connections
        self.leased += other.leased
        self.waiting += other.waiting
        self.checkouts += other.checkouts
        self.relabels += other.relabels
        self.opened += other.opened
        self.failedToOpen += other.failedToOpen
        self.recycled += other.recycled
        self.discarded += other.discarded
        self.leaksDetected += other.leaksDetected
        self.timedOut += other.timedOut
    }
}
