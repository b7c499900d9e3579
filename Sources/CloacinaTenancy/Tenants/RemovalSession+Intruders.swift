import CloacinaPostgres
import FoundationEssentials

extension RemovalSession {
    /// Ends what logins of other tenants have in the way: sessions that hold locks on what is to be removed, and transactions that
    /// they prepared. Each is in the audit trail.
    ///
    /// - Returns: True when somebody was in the way who is not any more.
    func endIntruders() async throws -> Bool {
        guard self.home == nil else { return false }
        var hasEnded = false
        let query = RemovalQueries.intruders(
            in: self.target.schemaOID, roles: self.target.roleOIDs, of: self.target.id)
        for intruder in try await self.connection.query(query).map(LockHolder.init) {
            self.tally.didIntrude(intruder.user)
            do {
                let isEnded = try await self.end(intruder)
                // One that ended by itself is not in the way any more either.
                hasEnded = true
                guard isEnded else { continue }
                try await self.connection.query(
                    RemovalQueries.auditIntrusion(tenant: self.target.name, intruder.description))
            } catch {
                // The next attempt tells; the others are ended all the same.
                if error is CancellationError || AdminError.isConnectionLoss(error) { throw error }
            }
        }
        return hasEnded
    }

    /// Makes an attempt while another session ends the logins of other tenants that this one waits for, whatever they hold: a row
    /// that somebody changed and has not committed is no lock that can be seen before or after. Who else is waited for is noted.
    ///
    /// - Parameter endingOwn: Whether this tenant's logins are ended like others'.
    func watching<R>(endingOwn: Bool = false, _ attempt: () async throws -> R) async throws -> R {
        // Before the attempt, whose patience with a lock is short.
        guard let observer = try? await self.connect(self.registry.endpoint.database) else {
            return try await attempt()
        }
        // Cancelled, and waited for, when the attempt is over.
        async let _: Void = self.endBlockers(observer, sparing: endingOwn ? nil : self.target.id)
        return try await attempt()
    }

    /// A session whose ``watching(_:)`` serves other changes than a removal's: whoever of the tenants keeps one waiting is ended, this
    /// tenant included.
    ///
    /// - Parameters:
    ///   - tenant: The one whose matter it is, for the audit trail.
    ///   - registry: A connection to the database that has the registry; the same unless the change is made elsewhere.
    ///   - spared: The tenant whose own logins are not ended; none by default.
    static func watcher(
        of tenant: String, on connection: PostgresConnection, registry: PostgresConnection, connect: @escaping Connect,
        sparing spared: UUID = UUID()
    ) -> RemovalSession {
        let sql = RemovalSQL(
            schema: "", owner: nil, roles: [], serviceRole: "", serverVersion: connection.serverVersion)
        let target = RemovalTarget(
            id: spared, name: tenant, schema: "", schemaOID: nil, hasSchema: false, roleOIDs: [], roleNames: [],
            tenantsRole: "", sql: sql)
        return RemovalSession(
            connection: connection, target: target, patience: RemovalPatience(.seconds(10)), connect: connect,
            tally: RemovalTally(), home: registry)
    }

    /// Makes a change, and once more under another session's eyes when somebody's lock was in its way.
    ///
    /// - Parameter change: Is given how long to wait for a lock: longer once somebody is ended for it.
    @discardableResult
    func unblocked<R>(_ change: (_ wait: PostgresStatement) async throws -> R) async throws -> R {
        self.tally.forgetBlockers()
        do {
            return try await change(MigratorSQL.patience)
        } catch {
            guard (error as? PostgresError)?.sqlState == "55P03" else { throw error }
        }
        do {
            return try await self.watching { try await change(LimitQueries.boundedWait) }
        } catch let error as PostgresError where error.sqlState == "55P03" && !self.tally.blockers.isEmpty {
            throw AdminError(
                .busy,
                "locks that this needs were held by \(LockHolder.list(self.tally.blockers)); end those, then call again",
                tenant: self.target.name, underlying: error)
        }
    }

    private func endBlockers(_ observer: PostgresConnection, sparing tenant: UUID?) async {
        let session = RemovalSession(
            connection: observer, target: self.target, patience: self.patience, connect: self.connect,
            tally: self.tally)
        let query = RemovalQueries.blockers(of: self.connection.backendPID, sparing: tenant)
        // Ending somebody takes locks as well, which a tenant may hold.
        guard (try? await observer.query(RemovalQueries.sessionLockTimeout)) != nil else {
            return await observer.close()
        }
        while !Task.isCancelled, let rows = try? await observer.query(query) {
            let found =
                (try? rows.map { (holder: try LockHolder($0), mayEnd: try $0.value("may_end", as: Bool.self)) }) ?? []
            self.tally.didBlock(found.map(\.holder))
            for intruder in found.filter({ $0.mayEnd && !self.endsNobody }).map(\.holder) {
                // An attempt that is over needs nobody else to end.
                guard !Task.isCancelled else { break }
                if intruder.pid != nil { self.tally.didIntrude(intruder.user) }
                // The attempt returns because of it, which cancels this task: the trail has it all the same, and no membership stays.
                await Task {
                    guard (try? await session.end(intruder)) == true, self.tally.didEnd(intruder) else { return }
                    _ = try? await observer.query(
                        RemovalQueries.auditIntrusion(tenant: self.target.name, intruder.description))
                }.value
            }
            try? await ContinuousClock().sleep(for: Self.look)
        }
        await observer.close()
    }

    /// The time between two looks at who is in the way.
    private static let look: Duration = .milliseconds(50)

    /// The call of a migration that waits for a lock in vain: the locks of other tenants' logins hold up no file either.
    ///
    /// - Parameter connection: The administrator's, which is idle meanwhile.
    static func relief(
        of tenant: String, schema: String, on connection: PostgresConnection, connect: @escaping Connect
    ) -> @Sendable () async -> Bool {
        {
            let session = try? await RemovalSession(
                of: tenant, schema: schema, on: connection, connect: connect, patience: RemovalPatience(.seconds(1)))
            return (try? await session?.endIntruders()) ?? false
        }
    }

    /// Ends all sessions of roles that were in the way before, as the first statements of a change.
    ///
    /// Who comes back at once is in the way of every change that begins a moment after the ending. These leave nothing but
    /// the ended sessions: the memberships that they need are undone with a savepoint.
    var endingOfIntruders: [PostgresStatement] {
        self.tally.intruders.flatMap(self.ending(of:))
    }

    /// Ends all sessions of a role, as the first statements of a change.
    func ending(of role: String) -> [PostgresStatement] {
        let sql = self.target.sql
        return [
            PostgresStatement(ddl: "SAVEPOINT ending"), PostgresStatement(ddl: sql.joining(role)),
            PostgresStatement(ddl: sql.act(as: role)),
            RemovalQueries.endSessions(of: role, wait: RemovalQueries.endingWait),
            PostgresStatement(ddl: "ROLLBACK TO SAVEPOINT ending"),
        ]
    }

    /// Ends a session, or rolls back a prepared transaction; false when it had ended by itself.
    private func end(_ intruder: LockHolder) async throws -> Bool {
        if let pid = intruder.pid {
            let ended = try await self.endSessions(
                of: intruder.user, [RemovalQueries.endSession(pid, of: intruder.user)])
            return !ended[0].isEmpty
        }
        guard let identifier = intruder.preparedTransaction else { return false }
        return try await self.rollBack(
            intruders: PreparedTransaction(
                identifier: identifier, owner: intruder.user, database: intruder.database))
    }

    /// Ends all sessions of another tenant's role.
    func endSessions(of role: String) async throws {
        try await self.endSessions(of: role, [RemovalQueries.endSessions(of: role)])
    }

    /// A role may end its own sessions, so the administrator becomes a member, in a transaction that leaves nothing behind.
    ///
    /// - Returns: The rows of each statement.
    @discardableResult
    func endSessions(
        of role: String, _ statements: [PostgresStatement], limits: PostgresStatement? = nil
    ) async throws -> [PostgresRows] {
        struct Undone: Error {}
        let limits = limits ?? RemovalQueries.limits(lockTimeout: self.patience.lockTimeout())
        let act = [self.target.sql.joining(role), self.target.sql.act(as: role)].map(PostgresStatement.init(ddl:))
        var results: [PostgresRows] = []
        do {
            try await self.connection.withTransaction { transaction in
                results = try await transaction.pipeline([limits] + act + statements)
                throw Undone()
            }
        } catch is Undone {}
        return Array(results.dropFirst(1 + act.count))
    }

    /// `ROLLBACK PREPARED` stands outside of transactions, so the membership that it needs is granted and taken again.
    ///
    /// - Returns: False when it was gone already.
    private func rollBack(intruders transaction: PreparedTransaction) async throws -> Bool {
        let sql = self.target.sql
        let mayAct = try await self.connection.query(
            OwnershipQueries.mayAct(as: transaction.owner, serverVersion: sql.serverVersion)
        ).single(as: Bool.self)
        if !mayAct { try await self.connection.query(PostgresStatement(ddl: sql.joining(transaction.owner))) }
        let isDone: Bool
        do {
            let other = try await self.connect(transaction.database)
            do {
                try await other.query(RemovalQueries.sessionLockTimeout)
                isDone = try await self.rollBack(transaction, over: other)
            } catch {
                await other.close()
                throw error
            }
            await other.close()
        } catch {
            if !mayAct { _ = try? await self.connection.query(PostgresStatement(ddl: sql.leaving(transaction.owner))) }
            throw error
        }
        if !mayAct { try await self.connection.query(PostgresStatement(ddl: sql.leaving(transaction.owner))) }
        return isDone
    }
}
