/// One lease of a connection: its label, its number, which no other lease of the connection has, and what else its
/// statements run under.
struct LeaseScope: Sendable {
    let label: PostgresLabel
    let number: UInt64
    /// How long the statements wait for locks.
    var lockTimeout = LockTimeout.standard
    /// Whether the statements are the engine's own, which run READ COMMITTED whatever the database's default is.
    var isEngine = false
}

/// What is known about the label (search path and role) that the server's session has. A pure value; see
/// ``SessionSetting``.
struct LabelBinding {
    private var label = SessionSetting<PostgresLabel>()

    /// The label that the session certainly has; `nil` when unknown or never set.
    var bound: PostgresLabel? { self.label.bound }

    /// Whether a statement of a lease has to bind the lease's label first.
    func needsBinding(for scope: LeaseScope) -> Bool {
        self.label.needsSetting(scope.label, lease: scope.number)
    }

    /// The label that the session should still have, for comparison with what the server says; `nil` if unknown.
    var expected: PostgresLabel? { self.bound }

    mutating func didBind(_ label: PostgresLabel, inTransaction: Bool) {
        self.label.didSet(label, inTransaction: inTransaction)
    }

    /// The statements that carried a binding failed, so the server rolled it back.
    mutating func didFailWhileBinding() { self.label.forget() }

    /// The label means nothing any more: its schema or role may have been made anew.
    mutating func forget() { self.label.forget() }

    /// The caller's own SQL ran: it may have changed path or role without our seeing it.
    mutating func didRunForeignSQL(in lease: UInt64) { self.label.didRunForeignSQL(in: lease) }

    /// A transaction block ended; after a rollback a label that was set inside it is gone.
    mutating func didEndTransaction(committed: Bool) { self.label.didEndTransaction(committed: committed) }

    /// Whether PostgreSQL would understand the label's names as they are: it cuts long names, stops at a NUL, and takes
    /// the role `none` for the login's own.
    static func isFaithful(_ label: PostgresLabel) -> Bool {
        [label.schema, label.role ?? "r"].allSatisfy { (1...63).contains($0.utf8.count) && !$0.utf8.contains(0) }
            && label.role != "none"
    }

    /// Binds the path, the role and the lock timeout, answering what path, role and default isolation were before. The
    /// cast stops everything when the schema is missing, the division when the backend is not the one that was
    /// connected to.
    ///
    /// Every name is qualified: the path that is in force here is the last tenant's, who may own a `set_config` too.
    static func statement(
        for label: PostgresLabel, lockTimeout: LockTimeout = .standard, backendPID: Int32? = nil, prepared: Bool = true
    ) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT pg_catalog.current_setting('search_path'), pg_catalog.current_setting('role'), \
                pg_catalog.current_setting('default_transaction_isolation'), \
                1 OPERATOR(pg_catalog./) CASE WHEN $5::pg_catalog.int4 IS NULL \
                OR pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) $5::pg_catalog.int4 THEN 1 ELSE 0 END, \
                $1::pg_catalog.regnamespace IS NOT NULL, pg_catalog.set_config('search_path', $2, false), \
                pg_catalog.set_config('role', $3, false), pg_catalog.set_config('lock_timeout', $4, false)
                """,
            [
                .text(PostgresIdentifier.quote(label.schema)), .text(label.searchPath), .text(label.role ?? "none"),
                lockTimeout.bind, backendPID.map { .int32($0) } ?? .null,
            ], prepared: prepared)
    }
}
