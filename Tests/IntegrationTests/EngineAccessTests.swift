import CloacinaPostgres
import CloacinaTenancy
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// Issue 11, point 4: the engine's tables belong to the engine, and what a tenant's own login has instead.
    @Suite(.timeLimit(.minutes(40))) struct EngineAccessTests {
        private struct Fixture {
            let admin: DatabaseAdmin
            let tenant: Tenant
            let credentials: TenantCredentials
            /// Reaches the tenant as its engine's role, and as its own login.
            let pool: PostgresPool

            func runner(_ workflow: Workflow, _ isolation: TenantIsolation = .role) throws -> DefaultRunner {
                try DefaultRunner(
                    pool: self.pool, label: self.tenant.label(isolation), workflows: [workflow],
                    configuration: EngineFixture.configuration)
            }
        }

        private func withTenant(access: Bool = false, _ body: (Fixture) async throws -> Void) async throws {
            try await TenantFixture.withAdmin { admin in
                var config = TenantFixture.config(TenantFixture.name(), sets: try TenantFixture.sets())
                config.engineAccess = access
                let credentials = try await admin.createTenant(config)
                let tenant = try await admin.tenant(named: config.name)
                var configuration = PostgresPoolConfiguration(try #require(TestDatabase.current).superuser)
                configuration.maximumConnections = 6
                configuration.password = { _ in credentials.password }
                try await PostgresPool.withPool(configuration) { pool in
                    try await body(Fixture(admin: admin, tenant: tenant, credentials: credentials, pool: pool))
                }
                try await admin.removeTenant(named: config.name)
            }
        }

        private static func workflow() throws -> Workflow {
            try Workflow("w") { WorkflowTask("t") { context in try context.set("seen", to: context["n"] ?? .null) } }
        }

        private func serving<R>(_ runner: DefaultRunner, _ body: () async throws -> R) async throws -> R {
            let listener = try #require(TestDatabase.current).superuser
            let group = Task { try await RunnerGroup([runner], listeningOn: listener, drain: .zero).run() }
            let result: Result<R, any Error>
            do { result = .success(try await body()) } catch { result = .failure(error) }
            group.cancel()
            _ = await group.result
            return try result.get()
        }

        @Test(arguments: [
            "SELECT * FROM cloacina_pipelines", "SELECT * FROM cloacina_events", "SELECT * FROM cloacina_task_commits",
            "SELECT * FROM cloacina_runners", "SELECT * FROM cloacina_wakeups", "DELETE FROM cloacina_pipelines",
            "UPDATE cloacina_events SET attempt = 2147483647", "INSERT INTO cloacina_runners SELECT",
            "DELETE FROM cloacina_pipeline_list", "UPDATE cloacina_pipeline_tasks SET task = 'x'",
            "LOCK TABLE cloacina_pipelines", "DROP FUNCTION cloacina_signal",
            "ALTER FUNCTION cloacina_enqueue RESET ALL",
        ])
        func aTenantsLoginTouchesNoEngineRow(sql: String) async throws {
            try await self.withTenant { fixture in
                try await TenantFixture.withTenant(fixture.credentials) { session in
                    let error = await #expect(throws: PostgresError.self) { try await session.script("BEGIN; \(sql)") }
                    // A view of several tables can't be written by anybody.
                    #expect(["42501", "55000"].contains(error?.sqlState), "\(sql): \(String(describing: error))")
                }
            }
        }

        @Test func whatIsEnqueuedBySQLRunsLikeTheLibrarysOwn() async throws {
            try await self.withTenant { fixture in
                let runner = try fixture.runner(Self.workflow())
                let first = try await runner.enqueue(
                    "w", context: Context(["n": 1]),
                    options: ExecutionOptions(idempotencyKey: "a", priority: 3, timeout: .milliseconds(90_500)))
                let (second, again) = try await TenantFixture.withTenant(fixture.credentials) { session in
                    let sql: PostgresStatement = """
                        SELECT cloacina_enqueue('w', '{"n": 1}', priority => 3, timeout => '90.5 s', idempotency_key => 'b')
                        """
                    return (
                        try await session.query(sql).single(as: UUID.self),
                        try await session.query(sql).single(as: UUID.self)
                    )
                }
                #expect(second == again)
                #expect(UInt8(second.uuid.6 >> 4) == 7)
                #expect(first.id.uuidString < second.uuidString)
                try await self.expectSameRows(first.id, second, in: fixture.tenant.schema)
                try await self.serving(runner) {
                    for id in [first.id, second] {
                        let result = try await runner.result(of: id)
                        #expect(result.status == .completed)
                        #expect(result.finalContext.values == ["n": 1, "seen": 1])
                    }
                }
                try await TenantFixture.withTenant(fixture.credentials) { session in
                    let list = try await session.query(
                        "SELECT id, state, version, last_error FROM cloacina_pipeline_list ORDER BY id")
                    #expect(try list.column("id", as: UUID.self) == [first.id, second])
                    #expect(try list.column("state") == ["completed", "completed"])
                    #expect(try Set(list.column("version", as: String.self)).count == 1)
                    let tasks = try await session.query(
                        "SELECT task, kind FROM cloacina_pipeline_tasks WHERE pipeline_id = \(second)")
                    #expect(try tasks.column("task") == ["t"] && tasks.column("kind") == ["task completed"])
                    let events = try await session.query(
                        "SELECT kind FROM cloacina_pipeline_events WHERE pipeline_id = \(second) ORDER BY revision, position"
                    )
                    let kinds: [String] = try events.column("kind")
                    #expect(kinds.first == "pipeline queued" && kinds.last == "pipeline completed")
                }
            }
        }

        private func expectSameRows(_ first: UUID, _ second: UUID, in schema: String) async throws {
            try await TenantFixture.withSuperuser { connection in
                let rows = try await connection.query(
                    """
                    SELECT p.id, (to_jsonb(p) - '{id,version,created_at,due_at,idempotency_key,input}'::text[])::text AS pipeline,
                           p.input::jsonb::text AS input, p.due_at <= p.created_at + interval '1 second' AS is_due,
                           (SELECT jsonb_agg(to_jsonb(e) - '{pipeline_id,at,due_at}'::text[])::text
                            FROM \(identifier: schema).cloacina_events e WHERE e.pipeline_id = p.id) AS events
                    FROM \(identifier: schema).cloacina_pipelines p WHERE p.id IN (\(first), \(second)) ORDER BY p.id
                    """)
                #expect(rows.count == 2)
                for column in ["pipeline", "input", "events"] {
                    let values: [String] = try rows.column(column)
                    #expect(values.first == values.last, "\(column)")
                }
                #expect(try rows.column("is_due") == [true, true])
            }
        }

        /// Whoever enqueues in a transaction of their own calls the runners with its commit.
        @Test func aRolledBackEnqueueNeverWas() async throws {
            try await self.withTenant { fixture in
                try await TenantFixture.withTenant(fixture.credentials) { session in
                    try await session.script(
                        "BEGIN; INSERT INTO items (name) VALUES ('x'); SELECT cloacina_enqueue('w'); ROLLBACK")
                    #expect(try await session.query("SELECT * FROM cloacina_pipeline_list").isEmpty)
                }
            }
        }

        @Test(arguments: [
            ("cloacina_enqueue('w', '[]')", "22023"), ("cloacina_enqueue('w', NULL)", "22023"),
            ("cloacina_enqueue('w', '\"x\"')", "22023"), ("cloacina_enqueue('', '{}')", "22023"),
            ("cloacina_enqueue(NULL)", "22023"), ("cloacina_enqueue(repeat('x', 1001))", "22023"),
            ("cloacina_enqueue('w', jsonb_build_object('a', repeat('x', 16777216)))", "54000"),
            ("cloacina_enqueue('w', (repeat('{\"a\":', 201) || '1' || repeat('}', 201))::jsonb)", "22023"),
            ("cloacina_enqueue('w', '{\"a\": [1, 1e400]}')", "22023"),
            ("cloacina_enqueue('w', '{\"a\": 1e-400}')", "22023"),
            ("cloacina_enqueue('w', delay => '-1 s')", "22023"),
            ("cloacina_enqueue('w', delay => '200 years')", "22023"),
            ("cloacina_enqueue('w', timeout => '-1 s')", "22023"),
            ("cloacina_enqueue('w', idempotency_key => repeat('x', 2001))", "22023"),
            ("cloacina_enqueue('w', '{\"a\": 1}', idempotency_key => 'taken')", "23505"),
            ("cloacina_enqueue('other', idempotency_key => 'taken')", "23505"),
            ("cloacina_signal(gen_random_uuid(), 'cancel')", "P0002"),
            ("cloacina_signal(gen_random_uuid(), 'restart')", "22023"),
            ("cloacina_signal(gen_random_uuid(), NULL)", "22023"),
        ])
        func whatTheEngineWouldRefuseIsRefusedBySQL(call: String, state: String) async throws {
            try await self.withTenant { fixture in
                try await TenantFixture.withTenant(fixture.credentials) { session in
                    try await session.script("SELECT cloacina_enqueue('w', idempotency_key => 'taken')")
                    let error = await #expect(throws: PostgresError.self) { try await session.script("SELECT " + call) }
                    #expect(error?.sqlState == state, "\(call): \(String(describing: error))")
                    #expect(try await session.query("SELECT count(*) FROM cloacina_pipeline_list").single() == 1)
                }
            }
        }

        @Test func aSignalIsHeardByTheRunner() async throws {
            try await self.withTenant { fixture in
                let runner = try fixture.runner(Self.workflow())
                try await TenantFixture.withTenant(fixture.credentials) { session in
                    func signal(_ id: UUID, _ request: String) async throws -> String {
                        try await session.query("SELECT cloacina_signal(\(id), \(request))").single()
                    }
                    func request(of id: UUID) async throws -> String? {
                        try await session.query("SELECT request FROM cloacina_pipeline_list WHERE id = \(id)").single()
                    }
                    let id: UUID = try await session.query("SELECT cloacina_enqueue('w', delay => '1 hour')").single()
                    #expect(try await signal(id, "pause") == "queued")
                    #expect(try await request(of: id) == "pause")
                    #expect(try await signal(id, "resume") == "queued")
                    #expect(try await request(of: id) == nil)
                    #expect(try await signal(id, "cancel") == "queued")
                    #expect(try await signal(id, "resume") == "queued")
                    #expect(try await request(of: id) == "cancel")
                    try await self.serving(runner) {
                        let result = try await runner.result(of: id)
                        #expect(result.status == .cancelled)
                    }
                    #expect(try await signal(id, "cancel") == "cancelled")
                    let error = await #expect(throws: PostgresError.self) { _ = try await signal(id, "pause") }
                    #expect(error?.sqlState == "55000")
                }
            }
        }

        @Test func aRunnerOverALoginWithoutAccessSaysWhichCommandGivesIt() async throws {
            try await self.withTenant { fixture in
                let name = fixture.tenant.name
                #expect(!fixture.tenant.engineAccess)
                let runner = try fixture.runner(Self.workflow(), .login)
                func refusal() async -> PipelineError? {
                    await #expect(throws: PipelineError.self) { try await runner.execute("w") }
                }
                let first = await refusal()
                #expect(first?.code == .noEngineAccess)
                #expect(first?.message.contains("cloacina-admin tenant access") == true)
                #expect(first?.message.contains(fixture.credentials.username) == true)
                #expect(try await fixture.admin.setEngineAccess(true, ofTenant: name).engineAccess)
                #expect(try await fixture.admin.setEngineAccess(true, ofTenant: name).engineAccess)
                #expect(try await runner.execute("w").status == .completed)
                #expect(try await !fixture.admin.setEngineAccess(false, ofTenant: name).engineAccess)
                #expect(await refusal()?.code == .noEngineAccess)
                let audit: Int = try await TenantFixture.withSuperuser {
                    try await $0.query(
                        "SELECT count(*) FROM cloacina.audit WHERE tenant_name = \(name) AND action = 'tenant.engine_access'"
                    ).single()
                }
                #expect(audit == 3)
                let unknown = await #expect(throws: AdminError.self) {
                    try await fixture.admin.setEngineAccess(true, ofTenant: "nobody_of_that_name")
                }
                #expect(unknown?.code == .tenantNotFound)
            }
        }

        @Test func theDataLabelSeesTheApplicationsTablesAndNotTheEngines() async throws {
            try await self.withTenant { fixture in
                let label = fixture.tenant.label(.role, for: .data)
                try await fixture.pool.withConnection(label) { lease in
                    _ = try await lease.query("INSERT INTO items (name) VALUES ('one')")
                    let error = await #expect(throws: PostgresError.self) {
                        try await lease.query("SELECT id FROM cloacina_pipelines")
                    }
                    #expect(error?.sqlState == "42501")
                }
                let runner = try DefaultRunner(pool: fixture.pool, label: label, workflows: [Self.workflow()])
                let error = await #expect(throws: PipelineError.self) { try await runner.execute("w") }
                #expect(error?.code == .noEngineAccess && error?.message.contains("label(.role)") == true)
                // And the engine's label sees both: a task may write the application's tables with its own completion.
                let count: Int = try await fixture.pool.withConnection(fixture.tenant.label(.role)) { lease in
                    try await lease.query("SELECT count(*) FROM items").single()
                }
                #expect(count == 1)
            }
        }
    }
}
