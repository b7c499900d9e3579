import CloacinaPostgres

extension MigrationRunner {
    /// Runs a closure while holding leases, which are taken in the order given and always given back.
    ///
    /// Each is only ever tried, between statements of their own: a session that waits inside a statement holds a
    /// snapshot, and `CREATE INDEX CONCURRENTLY` elsewhere would wait for it while it waits for us.
    /// - Throws: ``MigrationError/Code/lockBusy`` when a lease stays taken for longer than
    ///   ``MigrationRunner/Configuration/lockWait``.
    package func holding<R>(
        _ leases: [Lease], schema: String, _ body: () async throws(MigrationError) -> R
    ) async throws(MigrationError) -> R {
        let keeper = LeaseKeeper(connection: self.connection, schema: self.configuration.leaseSchema)
        var held: [HeldLease] = []
        do throws(MigrationError) {
            for lease in leases {
                held.append(
                    try await keeper.acquire(
                        lease, within: self.configuration.lockWait, pollInterval: self.configuration.lockPollInterval,
                        pace: self.pace, makesTable: true))
            }
            let result = try await body()
            await self.release(held, by: keeper)
            return result
        } catch {
            await self.release(held, by: keeper)
            throw error.schema == nil ? error.inSchema(schema) : error
        }
    }

    private func release(_ leases: [HeldLease], by keeper: LeaseKeeper) async {
        // A session that can't give its leases back must not keep them.
        if await !keeper.release(leases) { await self.connection.close() }
    }

    /// Who is in the way; nobody when that can't be seen.
    func sessions(_ statement: PostgresStatement) async -> [MigrationError.Session] {
        await self.connection.sessions([statement])
    }

    func wait(_ duration: Duration) async throws(MigrationError) {
        do {
            try await self.pace.sleep(duration)
        } catch {
            throw MigrationError(.cancelled, underlying: error)
        }
    }
}
