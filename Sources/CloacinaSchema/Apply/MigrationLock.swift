import CloacinaPostgres

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// An advisory lock of the session, by which migrating processes keep out of each other's way.
package struct MigrationLock: Sendable, Hashable {
    /// The first key of every lock; the second is the schema's OID, or 0 for the fleet.
    package static let key: Int32 = 0x434C_4F41  // CLOA

    let object: UInt32
    let isShared: Bool

    /// Held while a tenant is migrated; many may hold it.
    package static let tenants = Self(object: 0, isShared: true)
    /// Held while what all tenants share is migrated; excludes everybody else.
    package static let control = Self(object: 0, isShared: false)
    /// Held while this schema is migrated.
    package static func schema(_ oid: UInt32) -> Self { Self(object: oid, isShared: false) }

    private var keys: [PostgresValue] { [.int32(Self.key), .int32(Int32(bitPattern: self.object))] }
    private var suffix: String { self.isShared ? "_shared" : "" }

    var attempt: PostgresStatement {
        PostgresStatement(
            "SELECT pg_backend_pid() AS pid, pg_try_advisory_lock\(self.suffix)($1, $2) AS locked", self.keys)
    }

    var release: PostgresStatement {
        PostgresStatement("SELECT pg_advisory_unlock\(self.suffix)($1, $2) AS released", self.keys)
    }

    var holders: PostgresStatement {
        PostgresStatement(
            """
            SELECT a.pid, coalesce(a.application_name, '') AS application_name, a.state,
                   coalesce(a.xact_start, a.backend_start) AS since
            FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
            WHERE l.locktype = 'advisory' AND l.granted AND l.classid = $1 AND l.objid = $2 AND l.objsubid = 2
              AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
              AND a.pid <> pg_backend_pid()
            ORDER BY since LIMIT 20
            """, [.oid(UInt32(bitPattern: Self.key)), .oid(self.object)])
    }
}

extension MigrationRunner {
    /// Runs a closure while holding locks, which are taken in the order given and always given back.
    ///
    /// Each is only ever tried, between statements of their own: a session that waits inside `pg_advisory_lock` holds a
    /// snapshot, and `CREATE INDEX CONCURRENTLY` elsewhere would wait for it while it waits for us.
    /// - Throws: ``MigrationError/Code/lockBusy`` when a lock stays taken for longer than
    ///   ``MigrationRunner/Configuration/lockWait``.
    package func holding<R>(
        _ locks: [MigrationLock], schema: String, _ body: () async throws(MigrationError) -> R
    ) async throws(MigrationError) -> R {
        var held: [MigrationLock] = []
        do throws(MigrationError) {
            for lock in locks {
                try await self.acquire(lock, schema: schema)
                held.append(lock)
            }
            let result = try await body()
            await self.release(held)
            return result
        } catch {
            await self.release(held)
            throw error
        }
    }

    private func acquire(_ lock: MigrationLock, schema: String) async throws(MigrationError) {
        let limit = self.pace.now().advanced(by: self.configuration.lockWait)
        while true {
            let isLocked = try await self.asking(schema) { () throws(PostgresError) in
                let row = try await self.connection.query(lock.attempt)[0]
                return (pid: try row.value("pid", as: Int32.self), locked: try row.value("locked", as: Bool.self))
            }
            guard isLocked.pid == self.connection.backendPID else {
                throw MigrationError(
                    .pooledConnection, schema: schema,
                    reason: "a pooler sits between; migrations need a direct connection to the server")
            }
            if isLocked.locked { return }
            if self.pace.now() >= limit {
                throw MigrationError(
                    .lockBusy, schema: schema, reason: "another process is migrating",
                    sessions: await self.sessions(lock.holders))
            }
            try await self.wait(self.configuration.lockPollInterval * (0.5 + self.pace.random()))
        }
    }

    /// Gives locks back even in a cancelled task; hence a task of its own, awaited at once.
    private func release(_ locks: [MigrationLock]) async {
        guard !locks.isEmpty else { return }
        let connection = self.connection
        await Task {
            // When this fails the session is over, and its locks with it.
            _ = try? await connection.pipeline(locks.reversed().map(\.release))
        }.value
    }

    /// Who is in the way; nobody when that can't be seen.
    func sessions(_ statement: PostgresStatement) async -> [MigrationError.Session] {
        let rows = (try? await self.connection.query(statement)).map(Array.init) ?? []
        return rows.compactMap { row in
            try? MigrationError.Session(
                pid: row.value("pid"), applicationName: row.value("application_name"), state: row.value("state"),
                since: row.value("since"))
        }
    }

    func wait(_ duration: Duration) async throws(MigrationError) {
        do {
            try await self.pace.sleep(duration)
        } catch {
            throw MigrationError(.cancelled, underlying: error)
        }
    }
}
