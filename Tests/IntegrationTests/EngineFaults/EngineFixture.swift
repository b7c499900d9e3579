import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import Cloacina

/// A tenant with engines of its own, whose pool has a login that the server may refuse and an operator may cut off.
struct EngineFixture {
    let label: PostgresLabel
    let pool: PostgresPool
    /// The pool's login: no superuser.
    let login: String
    /// How it logs in.
    let connection: PostgresConfiguration

    /// Lends a tenant of the test's database, and a pool.
    static func with<R>(connections: Int = 4, _ body: (EngineFixture) async throws -> R) async throws -> R {
        try await TenantFixture.withAdmin { admin in
            let name = TenantFixture.name()
            _ = try await admin.createTenant(TenantConfig(name: name))
            let label = try await admin.tenant(named: name).label(.role)
            let login = TestDatabase.uniqueName("service")
            let database = try #require(TestDatabase.current).name
            try await TenantFixture.withSuperuser { connection in
                try await connection.script(
                    """
                    CREATE ROLE \(login) LOGIN PASSWORD '\(login)';
                    GRANT \(PostgresIdentifier.quote(try #require(label.role))) TO \(login);
                    GRANT CONNECT ON DATABASE \(database) TO \(login);
                    """)
            }
            var connection = try #require(TestDatabase.current).administrator
            connection.user = login
            connection.password = login
            var configuration = PostgresPoolConfiguration(connection)
            configuration.maximumConnections = connections
            configuration.maximumPerTenant = connections
            return try await PostgresPool.withPool(configuration) { [connection] pool in
                try await body(EngineFixture(label: label, pool: pool, login: login, connection: connection))
            }
        }
    }

    var schema: String { self.label.schema }
    var store: PostgresWorkflowStore { PostgresWorkflowStore(pool: self.pool, label: self.label) }

    /// What most of these tests want of a runner: short waits, and a share of the queue only.
    static var configuration: RunnerConfiguration {
        var configuration = RunnerConfiguration()
        configuration.maximumQueuedPipelines = 16
        configuration.heartbeatInterval = .milliseconds(50)
        configuration.sweepInterval = .milliseconds(50)
        configuration.cancellationGrace = .milliseconds(10)
        return configuration
    }

    func runner(
        _ workflows: Workflow..., store: (any WorkflowStore)? = nil,
        configuration: RunnerConfiguration = Self.configuration, clock: any EngineClock = SystemEngineClock()
    ) throws -> DefaultRunner {
        try DefaultRunner(
            store: store ?? self.store, database: TenantDatabase(pool: self.pool, label: self.label),
            workflows: workflows, configuration: configuration, logger: nil, clock: clock)
    }

    /// Puts pipelines into the queue, many at a time.
    func enqueue(_ count: Int, _ workflow: String, by runner: DefaultRunner) async throws -> [UUID] {
        try await withThrowingTaskGroup(of: UUID.self) { group in
            for _ in 0..<count { group.addTask { try await runner.enqueue(workflow).id } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
    }

    /// Serves the queue by runners, each in a group of its own as in a process of its own, as long as a closure runs.
    func serving<R>(_ runners: DefaultRunner..., body: () async throws -> R) async throws -> R {
        let groups = runners.map { runner in Task { try await RunnerGroup([runner], drain: .zero).run() } }
        let result: Result<R, any Error>
        do { result = .success(try await body()) } catch { result = .failure(error) }
        for group in groups {
            group.cancel()
            _ = await group.result
        }
        return try result.get()
    }

    /// The number of entries of the queue's index that a statement reads, which is then taken back.
    func queueEntriesRead(by statement: PostgresStatement) async throws -> Int {
        struct Enough: Error {}
        let counter: PostgresStatement = """
            SELECT pg_catalog.pg_stat_get_xact_tuples_returned('cloacina_pipelines_due'::regclass)
            """
        var count = 0
        do {
            try await self.pool.withConnection(self.label) { lease in
                try await lease.withTransaction { transaction in
                    let before: Int = try await transaction.query(counter).single()
                    _ = try await transaction.query(PostgresWorkflowQueries.byIndexes)
                    _ = try await transaction.query(statement)
                    count = try await transaction.query(counter).single() - before
                    throw Enough()
                }
            }
        } catch is Enough {}
        return count
    }

    /// Three tasks in a row that do nothing but run.
    static func chain(_ log: AttemptLog) throws -> Workflow {
        try Workflow("chain") {
            WorkflowTask("a") { context, scope in
                log.note(scope)
                try context.set("a", to: scope.attempt)
            }
            WorkflowTask("b", after: "a") { _, scope in log.note(scope) }
            WorkflowTask("c", after: "b") { context, scope in
                log.note(scope)
                context.remove("a")
            }
        }
    }
}

/// Lends the suite's own server, running, with a fresh database as `TestDatabase.current`.
func withPrivateDatabase(_ body: (PrivateServer) async throws -> Void) async throws {
    let server = try #require(PrivateServer.current)
    try await server.startAgain()
    let database = try await TestDatabase.create(on: server.access)
    try await TestDatabase.$current.withValue(database) { try await body(server) }
    try await database.drop()
}
