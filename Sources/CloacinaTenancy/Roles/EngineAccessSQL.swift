import CloacinaPostgres

/// Statements that let a tenant's own logins run its runners, or no longer.
enum EngineAccessSQL {
    /// Makes logins members of the engine's role, or takes that away.
    ///
    /// From PostgreSQL 16 on they inherit its rights and can't become it, so that what they make is their own.
    static func statements(
        _ isAllowed: Bool, engine: String, logins: [String], serverVersion: Int, isNew: Bool = false
    ) -> [String] {
        let members = logins.map(PostgresIdentifier.quote).joined(separator: ", ")
        let role = PostgresIdentifier.quote(engine)
        guard isAllowed else { return isNew ? [] : ["REVOKE \(role) FROM \(members)"] }
        return ["GRANT \(role) TO \(members)" + (serverVersion >= 160_000 ? " WITH INHERIT TRUE, SET FALSE" : "")]
    }
}
