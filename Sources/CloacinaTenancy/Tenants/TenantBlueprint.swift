import CloacinaPostgres
import CloacinaSchema

/// A tenant to be made, checked before anything is sent: names, password, migrations.
struct TenantBlueprint: Sendable {
    let name: TenantName
    let schema: TenantName
    let roles: TenantRoles
    /// The login's password; never sent.
    let password: String
    /// The digest that the ledger keeps of it, if any.
    let secretDigest: String?
    /// What the server stores for it.
    let verifier: String
    let migrationSets: [MigrationSet]
    let limits: StoredLimits
    /// True when the tenant's own logins may run its runners.
    let engineAccess: Bool

    init(_ config: TenantConfig) throws {
        self.name = try TenantName(config.name)
        self.schema = try TenantName(config.schemaName ?? config.name, subject: "schema name")
        self.roles = TenantRoles(self.name)
        self.migrationSets = try TenantMigrations.ownFirst(config.migrationSets)
        self.limits = try StoredLimits(config.limits)
        self.engineAccess = config.engineAccess
        self.password = try config.password ?? SecureRandom.password()
        self.secretDigest = SecretDigest.kept(
            of: self.password, isMade: config.password == nil || config.isPasswordMade)
        self.verifier = try SCRAM.verifier(password: self.password)
    }

    /// The schema that the migrations change.
    var target: MigrationTarget {
        TenantMigrations.target(
            tenant: self.name.rawValue, schema: self.schema.rawValue, owner: self.roles.owner,
            runtime: self.roles.runtime)
    }

    /// The rights of the tenant's roles in the schema.
    var privileges: PrivilegeSQL {
        PrivilegeSQL(
            schema: self.schema.rawValue, owner: self.roles.owner, runtime: self.roles.runtime,
            engine: self.roles.engine)
    }

    /// The filling of the new schema in the transaction that makes it: this library's own tables.
    func freshSchema(on connection: PostgresConnection) -> FreshSchema {
        FreshSchema(
            Array(self.migrationSets.prefix(1)), target: self.target, serverVersion: connection.serverVersion)
    }

    /// The statements that limit both logins.
    func limitStatements(serverVersion: Int) -> [String] {
        [self.roles.loginA, self.roles.loginB].flatMap {
            LimitQueries.statements(login: $0, self.limits, serverVersion: serverVersion)
        }
    }

    func credentials(at endpoint: PostgresEndpoint) -> TenantCredentials {
        TenantCredentials(
            tenant: self.name.rawValue, schema: self.schema.rawValue, username: self.roles.loginA,
            password: self.password,
            connectionString: ConnectionURL.make(endpoint: endpoint, user: self.roles.loginA, password: self.password))
    }
}

extension PostgresStatement {
    /// A statement that takes no binds and runs once.
    init(ddl sql: String) { self.init(sql, prepared: false) }
}
