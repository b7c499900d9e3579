import CloacinaPostgres

/// The statements that make one tenant's roles and schema, in order, for one version of the server.
struct ProvisioningSQL: Sendable {
    let roles: TenantRoles
    let schema: String
    let serviceRole: String
    let tenantsRole: String
    let serverVersion: Int

    /// The four roles and who may act as which. The login gets its password later, by ``PasswordSQL``.
    var roleStatements: [String] {
        let groups = "\(self.runtime), \(self.quote(self.tenantsRole))"
        return [
            "CREATE ROLE \(self.owner) NOLOGIN",
            "CREATE ROLE \(self.runtime) NOLOGIN",
            "CREATE ROLE \(self.loginA) LOGIN IN ROLE \(groups)",
            "CREATE ROLE \(self.loginB) NOLOGIN IN ROLE \(groups)",
            "ALTER ROLE \(self.loginA) SET search_path TO \(self.quotedSchema), pg_temp",
            "ALTER ROLE \(self.loginB) SET search_path TO \(self.quotedSchema), pg_temp",
            MembershipSQL.grant(
                self.roles.runtime, to: self.quote(self.serviceRole), serverVersion: self.serverVersion),
            MembershipSQL.grant(self.roles.owner, to: "CURRENT_USER", serverVersion: self.serverVersion),
        ]
    }

    /// The schema and what its later tables, sequences and functions will grant. Leaves the session acting as the owner.
    var schemaStatements: [String] {
        let defaults = "ALTER DEFAULT PRIVILEGES FOR ROLE \(self.owner)"
        let inSchema = "\(defaults) IN SCHEMA \(self.quotedSchema)"
        return [
            "CREATE SCHEMA \(self.quotedSchema) AUTHORIZATION \(self.owner)",
            "SET LOCAL ROLE \(self.owner)",
            "SET LOCAL search_path TO \(self.quotedSchema), pg_temp",
            "GRANT USAGE ON SCHEMA \(self.quotedSchema) TO \(self.runtime)",
            "\(inSchema) GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO \(self.runtime)",
            "\(inSchema) GRANT USAGE, SELECT ON SEQUENCES TO \(self.runtime)",
            "\(defaults) REVOKE EXECUTE ON ROUTINES FROM PUBLIC",
            "\(inSchema) GRANT EXECUTE ON ROUTINES TO \(self.runtime)",
        ]
    }

    /// Makes the session the administrator again.
    static let actAsAdministrator = ["SET LOCAL ROLE NONE", "SET LOCAL search_path TO pg_catalog, pg_temp"]

    private var owner: String { self.quote(self.roles.owner) }
    private var runtime: String { self.quote(self.roles.runtime) }
    private var loginA: String { self.quote(self.roles.loginA) }
    private var loginB: String { self.quote(self.roles.loginB) }
    private var quotedSchema: String { self.quote(self.schema) }

    private func quote(_ name: String) -> String { PostgresIdentifier.quote(name) }
}

/// Memberships that let a role act as another on request, without holding its privileges all the time.
enum MembershipSQL {
    /// Lets `member`, an SQL role specification, `SET ROLE` to `role`.
    ///
    /// Before PostgreSQL 16 whether it inherits is an attribute of the member, so the service login is NOINHERIT.
    static func grant(_ role: String, to member: String, serverVersion: Int) -> String {
        "GRANT \(PostgresIdentifier.quote(role)) TO \(member)"
            + (serverVersion >= 160_000 ? " WITH INHERIT FALSE, SET TRUE" : "")
    }
}
