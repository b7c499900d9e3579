package import CloacinaPostgres

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Takes leases for one session and gives them back.
package struct LeaseKeeper: Sendable {
    /// What came of one attempt.
    package enum Attempt: Sendable, Hashable {
        case taken(HeldLease)
        /// Somebody who lives holds it.
        case held
        /// Too many asked at the same moment, or something else locks the table.
        case contended
    }

    private let connection: PostgresConnection
    private let queries: LeaseQueries

    /// The process id of the session that holds what is taken.
    var holder: Int32 { self.connection.backendPID }

    /// A keeper for a connection that nothing else uses meanwhile.
    ///
    /// - Parameters:
    ///   - schema: Where the table of leases is; no tenant may have USAGE on it.
    ///   - session: The number by which it knows its own leases; the connection's by default.
    package init(connection: PostgresConnection, schema: String, session: Int64? = nil) {
        self.connection = connection
        self.queries = LeaseQueries(schema: schema, session: session ?? connection.number)
    }

    /// Makes the table, with its schema, where it is missing. Others may do the same at the same moment.
    package func makeTable() async throws(PostgresError) {
        for _ in 0..<Self.races {
            do throws(PostgresError) {
                _ = try await self.connection.pipeline(self.queries.creation)
                return
            } catch {
                guard ["23505", "42P06", "42P07", "42710", "XX000"].contains(error.sqlState) else { throw error }
            }
        }
        _ = try await self.connection.pipeline(self.queries.creation)
    }

    /// How often a lost race to make the table is run again.
    private static let races = 5

    /// Tries once to take a lease, without waiting for its holder. A session never keeps itself out.
    ///
    /// - Throws: ``PostgresError``; then nothing is held. With ``PostgresError/Code/poolerUnsupported`` a pooler sits between: one
    ///   that hands sessions on may give the attempt to another, and one that doesn't keeps a session, and its leases, for whoever
    ///   comes after a client that was killed.
    package func attempt(_ lease: Lease) async throws(PostgresError) -> Attempt {
        guard !self.connection.isPooled else { throw Self.pooled }
        let held = HeldLease(lease: lease, token: UUID())
        let results: [PostgresRows]
        do throws(PostgresError) {
            results = try await self.connection.pipeline(
                self.queries.attempt(lease, token: held.token, pid: self.connection.backendPID))
        } catch {
            let isContended = ["55P03", "40P01"].contains(error.sqlState)
            await self.undo(held, isRolledBack: isContended)
            if isContended { return .contended }
            throw error
        }
        guard try results[LeaseQueries.backendIndex].single(as: Int32.self) == self.connection.backendPID else {
            throw Self.pooled
        }
        return results[LeaseQueries.takenIndex].isEmpty ? .held : .taken(held)
    }

    private static let pooled = PostgresError(
        .poolerUnsupported,
        advice: "a pooler sits between; administration and migrations need a direct connection to the server")

    /// Waits for a lease, between statements and never inside one.
    ///
    /// - Throws: ``MigrationError`` with ``MigrationError/Code/lockBusy``, which names the holders, when it stays taken;
    ///   or what broke.
    package func acquire(
        _ lease: Lease, within patience: Duration, pollInterval: Duration, pace: MigrationPace = MigrationPace(),
        makesTable: Bool = false
    ) async throws(MigrationError) -> HeldLease {
        let held = try await self.acquire(
            lease, within: patience, pollInterval: pollInterval, pace: pace, makesTable: makesTable, unless: { false })
        // Nothing but the closure ends the wait without a lease.
        guard let held else { throw MigrationError(.cancelled) }
        return held
    }

    /// The same, until there is nothing more to do under it.
    ///
    /// - Parameter isDone: Asked after each look that finds it taken.
    /// - Returns: Nil when `isDone` said so first; nothing is held then.
    func acquire(
        _ lease: Lease, within patience: Duration, pollInterval: Duration, pace: MigrationPace, makesTable: Bool,
        unless isDone: () async -> Bool
    ) async throws(MigrationError) -> HeldLease? {
        let limit = pace.now().advanced(by: patience)
        var attempts = 0
        while true {
            let attempt: Attempt
            let isTaken = attempts == 0 ? false : await self.isTaken(lease)
            do throws(PostgresError) {
                attempt = isTaken ? .held : try await self.attempt(lease)
            } catch {
                guard makesTable, attempts == 0, ["42P01", "3F000"].contains(error.sqlState) else {
                    throw Self.error(error)
                }
                do throws(PostgresError) { try await self.makeTable() } catch { throw Self.error(error) }
                attempts += 1
                continue
            }
            attempts += 1
            switch attempt {
            case .taken(let held): return held
            case .held, .contended: if await isDone() { return nil }
            }
            switch attempt {
            case .held where pace.now() >= limit, .contended where pace.now() >= limit && attempts >= 3:
                throw MigrationError(
                    .lockBusy, reason: "another process holds the lease on \(lease.object)",
                    sessions: await self.holders(of: lease), lease: lease.object)
            case .taken, .held, .contended: break
            }
            do {
                try await pace.sleep(pollInterval * (0.5 + pace.random()))
            } catch {
                throw MigrationError(.cancelled, underlying: error)
            }
        }
    }

    /// A look before another attempt, which would lock the table; false when it can't be had.
    private func isTaken(_ lease: Lease) async -> Bool {
        (try? await self.connection.pipeline(self.queries.isTaken(lease))[1].single()) ?? false
    }

    private static func error(_ error: PostgresError) -> MigrationError {
        if error.code == .poolerUnsupported {
            return MigrationError(.pooledConnection, reason: error.advice, underlying: error)
        }
        return MigrationError(error.migrationCode ?? .serverRefused, underlying: error)
    }

    /// Gives leases back, even in a cancelled task; says whether that worked.
    ///
    /// When it did not, closing the connection ends them. It is never part of the flush whose work they protect: whoever
    /// takes a lease next must see what was committed under it.
    @discardableResult
    package func release(_ leases: [HeldLease]) async -> Bool {
        guard !leases.isEmpty else { return true }
        let (connection, statements) = (self.connection, self.queries.release(leases))
        // In a task of its own, awaited at once: cancellation must not keep a lease.
        return await Task { (try? await connection.pipeline(statements)) != nil }.value
    }

    /// Whether a lease still stands.
    package func isHeld(_ held: HeldLease) async throws(PostgresError) -> Bool {
        try await self.areHeld([held])
    }

    /// True when all of several leases still stand.
    package func areHeld(_ leases: [HeldLease]) async throws(PostgresError) -> Bool {
        try await self.connection.pipeline(self.queries.areHeld(leases))[1].single()
    }

    /// Who keeps others from a lease; nobody when that can't be seen.
    package func holders(of lease: Lease) async -> [MigrationError.Session] {
        await self.connection.sessions(self.queries.holders(of: lease))
    }

    /// Leaves nothing of an attempt that failed: neither its transaction nor, when its answer alone was lost, its row.
    private func undo(_ held: HeldLease, isRolledBack: Bool) async {
        let (connection, release) = (self.connection, self.queries.release([held]))
        await Task {
            let rollback = PostgresStatement("ROLLBACK", prepared: false)
            guard (try? await connection.query(rollback)) != nil else { return await connection.close() }
            if !isRolledBack { _ = try? await connection.pipeline(release) }
        }.value
    }
}

extension PostgresConnection {
    /// Sessions that are in the way, told by the last of a flush of statements; none when they can't be seen.
    func sessions(_ statements: [PostgresStatement]) async -> [MigrationError.Session] {
        let rows = (try? await self.pipeline(statements))?.last.map(Array.init) ?? []
        return rows.compactMap { row in
            try? MigrationError.Session(row)
        }
    }
}

extension MigrationError.Session {
    /// Reads a row of `pid`, `application_name`, `role`, `state` and `since`.
    init(_ row: PostgresRow) throws(PostgresError) {
        self.init(
            pid: try row.value("pid"), applicationName: try row.value("application_name"),
            role: (try? row.value("role", as: String?.self)) ?? nil, state: try row.value("state"),
            since: try row.value("since"))
    }
}
