import Cloacina
import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials

/// Lends the pipelines of one tenant to one command, to read them.
enum TenantPipelines {
    /// Finds the tenant and takes on the role of its owner, as migrations do.
    ///
    /// Creating a tenant grants its administrator that one. The runtime role it may not take on: who creates a role is no
    /// member of it before PostgreSQL 16, and from then on one without SET.
    static func with<R>(
        _ options: ConnectionOptions, tenant name: String, console: Console,
        _ body: (PostgresWorkflowStore) async throws -> R
    ) async throws -> R {
        let tenant = try await Administration.with(options, tenant: name, console: console) {
            try await $0.tenant(named: name)
        }
        let environment = ProcessInfo.processInfo.environment
        var configuration = PostgresPoolConfiguration(try options.configuration(environment: environment))
        configuration.maximumConnections = 1
        return try await PostgresPool.withPool(configuration) { pool in
            try await body(
                PostgresWorkflowStore(pool: pool, label: PostgresLabel(schema: tenant.schema, role: tenant.ownerRole)))
        }
    }

    /// One pipeline and its history.
    ///
    /// - Throws: `PipelineError` with `pipelineNotFound`.
    static func report(
        of id: UUID, _ options: ConnectionOptions, tenant: String, console: Console
    ) async throws -> PipelineReport {
        try await self.with(options, tenant: tenant, console: console) { store in
            guard let stored = try await store.load(id) else {
                throw PipelineError(.pipelineNotFound, "the tenant has no pipeline \(id.text)")
            }
            return PipelineReport(stored)
        }
    }
}
