import CloacinaPostgres

/// The session's user, the role it acts as and its path: what a migration must leave as it was.
struct SessionIdentity: Sendable, Hashable {
    let session: String
    let current: String
    let path: String

    static let query = PostgresStatement(
        """
        SELECT session_user::pg_catalog.text AS session, current_user::pg_catalog.text AS current, \
        pg_catalog.current_setting('search_path') AS path
        """)

    /// Fails with ``assertionFailure`` unless the session acts on a target's behalf: before anything is written that another
    /// role may not write.
    static func assertion(_ target: MigrationTarget) -> PostgresStatement {
        PostgresStatement(
            """
            SELECT 1 OPERATOR(pg_catalog./) CASE WHEN pg_catalog.current_setting('search_path') OPERATOR(pg_catalog.=) $1 \
            AND current_user::pg_catalog.text OPERATOR(pg_catalog.=) coalesce($2, current_user::pg_catalog.text) \
            THEN 1 ELSE 0 END
            """, [.text(target.searchPath), target.owner.postgresValue])
    }

    /// The SQLSTATE of an assertion that does not hold.
    static let assertionFailure = "22012"

    init(_ row: PostgresRow) throws(PostgresError) {
        self.session = try row.value("session")
        self.current = try row.value("current")
        self.path = try row.value("path")
    }

    /// True when the session still acts on a target's behalf.
    func serves(_ target: MigrationTarget) -> Bool {
        self.path == target.searchPath && self.current == target.owner ?? self.current
    }

    /// The advice about a migration that changed it.
    static let advice =
        "it changed as whom the session acts or where it looks, which is the runner's to decide; take that out of the file"
}

extension PostgresRows {
    /// True when the rows are an identity that still acts on a target's behalf.
    func serves(_ target: MigrationTarget) -> Bool {
        guard let row = self.first, let identity = try? SessionIdentity(row) else { return false }
        return identity.serves(target)
    }
}

extension MigrationRunner {
    /// The session's identity now.
    func identity(_ schema: String) async throws(MigrationError) -> SessionIdentity {
        try await self.asking(schema) { () throws(PostgresError) in
            try SessionIdentity(try await self.connection.query(SessionIdentity.query)[0])
        }
    }

    /// Compares with what the session was before a migration, and closes one that is somebody else now.
    func check(_ before: SessionIdentity, after job: MigrationJob) async throws(MigrationError) {
        guard try await self.identity(job.target.schema) != before else { return }
        try await self.closeChanged(after: job)
    }

    /// Compares what the session was found to be after a migration's transaction with what it was before, and closes it when
    /// that differs.
    func check(_ found: PostgresRows?, after job: MigrationJob) async throws(MigrationError) {
        guard let row = found?.first, let now = try? SessionIdentity(row), now == job.session else {
            return try await self.closeChanged(after: job)
        }
    }

    private func closeChanged(after job: MigrationJob) async throws(MigrationError) {
        await self.connection.close()
        throw job.error(.sessionChanged, reason: SessionIdentity.advice + "; it had been committed")
    }
}
