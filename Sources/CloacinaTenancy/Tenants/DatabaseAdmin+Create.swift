import CloacinaPostgres
public import CloacinaSchema

extension DatabaseAdmin {
    /// Creates a tenant: roles, schema, privileges, this library's tables and registry in one transaction, then the
    /// application's files, each in its own.
    ///
    /// The credentials are handed over once; only a verifier of the password is stored. An existing schema or role is
    /// never adopted. A creation that was cut off stays in the registry as `creating`, and the same call finishes it:
    /// when only the hand-over was missing, with a new password.
    ///
    /// - Parameters:
    ///   - config: The tenant to be.
    ///   - keep: Where the credentials are kept for good, such as in a file. It is called once everything else is made and
    ///     before the login has its password, so that a process which dies never leaves a tenant whose secret is lost. When
    ///     it throws, the tenant stays `creating`.
    ///   - onNotice: Called with each remark of the server on the application's files, when they have run, also when one of
    ///     them failed.
    /// - Throws: ``AdminError``; nothing is left of the tenant unless the connection broke, a file failed, the server doesn't let
    ///   the login in over which files run (``AdminError/Code/loginRefused``), or the credentials could not be kept
    ///   (``AdminError/Code/handOverFailed``).
    public func createTenant(
        _ config: TenantConfig, handingOver keep: (TenantCredentials) async throws -> Void = { _ in },
        onNotice: (MigrationNotice) async -> Void = { _ in }
    ) async throws -> TenantCredentials {
        let blueprint: TenantBlueprint
        do { blueprint = try TenantBlueprint(config) } catch { throw AdminError(error, tenant: config.name) }
        return try await self.withConnection(tenant: config.name) { connection in
            let creation = TenantCreation(blueprint, on: connection, for: self)
            do {
                return try await creation.run(handingOver: keep, onNotice: onNotice)
            } catch {
                let reported = creation.report(error)
                if await !creation.abandon(after: reported) { await self.close() }
                throw reported
            }
        }
    }

    /// The statements that ``createTenant(_:handingOver:onNotice:)`` would run, with secrets masked. Nothing is changed.
    ///
    /// - Throws: ``AdminError``, as creating would, when a name, password or schema does not do.
    public func plannedSQL(creating config: TenantConfig) async throws -> [String] {
        let blueprint: TenantBlueprint
        do { blueprint = try TenantBlueprint(config) } catch { throw AdminError(error, tenant: config.name) }
        return try await self.withConnection(tenant: config.name) { connection in
            let survey = try TenantSurvey(
                try await connection.query(
                    RegistryQueries.survey(
                        name: blueprint.name.rawValue, schema: blueprint.schema.rawValue, roles: blueprint.roles.all))[
                        0])
            _ = try survey.beginning(name: blueprint.name.rawValue, schema: blueprint.schema.rawValue)
            let sql = try ProvisioningSQL(blueprint, survey, connection)
            return ["BEGIN"] + sql.roleStatements
                + blueprint.limitStatements(serverVersion: connection.serverVersion) + sql.schemaStatements
                + blueprint.freshSchema(on: connection).statements.map(PlannedSQL.text)
                + sql.privileges.engineStatements
                + ProvisioningSQL.actAsAdministrator + sql.connectStatements + ["COMMIT"]
                + Self.plannedFiles(blueprint) + [PasswordSQL.planned(blueprint.roles.loginA)]
        }
    }

    /// The application's files, each as it runs: in a transaction of its own, or in none.
    private static func plannedFiles(_ blueprint: TenantBlueprint) -> [String] {
        let migrations = blueprint.migrationSets.dropFirst().flatMap(\.migrations)
        guard !migrations.isEmpty else { return [] }
        let path = "SET search_path TO \(PostgresIdentifier.quote(blueprint.schema.rawValue)), pg_temp"
        let role =
            "-- over a login \(MigratorSQL.prefix)… that is made for the files and dropped after them\n"
            + "SET ROLE \(PostgresIdentifier.quote(blueprint.roles.owner))"
        return [role, path]
            + migrations.flatMap { migration in
                let up = migration.up.map(\.text)
                return migration.isTransactional ? ["BEGIN"] + up + ["COMMIT"] : up
            } + ["RESET ROLE"]
    }
}

extension ProvisioningSQL {
    init(_ blueprint: TenantBlueprint, _ survey: TenantSurvey, _ connection: PostgresConnection) throws {
        guard let serviceRole = survey.serviceRole, let tenantsRole = survey.tenantsRole else {
            throw TenantSurvey.notBootstrapped
        }
        self.init(
            roles: blueprint.roles, schema: blueprint.schema.rawValue, serviceRole: serviceRole,
            tenantsRole: tenantsRole, database: connection.endpoint.database, engineAccess: blueprint.engineAccess,
            serverVersion: connection.serverVersion)
    }
}
