import CloacinaPostgres
import FoundationEssentials
import Testing

@testable import Cloacina
@testable import cloacina_admin

extension ServerTests {
    /// Connections that are cut while an engine commits, so that it can't know whether it did.
    ///
    /// On this server a commit of who asks for it is done, and then waits for a standby that doesn't exist. Who is cut off
    /// there never learns that it was done; who is cancelled there does.
    @Suite(
        .serialized,
        .privateServer { _ in
            [ServerSetting("synchronous_standby_names", "nobody"), ServerSetting("synchronous_commit", "local")]
        }, .timeLimit(.minutes(40)))
    struct CutCommitTests {
        /// Has the service's commits wait until somebody is sent to them.
        private func hold(_ fixture: EngineFixture) async throws {
            try await TenantFixture.withSuperuser { connection in
                try await connection.script("ALTER ROLE \(fixture.login) SET synchronous_commit = on")
            }
        }

        /// As long as a closure runs, cuts off every n-th of those whose commit is done, and tells the others.
        ///
        /// - Returns: What the closure does, and how many were cut off.
        private func answering<R>(
            cutting every: Int, _ body: () async throws -> R
        ) async throws -> (result: R, cut: Int) {
            let answers = Task { try await self.answer(cutting: every) }
            let result: Result<R, any Error>
            do { result = .success(try await body()) } catch { result = .failure(error) }
            answers.cancel()
            let cut = try await answers.value
            return (try result.get(), cut)
        }

        private func answer(cutting every: Int) async throws -> Int {
            var answered: Set<String> = []
            var cut = 0
            do {
                return try await TenantFixture.withSuperuser { connection in
                    while !Task.isCancelled {
                        let rows = try await connection.query(
                            """
                            SELECT pid, concat_ws(' ', pid, backend_start, query_start) AS commit FROM pg_stat_activity
                            WHERE wait_event = 'SyncRep'
                            """)
                        for row in rows where answered.insert(try row.value("commit")).inserted {
                            let (pid, mustCut): (Int32, Bool) = (try row.value("pid"), answered.count % every == 0)
                            if mustCut { cut += 1 }
                            _ = try await connection.query(
                                mustCut ? "SELECT pg_terminate_backend(\(pid))" : "SELECT pg_cancel_backend(\(pid))")
                        }
                    }
                    return cut
                }
            } catch let error as PostgresError where error.code == .cancelled {
                return cut
            }
        }

        @Test(arguments: [2, 5]) func answersThatAreLostAfterTheCommitLoseAndRepeatNothing(every: Int) async throws {
            try await withPrivateDatabase { _ in
                let (_, cut) = try await self.answering(cutting: every) {
                    try await EngineFixture.with { fixture in
                        try await self.hold(fixture)
                        let log = AttemptLog()
                        let runner = try fixture.runner(EngineFixture.chain(log))
                        let ids = try await fixture.serving(runner) {
                            let ids = try await fixture.enqueue(100, "chain", by: runner)
                            try await PipelineAudit.waitForEnds(100, in: fixture.schema)
                            return ids
                        }
                        try await PipelineAudit.check(ids, in: fixture.schema, tasks: 3)
                        try await PipelineAudit.check(log, in: fixture.schema)
                    }
                }
                #expect(cut >= 10)
            }
        }

        /// Wherever they are: in the middle of a statement, after a commit, idle.
        @Test func connectionsThatAreCutAgainAndAgainWhileTheQueueDrainsLoseAndRepeatNothing() async throws {
            try await withPrivateDatabase { _ in
                try await EngineFixture.with { fixture in
                    let log = AttemptLog()
                    let runner = try fixture.runner(EngineFixture.chain(log))
                    let ids = try await fixture.enqueue(200, "chain", by: runner)
                    try await fixture.serving(runner) {
                        try await TenantFixture.withSuperuser { connection in
                            for point in stride(from: 10, through: 590, by: 10) {
                                await log.reached(point)
                                _ = try await connection.query(
                                    """
                                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = \(fixture.login)
                                    """)
                            }
                        }
                        try await PipelineAudit.waitForEnds(200, in: fixture.schema)
                    }
                    try await PipelineAudit.check(ids, in: fixture.schema, tasks: 3)
                    try await PipelineAudit.check(log, in: fixture.schema)
                }
            }
        }

        /// The money is gone; that the answer is lost must not make it go twice, nor the pipeline say that it isn't gone.
        @Test(arguments: [RetryPolicy.none, .fixed(3, delay: .zero)])
        func aTransactionalTaskWhoseCommitWasDoneCompletesAlthoughTheAnswerIsLost(retry: RetryPolicy) async throws {
            try await withPrivateDatabase { _ in
                try await EngineFixture.with { fixture in
                    try await TenantFixture.withSuperuser { connection in
                        try await connection.script(
                            """
                            CREATE TABLE \(fixture.schema).payments (pipeline_id uuid NOT NULL);
                            GRANT SELECT, INSERT ON \(fixture.schema).payments TO \(try #require(fixture.label.role));
                            """)
                    }
                    let workflow = try Workflow("pay") {
                        WorkflowTask.transactional("pay", retry: retry) { context, scope, transaction in
                            if scope.attempt == 1 { try await transaction.query("SET LOCAL synchronous_commit = on") }
                            try await transaction.query(
                                "INSERT INTO payments (pipeline_id) VALUES (\(scope.executionID))")
                            try context.set("paid", to: true)
                        }
                        WorkflowTask("after", after: "pay") { context in
                            try context.set("seen", to: context.get("paid", as: Bool.self))
                        }
                    }
                    let runner = try fixture.runner(workflow)
                    let (result, cut) = try await self.answering(cutting: 1) {
                        try await runner.execute("pay")
                    }
                    #expect(cut == 1)
                    #expect(result.status == .completed, "\(result.task("pay")?.attempts as Any)")
                    #expect(result.finalContext.values == ["paid": true, "seen": true])
                    let payments: Int = try await TenantFixture.withSuperuser { connection in
                        try await connection.query("SELECT count(*) FROM \(identifier: fixture.schema).payments")
                            .single()
                    }
                    #expect(payments == 1)
                    try await PipelineAudit.check([result.id], in: fixture.schema, tasks: 2)
                }
            }
        }
    }
}
