import CLibPQ
import Glibc
public import Logging
import Synchronization

/// One connection to a PostgreSQL server.
///
/// ```swift
/// let connection = try await PostgresConnection.connect(PostgresConfiguration("postgresql://localhost/shop"))
/// let names = try await connection.query("SELECT name FROM items WHERE price < \(100)").column("name", as: String.self)
/// await connection.close()
/// ```
///
/// It has a thread of its own, so nothing here holds up other tasks. Statements are sent in pipeline mode with binary
/// binds and results, and stay prepared. Cancelling the calling task stops its statement on the server and leaves the
/// connection usable. Two tasks may share a connection; their statements take turns, so a transaction of one takes in what
/// the other runs meanwhile. A pool's lease belongs to one task.
public actor PostgresConnection: PostgresQuerying {
    /// The process id of the backend that serves this connection, also behind a pooler.
    public nonisolated let backendPID: Int32
    /// The server's version as a number: 150018 for 15.18, 180001 for 18.1.
    public nonisolated let serverVersion: Int
    /// Where the connection leads.
    public nonisolated let endpoint: PostgresEndpoint

    nonisolated let thread: ConnectionThread
    private nonisolated let socket: Int32
    /// A number that no other connection has, whereas a pooler may let several use the same backend.
    package nonisolated let number = Int64.random(in: .min ... .max)
    /// Whether libpq was told another process id than the backend's own: a pooler stands in between.
    private nonisolated let hasInventedPID: Bool
    nonisolated let interrupt: ConnectionInterrupt
    nonisolated let report = ConnectionReport()
    nonisolated let logger: Logger

    let handle: ConnectionHandle
    var cache: StatementCache
    var binding = LabelBinding()
    var lockTimeout = SessionSetting(LockTimeout.standard)
    /// The isolation level that a transaction gets when nobody asks for one, as the server said last.
    var defaultIsolation: String
    var plans = LabelPlans(limit: 16)
    var types = TypeCatalog()
    /// Names of statements that gave way in the cache and are still prepared on the server.
    var retired: [String] = []
    /// Whether the batch that failed last left nothing behind.
    var mayRepeat = false
    /// What the batch that failed last may have failed for.
    var suspicion = Suspicion()
    var encoder = BindEncoder()
    var scratch = BindScratch()

    /// The connection's own thread.
    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe self.thread.asUnownedSerialExecutor() }

    private init(
        opened: sending OpenedConnection, thread: ConnectionThread, interrupt: ConnectionInterrupt,
        cacheCapacity: Int, logger: Logger
    ) {
        let handle = opened.handle
        self.backendPID = opened.facts.backendPID
        self.defaultIsolation = opened.facts.isolation
        self.hasInventedPID = handle.backendPID != opened.facts.backendPID
        self.serverVersion = handle.serverVersion
        self.endpoint = handle.endpoint()
        self.socket = handle.socket
        self.thread = thread
        self.interrupt = interrupt
        self.cache = StatementCache(capacity: cacheCapacity)
        self.logger = logger
        self.handle = handle
    }

    deinit { self.thread.stop() }

    /// Opens a connection.
    ///
    /// - Throws: ``PostgresError`` with ``PostgresError/Code/invalidConnectionString``,
    ///   ``PostgresError/Code/connectionFailed``, ``PostgresError/Code/poolerUnsupported`` when the configuration rules
    ///   out the pooler in between or, when the task is cancelled, ``PostgresError/Code/cancelled``.
    public static func connect(
        _ configuration: PostgresConfiguration, logger: Logger? = nil, fileID: String = #fileID, line: Int = #line
    ) async throws(PostgresError) -> PostgresConnection {
        let thread: ConnectionThread
        do throws(PostgresError) { thread = try ConnectionThread() } catch { throw error.at(fileID, line) }
        let interrupt = ConnectionInterrupt(thread.wakeUp)
        let connector = Connector(thread: thread, interrupt: interrupt)
        let opened: Result<PostgresConnection, PostgresError> = await withTaskCancellationHandler {
            do throws(PostgresError) {
                let opened = try await connector.open(configuration)
                return .success(
                    PostgresConnection(
                        opened: opened, thread: thread, interrupt: interrupt,
                        cacheCapacity: configuration.statementCacheCapacity, logger: logger ?? .discarding))
            } catch {
                thread.stop()
                return .failure(error.at(fileID, line))
            }
        } onCancel: {
            interrupt.request(.cancel)
        }
        let connection = try opened.get()
        guard connection.hasInventedPID else { return connection }
        do {
            let mode = try await PoolerProbe.mode(of: connection, inventedPID: true, configuration)
            await connection.settle(mode)
            return connection
        } catch {
            await connection.close()
            throw error.at(fileID, line)
        }
    }

    /// Adapts to a pooler. Names of prepared statements become the connection's own: other clients may have named
    /// theirs on the same backend.
    private func settle(_ mode: PoolerMode) {
        self.report.pooler = mode
        let name = String(UInt64.random(in: .min ... .max), radix: 36)
        self.cache = StatementCache(capacity: self.cache.capacity, prefix: "cloacina_\(name)_")
    }

    /// Opens a connection, lends it to a closure, and closes it at the end, whatever happened.
    public nonisolated static func withConnection<R>(
        _ configuration: PostgresConfiguration, logger: Logger? = nil, fileID: String = #fileID, line: Int = #line,
        _ body: (PostgresConnection) async throws -> R
    ) async throws -> R {
        let connection = try await self.connect(configuration, logger: logger, fileID: fileID, line: line)
        do {
            let result = try await body(connection)
            await connection.close()
            return result
        } catch {
            await connection.close()
            throw error
        }
    }

    /// True when a pooler sits between, in whatever mode: it invents process ids.
    package nonisolated var isPooled: Bool { self.hasInventedPID }

    /// What the connection leads through.
    nonisolated var pooler: PoolerMode { self.report.pooler }

    /// Whether what is on the other side can be written to: neither a standby nor a primary that was demoted.
    ///
    /// For a connection that only listens, which would never be told by an error. A login or a session that is read-only by its own
    /// choice says nothing of the server.
    package func isWritable(
        deadline: ContinuousClock.Instant? = nil, fileID: String = #fileID, line: Int = #line
    ) async throws(PostgresError) -> Bool {
        let statement = PostgresStatement(
            trusted: """
                SELECT NOT pg_catalog.pg_is_in_recovery() AND (
                    pg_catalog.current_setting('default_transaction_read_only') OPERATOR(pg_catalog.=) 'off' OR NOT EXISTS (
                    SELECT FROM pg_catalog.pg_settings
                    WHERE name OPERATOR(pg_catalog.=) 'default_transaction_read_only'
                        AND setting OPERATOR(pg_catalog.=) 'on'
                        AND source OPERATOR(pg_catalog.=) ANY ('{configuration file,command line,environment variable}')))
                """)
        return try await self.query(statement, deadline: deadline, fileID: fileID, line: line).single()
    }

    /// Closes the connection; later calls throw ``PostgresError/Code/connectionClosed``.
    ///
    /// Waits for a statement under way to end; ``abort()`` does not.
    public func close() {
        self.report.insert(.broken)
        self.handle.finish()
    }

    /// True once the connection was closed or is of no more use.
    package nonisolated var isClosed: Bool { self.report.current.contains(.broken) }

    /// Whether the server has hung up on a connection that nobody uses at the moment: one question to the kernel.
    ///
    /// Readable input alone means nothing: a notice or a TLS ticket may lie there.
    nonisolated var isHungUp: Bool {
        if self.isClosed { return true }
        var descriptor = pollfd(fd: self.socket, events: cloacina_pollrdhup, revents: 0)
        return unsafe poll(&descriptor, 1, 0) > 0
    }

    /// Ends the connection from any task: a statement under way stops waiting and throws
    /// ``PostgresError/Code/connectionClosed``.
    public nonisolated func abort() {
        self.interrupt.request(.close)
    }

    /// Runs statements in one flush to the server and, outside a transaction, as one transaction.
    public func pipeline(
        _ statements: [PostgresStatement], deadline: ContinuousClock.Instant?, fileID: String, line: Int
    ) async throws(PostgresError) -> [PostgresRows] {
        try await self.pipeline(statements, scope: nil, deadline: deadline, fileID: fileID, line: line)
    }

    /// The same for a lease, whose label is bound in the same flush if the session doesn't certainly have it.
    func pipeline(
        _ statements: [PostgresStatement], scope: LeaseScope?, deadline: ContinuousClock.Instant?, fileID: String,
        line: Int
    ) async throws(PostgresError) -> [PostgresRows] {
        try await self.interruptible(fileID, line) { connection throws(PostgresError) in
            try connection.run(statements, scope: scope, deadline: deadline)
        }
    }

    /// Runs a piece of blocking work that ends early when the task is cancelled.
    func interruptible<R>(
        _ fileID: String, _ line: Int, _ work: (isolated PostgresConnection) throws(PostgresError) -> R
    ) async throws(PostgresError) -> R {
        self.interrupt.clearCancel()
        if Task.isCancelled { throw PostgresError(.cancelled, advice: "nothing was sent", fileID: fileID, line: line) }
        let result: Result<R, PostgresError> = await withTaskCancellationHandler {
            do throws(PostgresError) {
                return .success(try work(self))
            } catch {
                return .failure(error.at(fileID, line))
            }
        } onCancel: {
            self.interrupt.request(.cancel)
        }
        return try result.get()
    }

    /// Ends or rolls back a transaction even in a cancelled task.
    func runShielded(_ statement: PostgresStatement) throws(PostgresError) -> PostgresRows {
        self.interrupt.clearCancel()
        return try self.run([statement], scope: nil, deadline: nil)[0]
    }
}

extension Logger {
    /// A logger that keeps nothing.
    package static let discarding = Logger(label: "cloacina", factory: { _ in SwiftLogNoOpLogHandler() })
}
