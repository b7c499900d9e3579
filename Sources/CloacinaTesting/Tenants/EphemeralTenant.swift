public import Cloacina
public import CloacinaPostgres
public import CloacinaSchema
public import CloacinaTenancy
import FoundationEssentials

/// A tenant that lives as long as a test does, on a real server.
///
/// ```swift
/// try await EphemeralTenant.withTenant(on: administratorURL, migrationSets: [app]) { tenant in
///     let result = try await tenant.runner(etl).execute("etl")
///     try result.expect(.completed)
/// }
/// ```
///
/// Its name is its own, so tests can run at the same time on one database. It is removed afterwards whatever happens, unless
/// the process dies; `cloacina-admin tenant list` shows what was left by one that did, by the prefix of its name.
public struct EphemeralTenant: Sendable {
    /// The tenant as the registry has it.
    public let tenant: Tenant
    /// What it connects with.
    public let credentials: TenantCredentials
    /// A pool that connects with the tenant's own login, so that the server enforces what the tenant may do.
    public let pool: PostgresPool
    /// What the pool's connections are set to for the tenant.
    public let label: PostgresLabel

    /// Makes a runner of the tenant.
    ///
    /// - Throws: `PipelineError` with `duplicateWorkflow`.
    public func runner(
        _ workflows: Workflow..., configuration: RunnerConfiguration = RunnerConfiguration(), fileID: String = #fileID,
        line: Int = #line
    ) throws(PipelineError) -> DefaultRunner {
        try DefaultRunner(
            pool: self.pool, label: self.label, workflows: workflows, configuration: configuration, fileID: fileID,
            line: line)
    }

    /// Makes a tenant, lends it to a closure, and removes it: also when the closure throws or the task is cancelled.
    ///
    /// The database is prepared first as `cloacina-admin bootstrap` does it, which changes nothing where that was done.
    ///
    /// - Parameters:
    ///   - url: How the database's administrator connects: a login with CREATEROLE and CREATE on the database.
    ///   - prefix: What the tenant's name begins with, 30 bytes at most: `test`.
    ///   - migrationSets: The application's own migrations.
    ///   - maximumConnections: How many connections the pool may have: 5.
    /// - Throws: What the closure throws; `AdminError` or `PostgresError` when the tenant could not be made or removed. When
    ///   the closure and the removal both fail, what the closure threw.
    public static func withTenant<R>(
        on url: String, prefix: String = "test", migrationSets: [MigrationSet] = [], maximumConnections: Int = 5,
        _ body: (EphemeralTenant) async throws -> R
    ) async throws -> R {
        let admin = DatabaseAdmin(PostgresConfiguration(url))
        var config = TenantConfig(name: "\(prefix)_\(UInt64.random(in: 0..<(1 << 60)).base36)")
        config.migrationSets = migrationSets
        // Its runners run over its own login.
        config.engineAccess = true
        let result: R
        do {
            try await admin.bootstrap()
            let credentials = try await admin.createTenant(config)
            let tenant = try await admin.tenant(named: config.name)
            result = try await Self.lend(tenant, credentials, maximumConnections, body)
        } catch {
            try? await Self.remove(config.name, by: admin)
            throw error
        }
        try await Self.remove(config.name, by: admin)
        return result
    }

    private static func lend<R>(
        _ tenant: Tenant, _ credentials: TenantCredentials, _ maximumConnections: Int,
        _ body: (EphemeralTenant) async throws -> R
    ) async throws -> R {
        var configuration = PostgresPoolConfiguration(PostgresConfiguration(credentials.connectionString))
        configuration.maximumConnections = maximumConnections
        configuration.password = { _ in credentials.password }
        return try await PostgresPool.withPool(configuration) { pool in
            try await body(
                EphemeralTenant(tenant: tenant, credentials: credentials, pool: pool, label: tenant.label(.login)))
        }
    }

    /// Removes a tenant, if it is there. Must happen in a cancelled task too, so it runs in one of its own, awaited at once.
    private static func remove(_ name: String, by admin: DatabaseAdmin) async throws {
        let removal = Task {
            do {
                try await admin.removeTenant(named: name)
            } catch let error as AdminError where error.code == .tenantNotFound {
            } catch {
                await admin.close()
                throw error
            }
            await admin.close()
        }
        try await removal.value
    }
}

extension UInt64 {
    fileprivate var base36: String { String(self, radix: 36) }
}
