import CloacinaPostgres

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Statements on the table of leases in one schema.
struct LeaseQueries: Sendable, Hashable {
    let schema: String
    /// The number of the connection that takes leases: a pooler may let others use its backend, which so have its process id.
    let session: Int64

    private var table: String { PostgresIdentifier.quote(self.schema) + ".leases" }

    /// Makes the table where it is missing. It is unlogged: a crash of the server ends every session, and so every lease.
    var creation: [PostgresStatement] {
        [
            "CREATE SCHEMA IF NOT EXISTS \(PostgresIdentifier.quote(self.schema))",
            """
            CREATE UNLOGGED TABLE IF NOT EXISTS \(self.table) (
                token uuid PRIMARY KEY, object text NOT NULL, is_shared boolean NOT NULL, pid integer NOT NULL,
                backend_start timestamptz, holder oid NOT NULL, actor text NOT NULL, application text NOT NULL,
                taken_at timestamptz NOT NULL DEFAULT clock_timestamp(), session bigint NOT NULL)
            """,
        ].map { PostgresStatement($0, prepared: false) }
    }

    /// Which of the statements of ``attempt(_:token:pid:)`` tells the backend, and which one whether the lease was taken.
    static let backendIndex = 3
    static let takenIndex = 5

    /// Takes a lease unless somebody who lives holds it: one short transaction in one flush.
    ///
    /// A holder lives while its backend does: the same process id, role and, where that may be seen, start. Waiting for the
    /// table's lock takes no snapshot, so nobody's `CREATE INDEX CONCURRENTLY` waits for this.
    func attempt(_ lease: Lease, token: UUID, pid: Int32) -> [PostgresStatement] {
        [
            PostgresStatement("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", prepared: false),
            PostgresStatement("SET LOCAL lock_timeout TO '2s'", prepared: false),
            PostgresStatement("LOCK TABLE \(self.table) IN EXCLUSIVE MODE", prepared: false),
            PostgresStatement("SELECT pg_catalog.pg_backend_pid() AS pid", []),
            PostgresStatement(
                """
                DELETE FROM \(self.table) l WHERE NOT EXISTS (
                    SELECT FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_database d ON d.oid = a.datid
                    WHERE d.datname = pg_catalog.current_database() AND a.pid = l.pid AND a.usesysid = l.holder
                      AND (a.backend_start = l.backend_start) IS NOT FALSE)
                """, []),
            PostgresStatement(
                """
                INSERT INTO \(self.table) (token, object, is_shared, pid, backend_start, holder, actor, application, session)
                SELECT $1, $2, $3, a.pid, a.backend_start, a.usesysid, session_user,
                       pg_catalog.current_setting('application_name'), $5
                FROM pg_catalog.pg_stat_activity a
                WHERE a.pid = pg_catalog.pg_backend_pid() AND a.pid = $4 AND NOT EXISTS (
                    SELECT FROM \(self.table) l
                    WHERE l.object = $2 AND NOT (l.is_shared AND $3) AND l.session <> $5)
                RETURNING pid
                """, [.uuid(token), .text(lease.object), .bool(lease.isShared), .int32(pid), .int64(self.session)]),
            PostgresStatement(Self.commit, prepared: false),
        ]
    }

    /// The end of the last statement of an attempt and of a look, by which a session that waits for a lease is known in
    /// `pg_stat_activity`.
    static let mark = "/* lease */"
    static let commit = "COMMIT \(Self.mark)"

    /// Tells if somebody else who lives holds it, without the table's lock: those who wait don't hold each other up.
    func isTaken(_ lease: Lease) -> [PostgresStatement] {
        [
            Self.boundedWait,
            PostgresStatement(
                """
                SELECT EXISTS (
                    SELECT FROM \(self.table) l
                    JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid AND a.usesysid = l.holder
                        AND (a.backend_start = l.backend_start) IS NOT FALSE
                    WHERE l.object = $1 AND NOT (l.is_shared AND $2) AND l.session <> $3
                ) AS taken \(Self.mark)
                """, [.text(lease.object), .bool(lease.isShared), .int64(self.session)]),
        ]
    }

    /// Bounds how long the rest of a flush waits for whoever locks the table.
    private static let boundedWait = PostgresStatement("SELECT pg_catalog.set_config('lock_timeout', '2s', true)", [])

    /// Gives leases back, unless somebody locks the table for ten times as long as an attempt waits for it: who is after it waits
    /// for this in any case, and a session that can't give its leases back has to be closed.
    func release(_ leases: [HeldLease]) -> [PostgresStatement] {
        [
            PostgresStatement("SELECT pg_catalog.set_config('lock_timeout', '20s', true)", []),
            PostgresStatement(
                "DELETE FROM \(self.table) WHERE token::text = ANY ($1)",
                [.textArray(leases.map { $0.token.uuidString.lowercased() })]),
        ]
    }

    /// Tells if leases of this session all stand. Their session lives, or could not ask; somebody may have deleted a row by hand.
    func areHeld(_ leases: [HeldLease]) -> [PostgresStatement] {
        [
            Self.boundedWait,
            PostgresStatement(
                """
                SELECT pg_catalog.count(*) OPERATOR(pg_catalog.=) $2 AS held FROM \(self.table)
                WHERE token::text = ANY ($1) AND pid = pg_catalog.pg_backend_pid()
                """,
                [.textArray(leases.map { $0.token.uuidString.lowercased() }), .int64(Int64(clamping: leases.count))]),
        ]
    }

    /// Who keeps others from a lease.
    func holders(of lease: Lease) -> [PostgresStatement] {
        [
            Self.boundedWait,
            PostgresStatement(
                """
                SELECT l.pid, l.actor AS role, l.application AS application_name, a.state, l.taken_at AS since
                FROM \(self.table) l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid AND a.usesysid = l.holder
                WHERE l.object = $1 AND NOT (l.is_shared AND $2) AND l.session <> $3
                ORDER BY since LIMIT 20
                """, [.text(lease.object), .bool(lease.isShared), .int64(self.session)]),
        ]
    }
}
