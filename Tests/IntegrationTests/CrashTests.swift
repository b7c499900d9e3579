import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import Cloacina
@testable import cloacina_admin

extension ServerTests {
    /// Two processes serve a queue; one is killed, really, at a point between two of its writes. Afterwards the database must
    /// show that nothing was lost and no attempt's effect is there twice.
    @Suite(.timeLimit(.minutes(10))) struct CrashTests {
        @Test(arguments: 0..<24) func aProcessThatIsKilledLosesNothingAndRepeatsNoAttempt(point: Int) async throws {
            try await TenantFixture.withAdmin { admin in
                let name = TenantFixture.name()
                _ = try await admin.createTenant(TenantConfig(name: name))
                let label = try await admin.tenant(named: name).label(.role)
                let role = try #require(label.role)
                try await TenantFixture.withSuperuser { connection in
                    let schema = PostgresIdentifier.quote(label.schema)
                    try await connection.script(
                        """
                        CREATE TABLE \(schema).payments (pipeline_id uuid PRIMARY KEY);
                        CREATE TABLE \(schema).traces (
                            pipeline_id uuid, task text, attempt integer, PRIMARY KEY (pipeline_id, task, attempt));
                        GRANT SELECT, INSERT ON \(schema).payments, \(schema).traces TO \(PostgresIdentifier.quote(role));
                        """)
                }
                let ids = try await self.enqueue(6, label)
                let place = FileManager.default.temporaryDirectory.appending(path: "crash-\(UUID())")
                try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
                defer { try? FileManager.default.removeItem(at: place) }
                async let victim = self.serve(label, role, point: point, log: place.appending(path: "victim.log"))
                async let survivor = self.serve(label, role, point: -1, log: place.appending(path: "survivor.log"))
                let (died, survived) = try await (victim, survivor)
                #expect([0, 9, 137].contains(died.status), "\(died)")
                try #require(survived.status == 0, "\(survived)")
                try await self.check(ids, label)
            }
        }

        private func enqueue(_ count: Int, _ label: PostgresLabel) async throws -> [UUID] {
            let configuration = PostgresPoolConfiguration(try #require(TestDatabase.current).superuser)
            return try await PostgresPool.withPool(configuration) { pool in
                let stub = try Workflow("crash") { WorkflowTask("stub") { _ in } }
                let runner = try DefaultRunner(pool: pool, label: label, workflows: [stub])
                var ids: [UUID] = []
                for _ in 0..<count { ids.append(try await runner.enqueue("crash")) }
                return ids
            }
        }

        private func serve(
            _ label: PostgresLabel, _ role: String, point: Int, log: URL
        ) async throws -> (status: Int32, output: String) {
            let superuser = try #require(TestDatabase.current).superuser
            var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("PG") }
            environment["CRASH_DATABASE_URL"] = superuser.connectionString
            environment["CRASH_DATABASE"] = superuser.database
            let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
            let program = ServerLayout.absolute("../crash-process", in: tests)
            return try await ChildProcess.run(
                [program, label.schema, role, "\(point)"], environment: environment, log: log.path)
        }

        /// Reads what is left: every pipeline completed, paid once, and each of its tasks ended once, with a trace.
        private func check(_ ids: [UUID], _ label: PostgresLabel) async throws {
            let schema = label.schema
            try await TenantFixture.withSuperuser { connection in
                let completed: [UUID] = try await connection.query(
                    """
                    SELECT id FROM \(identifier: schema).cloacina_pipelines
                    WHERE state = 'completed' AND owner IS NULL AND due_at IS NULL AND ended_at IS NOT NULL
                    """
                ).column("id")
                let failures: [String] = try await connection.query(
                    """
                    SELECT string_agg(concat_ws(' ', revision, position, kind, task, attempt, worker, detail), E'\\n'
                        ORDER BY revision, position) AS history
                    FROM \(identifier: schema).cloacina_events GROUP BY pipeline_id
                    HAVING bool_or(kind = 'task failed') OR NOT bool_or(kind = 'pipeline completed')
                    """
                ).column("history")
                #expect(Set(completed) == Set(ids), "\(failures.joined(separator: "\n\n"))")
                let payments: [UUID] = try await connection.query(
                    "SELECT pipeline_id FROM \(identifier: schema).payments"
                ).column("pipeline_id")
                #expect(Set(payments) == Set(ids))
                #expect(payments.count == ids.count)
                let ends = try await connection.query(
                    """
                    SELECT pipeline_id, task, count(*) AS ends FROM \(identifier: schema).cloacina_events
                    WHERE kind IN ('task completed', 'task failed', 'task skipped')
                    GROUP BY pipeline_id, task
                    """)
                #expect(ends.count == 4 * ids.count)
                #expect(try ends.allSatisfy { try $0.value("ends", as: Int.self) == 1 })
                let untraced: Int = try await connection.query(
                    """
                    SELECT count(*) FROM \(identifier: schema).cloacina_events AS e
                    WHERE e.kind = 'task completed' AND e.task <> 'pay' AND NOT EXISTS (
                        SELECT FROM \(identifier: schema).traces AS t
                        WHERE t.pipeline_id = e.pipeline_id AND t.task = e.task AND t.attempt = e.attempt)
                    """
                ).single()
                #expect(untraced == 0)
            }
        }
    }
}
