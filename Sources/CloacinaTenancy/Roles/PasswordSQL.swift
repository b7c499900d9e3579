import CloacinaPostgres

/// Gives a login its password: the verifier is in the last statement of a flush by itself, on a role that exists.
///
/// A statement that fails or is cancelled is written to the server's log whatever `log_statement` says, and nothing can make
/// this one fail for another's sake: whoever has the role or the catalog locked is waited for by a statement without a verifier.
enum PasswordSQL {
    static func statements(login: String, verifier: String, serverVersion: Int) -> [PostgresStatement] {
        [
            PostgresStatement(ddl: "ALTER ROLE \(PostgresIdentifier.quote(login)) LOGIN"),
            self.quietLog(serverVersion: serverVersion),
            PostgresStatement(ddl: self.sql(login, literal: PostgresIdentifier.literal(verifier))),
        ]
    }

    /// The statement with its verifier masked.
    static func planned(_ login: String) -> String { self.sql(login, literal: "'\(SecretMask.mask)'") }

    private static func sql(_ login: String, literal: String) -> String {
        "ALTER ROLE \(PostgresIdentifier.quote(login)) LOGIN PASSWORD \(literal)"
    }

    /// Keeps the transaction's statements, which hold a verifier, out of the server's log as far as the administrator
    /// may decide that: a superuser may, others from PostgreSQL 15 on after `GRANT SET ON PARAMETER log_statement`.
    private static func quietLog(serverVersion: Int) -> PostgresStatement {
        let parameters = [
            ("log_statement", "none"), ("log_min_duration_statement", "-1"), ("log_min_error_statement", "panic"),
        ]
        let settings = parameters.map { name, value in
            let mayBeSet =
                serverVersion >= 150_000
                ? "has_parameter_privilege('\(name)', 'SET')" : "current_setting('is_superuser') = 'on'"
            return "CASE WHEN \(mayBeSet) THEN set_config('\(name)', '\(value)', true) END"
        }
        return PostgresStatement("SELECT " + settings.joined(separator: ", "), [])
    }
}
