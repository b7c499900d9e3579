import Cloacina
import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials

/// Lends the pipelines of one tenant to one command, to read them.
enum TenantPipelines {
    /// Finds the tenant and takes on the role of its engine, which creating a tenant grants its administrator. Never that of its
    /// owner, and nothing is read that could run somebody's code in this session.
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
                PostgresWorkflowStore(pool: pool, label: tenant.label(.role), isGuarded: true))
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
