import CloacinaPostgres

/// One run of taking over a tenant whose schema and roles have other OIDs than those registered: a restore makes
/// everything anew, by name.
struct TenantAdoption {
    private let name: TenantName
    private let roles: TenantRoles
    private let connection: PostgresConnection
    private let patience: RemovalPatience
    private let connect: RemovalSession.Connect
    private let ledger: OperationLedger
    private let lease: AdministrationLease

    init(
        _ name: TenantName, on connection: PostgresConnection, patience: Duration,
        connect: @escaping RemovalSession.Connect
    ) {
        self.name = name
        self.roles = TenantRoles(name)
        self.connection = connection
        self.patience = RemovalPatience(patience)
        self.connect = connect
        self.ledger = OperationLedger(kind: .adopt, tenant: name.rawValue)
        self.lease = AdministrationLease(tenant: name.rawValue, on: connection)
    }

    /// A sentence's beginning, for whatever finds other OIDs than the registered ones.
    static func advice(_ name: String) -> String {
        "After a restore or an upgrade, `cloacina-admin tenant adopt \(name)` takes over what goes by the tenant's names"
    }

    func run() async throws {
        try await self.lease.take()
        do {
            try await self.runLeased()
        } catch {
            // A session that can't give its lease back must not keep it.
            if await !self.lease.release() { await self.connection.close() }
            throw error
        }
        if await !self.lease.release() { await self.connection.close() }
    }

    private func runLeased() async throws {
        let name = self.name.rawValue
        guard let row = try await self.connection.query(RegistryQueries.tenant(named: name)).first else {
            throw AdminError.noTenant(name)
        }
        let schema: String = try row.value("schema_name")
        let survey = try TenantSurvey(
            try await self.connection.query(
                RegistryQueries.survey(name: name, schema: schema, roles: self.roles.all))[0])
        guard let registered = survey.registered, let serviceRole = survey.serviceRole,
            let tenantsRole = survey.tenantsRole
        else {
            throw TenantSurvey.notBootstrapped
        }
        let shape = AdoptionQueries.shape(schema: schema, roles: self.roles.all, serviceRole: serviceRole)
        try AdoptionSurvey(survey, try await self.connection.query(shape)[0]).check(name: name, roles: self.roles)
        let found = self.roles.all.filter { survey.foundRoles[$0] != nil }
        try await AdminOption.check(found + [tenantsRole], of: name, on: self.connection)
        // A copy of the database on the same server has the original's roles.
        try await CopiedDatabase(connection: self.connection, connect: self.connect)
            .check(survey, name, self.roles, patience: self.patience)
        let sql = ProvisioningSQL(
            roles: self.roles, schema: schema, serviceRole: serviceRole, tenantsRole: tenantsRole,
            database: self.connection.endpoint.database, engineAccess: try row.value("engine_access"),
            serverVersion: self.connection.serverVersion)
        try await self.take(registered, registered.state == .removing ? [] : sql.membershipStatements)
    }

    private func take(_ registered: TenantSurvey.Registered, _ memberships: [String]) async throws {
        let before = "schema \(registered.schemaOID ?? 0), roles \(registered.roleOIDs)"
        try await self.connection.withTransaction { transaction in
            _ = try await transaction.pipeline(
                [RemovalQueries.limits(lockTimeout: self.patience.lockTimeout())]
                    + memberships.map(PostgresStatement.init(ddl:)) + [
                        self.ledger.supersedeEarlier(), self.ledger.start(.adopt, at: 0, state: "done"),
                        AdoptionQueries.register(id: registered.id, roles: self.roles.all),
                        self.ledger.audit("tenant.adopted", detail: "before: \(before)"),
                    ])
        }
    }
}
