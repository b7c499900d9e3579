import CloacinaPostgres

/// One run of giving a tenant's logins other limits, although the tenant's own sessions may hold those logins.
///
/// Every attempt waits for locks for a moment only. After one that failed the tenant's sessions that are in the way are ended,
/// and it is made once more, until the patience is used up: twice at least.
struct LimitChange {
    let name: String
    let limits: StoredLimits
    let connection: PostgresConnection
    let patience: RemovalPatience

    /// The pause after a failed attempt: some fail at once.
    private static let pause: Duration = .milliseconds(20)

    /// Makes the change.
    ///
    /// - Returns: The sessions that were ended for it.
    /// - Throws: ``AdminError`` with ``AdminError/Code/busy``, which names who is in the way, or what no other attempt mends.
    func run() async throws -> [LockHolder] {
        var ended: [LockHolder] = []
        var isFirst = true
        while true {
            do {
                try await self.attempt()
                return ended
            } catch {
                guard RemovalPatience.isPassing(error) else { throw error }
                if self.patience.isOver(), !isFirst { throw await self.busy(error) }
            }
            isFirst = false
            ended += try await self.relieve()
            try await ContinuousClock().sleep(for: Self.pause)
        }
    }

    private func attempt() async throws {
        try await self.connection.withTransaction { transaction in
            let found = try await transaction.pipeline([
                RemovalQueries.limits(lockTimeout: self.patience.lockTimeout()), LimitQueries.target(self.name),
            ])
            let target = try LimitTarget(found[1], name: self.name)
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
        try await self.connection.query(LimitQueries.roleChangers(ofTenant: self.name))
            .filter { try $0.value("is_own", as: Bool.self) == own }.map(LockHolder.init)
    }

    /// Ends the tenant's own sessions that are in the way; each is in the audit trail.
    private func relieve() async throws -> [LockHolder] {
        var ended: [LockHolder] = []
        for holder in try await self.holders(own: true) {
            do {
                guard try await self.end(holder) else { continue }
                try await self.connection.query(
                    LimitQueries.audit("tenant.session_ended", name: self.name, detail: holder.description))
                ended.append(holder)
            } catch {
                // The next attempt tells; the others are ended all the same.
                if error is CancellationError || AdminError.isConnectionLoss(error) { throw error }
            }
        }
        return ended
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
        let holders = ((try? await self.holders(own: true)) ?? []) + ((try? await self.holders(own: false)) ?? [])
        let list = holders.isEmpty ? "other sessions" : holders.map(\.description).joined(separator: ", ")
        return AdminError(
            .busy,
            "the tenant's logins, or its row in the registry, were locked for longer than \(self.patience.total); roles are "
                + "being changed by \(list): end those, then call again",
            tenant: self.name, underlying: error)
    }
}
