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
    /// When the closure returns, leases that are still under way may end; when it throws, or its task was cancelled, they are
    /// ended. Until then the pool serves: a closure that is cancelled can still write what must be written, in a task of its own.
    ///
    /// - Throws: What the closure throws.
    public static func withPool<R>(
        _ configuration: PostgresPoolConfiguration, logger: Logger? = nil, _ body: (PostgresPool) async throws -> R
    ) async throws -> R {
        let pool = PostgresPool(configuration, logger: logger)
        // Not a child, which the caller's cancellation would reach before the closure has ended.
        let running = Task { try await pool.run() }
        do {
            let result = try await body(pool)
            pool.shutDown(graceful: !Task.isCancelled)
            try await running.value
            return result
        } catch {
            pool.shutDown(graceful: false)
            _ = await running.result
            throw error
        }
    }
}
