/// One lease of a connection: its label and its number, which no other lease of the connection has.
struct LeaseScope: Sendable {
    let label: PostgresLabel
    let number: UInt64
}

/// What is known about the label (search path and role) that the server's session has. A pure value.
///
/// A relabelling travels in one implicit transaction with the statements it is for: if they fail, the server takes the
/// setting back, and so does this. Whenever the label is not certain, the next statement binds it again.
struct LabelBinding {
    /// The label that the session certainly has; `nil` when unknown or never set.
    private(set) var bound: PostgresLabel?
    /// Whether the label was set inside a transaction block that is still open.
    private var isProvisional = false
    /// The lease whose own SQL ran since the label was last confirmed.
    private var unconfirmedSince: UInt64?

    /// Whether a statement of a lease has to bind the lease's label first.
    ///
    /// What a lease does to its own session is its own business; the next lease confirms the label by binding it again.
    func needsBinding(for scope: LeaseScope) -> Bool {
        if self.bound != scope.label { return true }
        guard let unconfirmedSince else { return false }
        return unconfirmedSince != scope.number
    }

    /// The label that the session should still have, for comparison with what the server says; `nil` if unknown.
    var expected: PostgresLabel? { self.bound }

    mutating func didBind(_ label: PostgresLabel, inTransaction: Bool) {
        self.bound = label
        self.isProvisional = inTransaction
        self.unconfirmedSince = nil
    }

    /// The statements that carried a binding failed, so the server rolled it back.
    mutating func didFailWhileBinding() {
        self.bound = nil
        self.isProvisional = false
    }

    /// The caller's own SQL ran: it may have changed path or role without our seeing it.
    mutating func didRunForeignSQL(in lease: UInt64) { self.unconfirmedSince = lease }

    /// A transaction block ended; after a rollback a label that was set inside it is gone.
    mutating func didEndTransaction(committed: Bool) {
        if self.isProvisional, !committed { self.bound = nil }
        self.isProvisional = false
    }

    /// Whether PostgreSQL would understand the label's names as they are: it cuts long names, stops at a NUL, and takes
    /// the role `none` for the login's own.
    static func isFaithful(_ label: PostgresLabel) -> Bool {
        [label.schema, label.role ?? "r"].allSatisfy { (1...63).contains($0.utf8.count) && !$0.utf8.contains(0) }
            && label.role != "none"
    }

    /// Binds the path and the role, answering what they were before. The cast stops everything when the schema is missing.
    ///
    /// Every name is qualified: the path that is in force here is the last tenant's, who may own a `set_config` too.
    static func statement(for label: PostgresLabel) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT pg_catalog.current_setting('search_path'), pg_catalog.current_setting('role'), \
                $1::pg_catalog.regnamespace IS NOT NULL, pg_catalog.set_config('search_path', $2, false), \
                pg_catalog.set_config('role', $3, false)
                """,
            [.text(PostgresIdentifier.quote(label.schema)), .text(label.searchPath), .text(label.role ?? "none")])
    }
}
