import CloacinaPostgres
import CloacinaSchema

/// A tenant to be made, checked before anything is sent: names, password, migrations.
struct TenantBlueprint: Sendable {
    let name: TenantName
    let schema: TenantName
    let roles: TenantRoles
    /// The login's password; never sent.
    let password: String
    /// What the server stores for it.
    let verifier: String
    let migrationSets: [MigrationSet]

    init(_ config: TenantConfig) throws {
        self.name = try TenantName(config.name)
        self.schema = try TenantName(config.schemaName ?? config.name, subject: "schema name")
        self.roles = TenantRoles(self.name)
        self.migrationSets = try TenantMigrations.ownFirst(config.migrationSets)
        self.password = try config.password ?? SecureRandom.password()
        self.verifier = try SCRAM.verifier(password: self.password)
    }

    /// The schema that the migrations change.
    var target: MigrationTarget {
        TenantMigrations.target(
            tenant: self.name.rawValue, schema: self.schema.rawValue, owner: self.roles.owner,
            runtime: self.roles.runtime)
    }

    /// What fills the new schema.
    var freshSchema: FreshSchema { FreshSchema(self.migrationSets, target: self.target) }

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
