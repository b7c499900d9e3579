public import Logging

extension PostgresPool {
    /// Makes a pool, runs it as long as a closure runs, and closes every connection before it returns.
    ///
    /// ```swift
    /// let total = try await PostgresPool.withPool(configuration) { pool in
    ///     try await pool.withConnection(label) { try await $0.query("SELECT sum(total) FROM orders").single(as: Int.self) }
    /// }
    /// ```
    ///
    /// When the closure returns, leases that are still under way may end; when it throws, they are ended.
    ///
    /// - Throws: What the closure throws.
    public static func withPool<R>(
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
}
