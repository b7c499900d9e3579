import CloacinaPostgres

/// The statements that unmake one tenant, for those of its roles that are still there.
struct RemovalSQL: Sendable {
    let schema: String
    let owner: String?
    /// All of them, in the order in which they can be dropped.
    let roles: [String]
    var runtime: String?
    let serviceRole: String
    let serverVersion: Int

    /// Lets the administrator act as each role, and end its sessions.
    var membershipStatements: [String] { self.roles.map { self.membership(in: $0) } }

    /// Lets the administrator act as a role; from PostgreSQL 16 on inheritance, too, has to be asked for.
    func membership(in role: String) -> String {
        "GRANT \(self.quote(role)) TO CURRENT_USER"
            + (self.serverVersion >= 160_000 ? " WITH INHERIT TRUE, SET TRUE" : "")
    }

    /// Shuts a role for new sessions.
    func shut(_ role: String) -> String { "ALTER ROLE \(self.quote(role)) NOLOGIN CONNECTION LIMIT 0" }

    /// Takes the roles' rights to the database.
    func connectStatements(database: String) -> [String] {
        let roles = [self.runtime, self.owner].compactMap { $0 }
        return roles.isEmpty ? [] : ConnectSQL.revokeStatements(from: roles, database: database)
    }

    /// Takes the service login's memberships; those that it doesn't have cost a warning.
    var revocationStatements: [String] {
        self.roles.map { "REVOKE \(self.quote($0)) FROM \(self.quote(self.serviceRole))" }
    }

    /// Acts as the schema's owner, or as the administrator when the owner is gone.
    var actAsOwner: [String] { self.owner.map { [self.act(as: $0)] } ?? [] }

    /// Acts as a role until the transaction ends.
    func act(as role: String) -> String { "SET LOCAL ROLE \(self.quote(role))" }

    /// Drops the schema with what is left in it.
    var dropSchemaStatement: String { "DROP SCHEMA \(self.quote(self.schema)) CASCADE" }

    /// Drops relations of one kind.
    func drop(_ relations: [SchemaRelation]) -> [String] {
        let kinds = Dictionary(grouping: relations, by: \.kind)
        return kinds.keys.sorted().map { kind in
            let names = (kinds[kind] ?? []).map { "\(self.quote(self.schema)).\(self.quote($0.name))" }
            return "DROP \(kind) IF EXISTS \(names.joined(separator: ", ")) CASCADE"
        }
    }

    /// Drops what a role owns in the database, and takes the privileges there that the acting role may take.
    func dropOwned(by role: String, cascade: Bool) -> String {
        "DROP OWNED BY \(self.quote(role))" + (cascade ? " CASCADE" : "")
    }

    /// Lets the administrator act as a role of another tenant's, which is not kept.
    func joining(_ role: String) -> String {
        MembershipSQL.grant(role, to: "CURRENT_USER", serverVersion: self.serverVersion)
    }

    /// Ends that again.
    func leaving(_ role: String) -> String { "REVOKE \(self.quote(role)) FROM CURRENT_USER" }

    /// Takes from the roles what another tenant's role granted them, in one transaction: nobody but the grantor can, and
    /// `DROP OWNED` asks for the roles' rights besides.
    func takingBack(from grantor: String, mayAct: Bool) -> [String] {
        let roles = self.roles.map(self.quote).joined(separator: ", ")
        return (mayAct ? [] : [self.joining(grantor)]) + [
            "GRANT \(roles) TO \(self.quote(grantor))", self.act(as: grantor), "DROP OWNED BY \(roles)",
            "SET LOCAL ROLE NONE", "REVOKE \(roles) FROM \(self.quote(grantor))",
        ] + (mayAct ? [] : [self.leaving(grantor)])
    }

    /// Drops the roles.
    var dropRolesStatements: [String] {
        self.roles.isEmpty ? [] : ["DROP ROLE " + self.roles.map(self.quote).joined(separator: ", ")]
    }

    private func quote(_ name: String) -> String { PostgresIdentifier.quote(name) }
}
