import CloacinaPostgres
import Logging

/// Runs a pool for the length of a closure.
func withPool<R>(
    _ configuration: PostgresPoolConfiguration, logger: Logger? = nil, _ body: (PostgresPool) async throws -> R
) async throws -> R {
    let pool = PostgresPool(configuration, logger: logger)
    async let running: Void = pool.run()
    do {
        let result = try await body(pool)
        pool.shutDown()
        try await running
        return result
    } catch {
        pool.shutDown(graceful: false)
        try? await running
        throw error
    }
}
