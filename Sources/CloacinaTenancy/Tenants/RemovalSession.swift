import CloacinaPostgres

/// A connection to one database, over which a removal changes things in spite of whoever is in the way.
///
/// Every change waits for locks for a moment only. After one that failed the tenant's sessions and prepared transactions
/// are ended again, and it is made once more, until the patience is used up.
struct RemovalSession: Sendable {
    /// Opens a connection to a database of the server.
    typealias Connect = @Sendable (_ database: String) async throws -> PostgresConnection

    let connection: PostgresConnection
    let target: RemovalTarget
    let patience: RemovalPatience
    let connect: Connect
    let tally: RemovalTally
    /// The connection to the tenant's own database and its registry, when this one leads to another.
    var home: PostgresConnection?
    /// True when those who hold an attempt up are only named: for a plan.
    var endsNobody = false

    /// The pause after a failed attempt: some fail at once.
    private static let pause: Duration = .milliseconds(20)

    /// The same over another connection.
    func on(_ connection: PostgresConnection) -> RemovalSession {
        RemovalSession(
            connection: connection, target: self.target, patience: self.patience, connect: self.connect,
            tally: self.tally, home: self.registry)
    }

    /// Where the registry is.
    var registry: PostgresConnection { self.home ?? self.connection }

    /// Runs statements as one transaction.
    ///
    /// - Throws: ``AdminError`` with ``AdminError/Code/busy``, which names who is in the way, or what can't be mended by
    ///   another attempt.
    @discardableResult
    func change(_ statements: [PostgresStatement]) async throws -> [PostgresRows] {
        try await self.patiently {
            let ending = self.endingOfIntruders
            do {
                return try await self.attempt(statements, after: ending)
            } catch {
                // A role may be gone by now: then it is not in the way any more.
                guard !ending.isEmpty, !RemovalPatience.isPassing(error), !AdminError.isConnectionLoss(error) else {
                    throw error
                }
                self.tally.forgetIntruders()
                return try await self.attempt(statements)
            }
        }
    }

    private func attempt(
        _ statements: [PostgresStatement], after ending: [PostgresStatement] = []
    ) async throws -> [PostgresRows] {
        let first = [RemovalQueries.limits(lockTimeout: self.patience.lockTimeout())] + ending
        return try await self.connection.withTransaction { transaction in
            Array(try await transaction.pipeline(first + statements).dropFirst(first.count))
        }
    }

    /// The same for statements that take no binds.
    @discardableResult
    func change(_ statements: [String]) async throws -> [PostgresRows] {
        try await self.change(statements.map(PostgresStatement.init(ddl:)))
    }

    /// Reads within the patience: whoever locks a catalog is not waited for any longer. Tenants' sessions that hold it up are ended,
    /// this one's included, unless ``endsNobody``, and nothing else is changed.
    func read(_ query: PostgresStatement) async throws -> PostgresRows {
        try await self.patiently(isReading: true) {
            try await self.connection.read(query, lockTimeout: self.patience.lockTimeout())
        }
    }

    /// Makes an attempt again and again while something passing is in the way; after one that waited for a lock in vain, under another
    /// session's eyes.
    ///
    /// - Parameter isReading: Whether only those of the tenant's sessions are ended that hold the attempt up; otherwise all are,
    ///   and its prepared transactions are rolled back.
    func patiently<R>(isReading: Bool = false, _ attempt: () async throws -> R) async throws -> R {
        var isWatched = false
        self.tally.forgetBlockers()
        while true {
            do {
                return try await isWatched ? self.watching(endingOwn: isReading, attempt) : attempt()
            } catch {
                guard RemovalPatience.isPassing(error) else { throw error }
                if self.patience.isOver() { throw await self.busy(error) }
                isWatched = (error as? PostgresError)?.sqlState == "55P03"
            }
            if isReading { try await ContinuousClock().sleep(for: Self.pause) } else { try await self.relieve() }
        }
    }

    /// Opens a connection to a database of the server, when it has room for one: a tenant may use up all.
    func open(_ database: String) async throws -> PostgresConnection {
        while true {
            do {
                return try await self.connect(database)
            } catch {
                guard (error as? PostgresError)?.sqlState == "53300", !self.patience.isOver() else { throw error }
            }
            try await ContinuousClock().sleep(for: Self.pause)
        }
    }

    /// Ends what tenants may have put in the way: this one's sessions and prepared transactions, and what of the others' holds
    /// locks there.
    private func relieve() async throws {
        // Neither may work yet, or be what is in the way: the next attempt tells.
        try? await self.endSessions()
        try? await self.rollBackPrepared(isPatient: false)
        _ = try? await self.endIntruders()
        try await ContinuousClock().sleep(for: Self.pause)
    }

    /// Ends the sessions of the tenant's logins, without waiting for them.
    ///
    /// A role may end its own sessions, so the administrator acts as each.
    func endSessions() async throws {
        guard !self.target.roles.isEmpty else { return }
        let statements = self.target.roles.flatMap { role in
            [PostgresStatement(ddl: self.target.sql.act(as: role)), RemovalQueries.endSessions(of: role)]
        }
        let results = try await self.connection.withTransaction { try await $0.pipeline(statements) }
        for rows in results where !rows.isEmpty { self.tally.didEnd(try rows.column("pid")) }
    }

    /// Rolls back the transactions that the tenant's roles prepared, wherever on the server: what is there now, or in patience until
    /// nothing is left.
    func rollBackPrepared(isPatient: Bool = true) async throws {
        var before: [PreparedTransaction] = []
        while true {
            let roles = self.target.roles + [self.target.tenantsRole]
            let found = try await self.connection.query(RemovalQueries.preparedTransactions(of: roles))
                .map(PreparedTransaction.init)
            guard !found.isEmpty else { return }
            for (database, transactions) in Dictionary(grouping: found, by: \.database).sorted(by: { $0.key < $1.key })
            {
                try await self.rollBack(transactions, in: database, isPatient: isPatient)
            }
            guard isPatient else { return }
            if self.patience.isOver(), found == before || found.count < RemovalQueries.batch {
                throw AdminError(
                    .busy,
                    "transactions are prepared by the tenant's roles again and again, such as \(found[0].identifier) in the database "
                        + "\(found[0].database); look at pg_prepared_xacts, then call again", tenant: self.target.name)
            }
            before = found
        }
    }

    /// Over a connection of its own: `ROLLBACK PREPARED` stands outside of transactions, so the role that it needs would
    /// stay with the session.
    private func rollBack(
        _ transactions: [PreparedTransaction], in database: String, isPatient: Bool
    ) async throws {
        if transactions.contains(where: { $0.owner == self.target.tenantsRole }) { try await self.joinGroup() }
        let other = try await isPatient ? self.open(database) : self.connect(database)
        do {
            for transaction in transactions {
                if isPatient {
                    try await self.patiently { _ = try await self.rollBack(transaction, over: other) }
                } else {
                    try await self.rollBack(transaction, over: other)
                }
            }
            await other.close()
        } catch {
            await other.close()
            throw error
        }
    }

    /// Rolls back a prepared transaction in the database that a connection leads to.
    ///
    /// - Returns: False when it was gone already.
    @discardableResult
    func rollBack(_ transaction: PreparedTransaction, over other: PostgresConnection) async throws -> Bool {
        try await other.query(PostgresStatement(ddl: transaction.actAsOwner))
        do {
            try await other.query(PostgresStatement(ddl: transaction.rollback))
            self.tally.didRollBack()
            return true
        } catch {
            // Somebody else was faster, unless it is still there: then the server knows it by another name.
            guard error.sqlState == "42704" else { throw error }
            guard try await other.query(RemovalQueries.isGone(transaction.identifier)).single(as: Bool.self) else {
                throw AdminError(
                    .removalIncomplete,
                    "the prepared transaction \(transaction.identifier) of \(transaction.owner) in the database "
                        + "\(transaction.database) can't be rolled back by its name; do that there as a superuser, then call again",
                    tenant: self.target.name, underlying: error)
            }
            return false
        }
    }

    /// Lets the administrator act as the group of all tenants' logins; only needed where a tenant has acted as it.
    ///
    /// The membership stays: other removals may need it at the same moment, and the administrator may take it at any time.
    func joinGroup() async throws {
        _ = try await self.connection.query(
            PostgresStatement(ddl: self.target.sql.membership(in: self.target.tenantsRole)))
    }

    private func busy(_ error: any Error) async -> AdminError {
        // Those who hold what is to be removed, and those who kept the last attempt waiting by something else.
        let query = RemovalQueries.lockHolders(in: self.target.schemaOID, roles: self.target.roleOIDs)
        let rows = try? await self.connection.read(query, lockTimeout: self.patience.lockTimeout())
        let holders = (rows.map(Array.init) ?? []).compactMap { try? LockHolder($0) }
        let list = LockHolder.list(self.tally.blockers.filter { !holders.contains($0) } + holders)
        return AdminError(
            .busy,
            "what is to be removed, or a catalog that tells of it, was locked by \(list) for longer than \(self.patience.total); end those, then call again",
            tenant: self.target.name, underlying: error)
    }
}

extension PostgresConnection {
    /// Reads with a bound on the wait for locks, in milliseconds, which holds before the query is prepared: that takes locks as well.
    func read(_ query: PostgresStatement, lockTimeout: Int64) async throws -> PostgresRows {
        try await self.withTransaction { transaction in
            try await transaction.query(RemovalQueries.limits(lockTimeout: lockTimeout))
            return try await transaction.query(query)
        }
    }
}
