import CloacinaPostgres

/// One run of giving a tenant's logins other limits, although the tenant's own sessions may hold those logins.
///
/// Every attempt waits for locks for a moment only. After one that failed the tenant's sessions that are in the way are ended,
/// and it is made once more, until the patience is used up: twice at least. After one that waited for a lock in vain another session
/// ends whoever of the tenants holds the next one up.
struct LimitChange {
    let name: String
    let limits: StoredLimits
    let connection: PostgresConnection
    let patience: RemovalPatience
    private let watcher: RemovalSession

    init(
        name: String, limits: StoredLimits, connection: PostgresConnection, patience: RemovalPatience,
        connect: @escaping RemovalSession.Connect
    ) {
        self.name = name
        self.limits = limits
        self.connection = connection
        self.patience = patience
        self.watcher = RemovalSession.watcher(of: name, on: connection, registry: connection, connect: connect)
    }

    /// The pause after a failed attempt: some fail at once.
    private static let pause: Duration = .milliseconds(20)

    /// Makes the change.
    ///
    /// - Returns: The sessions that were ended for it.
    /// - Throws: ``AdminError`` with ``AdminError/Code/busy``, which names who is in the way, or what no other attempt mends.
    func run() async throws -> [LockHolder] {
        var (isFirst, isWatched) = (true, false)
        while true {
            do {
                try await isWatched ? self.watcher.watching(self.attempt) : self.attempt()
                return self.watcher.tally.endedBlockers
            } catch {
                guard RemovalPatience.isPassing(error) else { throw error }
                if self.patience.isOver(), !isFirst { throw await self.busy(error) }
                isWatched = (error as? PostgresError)?.sqlState == "55P03"
            }
            isFirst = false
            try await self.relieve()
            try await ContinuousClock().sleep(for: Self.pause)
        }
    }

    private func attempt() async throws {
        try await self.connection.withTransaction { transaction in
            try await transaction.query(RemovalQueries.limits(lockTimeout: self.patience.lockTimeout()))
            let target = try LimitTarget(try await transaction.query(LimitQueries.target(self.name)), name: self.name)
            let statements = target.statements(self.limits, serverVersion: self.connection.serverVersion)
            _ = try await transaction.pipeline(
                statements.map(PostgresStatement.init(ddl:)) + [
                    LimitQueries.record(id: target.id, self.limits),
                    LimitQueries.audit("tenant.limited", name: self.name),
                ])
        }
    }

    // MARK: Who is in the way

    /// Those who are changing roles: the tenant's own sessions, or all others.
    private func holders(own: Bool) async throws -> [LockHolder] {
        let query = LimitQueries.roleChangers(ofTenant: self.name)
        return try await self.connection.read(query, lockTimeout: self.patience.lockTimeout())
            .filter { try $0.value("is_own", as: Bool.self) == own }.map(LockHolder.init)
    }

    /// Ends the tenant's own sessions that are in the way; each is in the audit trail.
    private func relieve() async throws {
        // Who locks even that is ended while the next attempt waits.
        for holder in (try? await self.holders(own: true)) ?? [] {
            do {
                guard try await self.end(holder), self.watcher.tally.didEnd(holder) else { continue }
                try await self.connection.query(
                    LimitQueries.audit("tenant.session_ended", name: self.name, detail: holder.description))
            } catch {
                // The next attempt tells; the others are ended all the same.
                if error is CancellationError || AdminError.isConnectionLoss(error) { throw error }
            }
        }
    }

    /// Ends one session in a transaction that leaves nothing; says whether it was still there.
    private func end(_ holder: LockHolder) async throws -> Bool {
        struct Ended: Error { let wasThere: Bool }
        guard let pid = holder.pid else { return false }
        let statements =
            [RemovalQueries.limits(lockTimeout: self.patience.lockTimeout())]
            + LoginSQL.acting(as: holder.user, serverVersion: self.connection.serverVersion)
            + [RemovalQueries.endSession(pid, of: holder.user)]
        do {
            try await self.connection.withTransaction { transaction in
                let found = try await transaction.pipeline(statements)
                throw Ended(wasThere: !found[statements.count - 1].isEmpty)
            }
        } catch let ended as Ended {
            return ended.wasThere
        }
        return false
    }

    private func busy(_ error: any Error) async -> AdminError {
        var holders = self.watcher.tally.blockers
        if holders.isEmpty {
            holders = ((try? await self.holders(own: true)) ?? []) + ((try? await self.holders(own: false)) ?? [])
        }
        return AdminError(
            .busy,
            "the tenant's logins, or its row in the registry, were locked for longer than \(self.patience.total), by "
                + "\(LockHolder.list(holders)): end those, then call again",
            tenant: self.name, underlying: error)
    }
}
