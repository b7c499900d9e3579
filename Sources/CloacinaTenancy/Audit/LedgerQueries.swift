import CloacinaPostgres
import FoundationEssentials

/// One operation's rows in the ledger; what is about no tenant has an empty name there. Each method returns a statement for the
/// step's own flush or transaction.
struct OperationLedger: Sendable {
    /// What is being done.
    enum Kind: String, Sendable { case bootstrap, create, remove, adopt, migrate, reissue, access }

    let id = UUID()
    let kind: Kind
    let tenant: String

    /// Records that a step is under way.
    ///
    /// - Parameter secretDigest: What tells the secret that the operation hands over from others; see ``SecretDigest``.
    func start(
        _ step: OperationStep, at position: Int, state: String = "started", secretDigest: String? = nil
    ) -> PostgresStatement {
        """
        INSERT INTO cloacina.operations
            (operation_id, position, tenant_name, kind, step, state, secret_digest, finished_at)
        VALUES (\(self.id), \(Int32(clamping: position)), \(self.tenant), \(self.kind.rawValue), \(step.rawValue), \(state),
                \(secretDigest.postgresValue), CASE WHEN \(state == "started") THEN NULL ELSE clock_timestamp() END)
        """
    }

    /// Records that the step under way is done.
    func finish(_ step: OperationStep) -> PostgresStatement {
        """
        UPDATE cloacina.operations SET state = 'done', finished_at = clock_timestamp()
        WHERE operation_id = \(self.id) AND step = \(step.rawValue)
        """
    }

    /// Records that the step under way failed; `detail` holds no secrets.
    func fail(sqlState: String?, detail: String) -> PostgresStatement {
        """
        UPDATE cloacina.operations
        SET state = 'failed', sqlstate = \(sqlState.postgresValue), detail = \(detail), finished_at = clock_timestamp()
        WHERE operation_id = \(self.id) AND state = 'started'
        """
    }

    /// Records a step that failed at once, with what was said; `detail` holds no secrets.
    func failed(_ step: OperationStep, sqlState: String?, detail: String) -> PostgresStatement {
        """
        INSERT INTO cloacina.operations
            (operation_id, position, tenant_name, kind, step, state, sqlstate, detail, finished_at)
        VALUES (\(self.id), 0, \(self.tenant), \(self.kind.rawValue), \(step.rawValue), 'failed', \(sqlState.postgresValue),
                \(detail), clock_timestamp())
        """
    }

    /// Closes what an earlier, interrupted operation on the tenant left open.
    func supersedeEarlier() -> PostgresStatement {
        """
        UPDATE cloacina.operations
        SET state = 'failed', detail = \("interrupted; continued by \(self.id)"), finished_at = clock_timestamp()
        WHERE tenant_name = \(self.tenant) AND state = 'started' AND operation_id <> \(self.id)
        """
    }

    /// Leaves a line in the audit trail.
    func audit(_ action: String, detail: String? = nil) -> PostgresStatement {
        """
        INSERT INTO cloacina.audit (action, tenant_name, operation_id, detail)
        VALUES (\(action), nullif(\(self.tenant), ''), \(self.id), \(detail.postgresValue))
        """
    }

    /// The newest operation of a kind: whether it broke off or failed, and the digest of its secret.
    static func newest(_ kind: Kind, tenant: String) -> PostgresStatement {
        """
        SELECT o.state <> 'done' AS is_unfinished, f.secret_digest
        FROM cloacina.operations o
        JOIN cloacina.operations f ON f.operation_id = o.operation_id AND f.position = 0
        WHERE o.tenant_name = \(tenant) AND o.kind = \(kind.rawValue)
        ORDER BY o.started_at DESC, o.position DESC LIMIT 1
        """
    }
}
