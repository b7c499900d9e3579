import CloacinaPostgres

/// The statements that make one tenant's roles and schema, in order, for one version of the server.
struct ProvisioningSQL: Sendable {
    let roles: TenantRoles
    let schema: String
    let serviceRole: String
    let tenantsRole: String
    let database: String
    let engineAccess: Bool
    let serverVersion: Int

    /// The five roles and who may act as which. The login gets its password later, by ``PasswordSQL``.
    var roleStatements: [String] {
        [
            "CREATE ROLE \(self.owner) NOLOGIN",
            "CREATE ROLE \(self.runtime) NOLOGIN",
            "CREATE ROLE \(self.engine) NOLOGIN IN ROLE \(self.runtime)",
            "CREATE ROLE \(self.loginA) LOGIN IN ROLE \(self.runtime)",
            "CREATE ROLE \(self.loginB) NOLOGIN IN ROLE \(self.runtime)",
            "ALTER ROLE \(self.loginA) SET search_path TO \(self.quotedSchema), pg_temp",
            "ALTER ROLE \(self.loginB) SET search_path TO \(self.quotedSchema), pg_temp",
            self.membership(of: self.roles.runtime, to: self.quote(self.serviceRole)),
            self.membership(of: self.roles.engine, to: self.quote(self.serviceRole)),
            self.membership(of: self.roles.owner, to: "CURRENT_USER"),
            self.membership(of: self.roles.engine, to: "CURRENT_USER"),
        ]
            + EngineAccessSQL.statements(
                self.engineAccess, engine: self.roles.engine, logins: [self.roles.loginA, self.roles.loginB],
                serverVersion: self.serverVersion, isNew: true)
    }

    /// Lets the logins reach the database; as the administrator, last in the transaction, since others wait for what it locks.
    var connectStatements: [String] {
        ConnectSQL.grantStatements(to: self.roles.runtime, owner: self.roles.owner, database: self.database)
    }

    /// The rights of the tenant's roles in its schema.
    var privileges: PrivilegeSQL {
        PrivilegeSQL(
            schema: self.schema, owner: self.roles.owner, runtime: self.roles.runtime, engine: self.roles.engine)
    }

    private func membership(of role: String, to member: String) -> String {
        MembershipSQL.grant(role, to: member, serverVersion: self.serverVersion)
    }

    /// The schema and what its later tables, sequences and functions will grant. Leaves the session acting as the owner.
    var schemaStatements: [String] {
        [
            "CREATE SCHEMA \(self.quotedSchema) AUTHORIZATION \(self.owner)",
            "SET LOCAL ROLE \(self.owner)",
            "SET LOCAL search_path TO \(self.quotedSchema), pg_temp",
        ] + self.privileges.schemaStatements
    }

    /// Makes the session the administrator again.
    static let actAsAdministrator = ["SET LOCAL ROLE NONE", "SET LOCAL search_path TO pg_catalog, pg_temp"]

    private var owner: String { self.quote(self.roles.owner) }
    private var runtime: String { self.quote(self.roles.runtime) }
    private var engine: String { self.quote(self.roles.engine) }
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
