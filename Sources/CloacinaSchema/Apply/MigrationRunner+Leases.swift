import CloacinaPostgres

/// The leases under which something is done, with the session that holds them.
package struct LeaseHold: Sendable {
    let keeper: LeaseKeeper
    let leases: [HeldLease]
    /// True when another session than the working one holds them: it can end while the working one goes on.
    let isElsewhere: Bool

    /// Fails with ``SessionIdentity/assertionFailure`` when the session that holds the leases has ended, and they with it; asked by
    /// the working session before it commits. None while the working session itself holds them.
    ///
    /// Somebody who deletes a lease's row is not seen by this: who then runs the same file finds it in the history.
    var assertion: [PostgresStatement] {
        guard self.isElsewhere else { return [] }
        return [
            PostgresStatement(
                """
                SELECT pg_catalog.pg_stat_clear_snapshot(), 1 OPERATOR(pg_catalog./) CASE WHEN EXISTS (
                    SELECT FROM pg_catalog.pg_stat_get_activity($1)) THEN 1 ELSE 0 END
                """, [.int32(self.keeper.holder)])
        ]
    }

    /// The reason when it has.
    static let lostSession =
        "the administrator's session ended, and its lease with it; what was not committed was rolled back"

    /// Makes sure that the leases still stand, before something is done under them that no transaction holds together.
    ///
    /// Nothing is asked while the working session itself holds them: they last as long as it does.
    /// - Throws: ``MigrationError`` with ``MigrationError/Code/lockBusy`` when one is lost, or what broke.
    func confirm() async throws(MigrationError) {
        guard self.isElsewhere else { return }
        let areHeld: Bool
        do throws(PostgresError) {
            areHeld = try await self.keeper.areHeld(self.leases)
        } catch {
            throw MigrationError(
                error.migrationCode ?? .serverRefused,
                reason:
                    "the administrator's session could not confirm its lease; what was not committed was rolled back",
                underlying: error)
        }
        guard !areHeld else { return }
        throw MigrationError(
            .lockBusy,
            reason:
                "this process lost its lease, a row of cloacina.leases, before the commit; what was not committed was "
                + "rolled back: look who else is at work, then run the same command again")
    }

    /// Makes sure of them on behalf of a file, which the failure names.
    func confirmed(for job: MigrationJob) async throws(MigrationError) {
        do throws(MigrationError) { try await self.confirm() } catch { throw job.error(error) }
    }
}

extension MigrationRunner {
    /// Runs a closure while holding leases, which are taken in the order given and always given back.
    ///
    /// Each is only ever tried, between statements of their own: a session that waits inside a statement holds a
    /// snapshot, and `CREATE INDEX CONCURRENTLY` elsewhere would wait for it while it waits for us.
    /// - Throws: ``MigrationError/Code/lockBusy`` when a lease stays taken for longer than
    ///   ``MigrationRunner/Configuration/lockWait``.
    package func holding<R>(
        _ leases: [Lease], schema: String, _ body: (LeaseHold) async throws(MigrationError) -> R
    ) async throws(MigrationError) -> R {
        guard let result = try await self.holding(leases, schema: schema, unless: { false }, body) else {
            throw MigrationError(.cancelled, schema: schema)
        }
        return result
    }

    /// The same, until there is nothing more to do under them; nil when others who held them had done it.
    func holding<R>(
        _ leases: [Lease], schema: String, unless isDone: () async -> Bool,
        _ body: (LeaseHold) async throws(MigrationError) -> R
    ) async throws(MigrationError) -> R? {
        let keeper = LeaseKeeper(connection: self.leaseSession, schema: self.configuration.leaseSchema)
        var held: [HeldLease] = []
        do throws(MigrationError) {
            for lease in leases {
                let next = try await keeper.acquire(
                    lease, within: self.configuration.lockWait, pollInterval: self.configuration.lockPollInterval,
                    pace: self.pace, makesTable: true, unless: isDone)
                guard let next else {
                    await self.release(held, by: keeper)
                    return nil
                }
                held.append(next)
            }
            let result = try await body(
                LeaseHold(keeper: keeper, leases: held, isElsewhere: self.administrator != nil))
            await self.release(held, by: keeper)
            return result
        } catch {
            await self.release(held, by: keeper)
            throw error.schema == nil ? error.inSchema(schema) : error
        }
    }

    private func release(_ leases: [HeldLease], by keeper: LeaseKeeper) async {
        // A session that can't give its leases back must not keep them.
        if await !keeper.release(leases) { await self.leaseSession.close() }
    }

    /// Who is in the way; nobody when that can't be seen.
    func sessions(_ statement: PostgresStatement) async -> [MigrationError.Session] {
        await self.leaseSession.sessions([statement])
    }

    func wait(_ duration: Duration) async throws(MigrationError) {
        do {
            try await self.pace.sleep(duration)
        } catch {
            throw MigrationError(.cancelled, underlying: error)
        }
    }
}
