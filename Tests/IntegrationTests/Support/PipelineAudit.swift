import Cloacina
import CloacinaPostgres
import FoundationEssentials
import Testing

/// Reads what engines have left in a tenant's tables, and says what of it can't be.
enum PipelineAudit {
    /// Checks that the pipelines, and no others, are there and ended as they should: nobody's any more, each revision told of
    /// in the history, one end for each task, and no number of an attempt given twice.
    static func check(_ expected: [UUID: PipelineStatus], in schema: String, tasks: Int) async throws {
        try await TenantFixture.withSuperuser { connection in
            try await self.checkPipelines(expected, in: schema, connection)
            try await self.checkEnds(expected.count, tasks, in: schema, connection)
            try await self.checkAttempts(in: schema, connection)
        }
    }

    /// The same of pipelines that all completed.
    static func check(_ ids: [UUID], in schema: String, tasks: Int) async throws {
        try await self.check(Dictionary(ids.map { ($0, .completed) }) { first, _ in first }, in: schema, tasks: tasks)
    }

    /// Checks that what the log saw is what is stored: each attempt ran once, and each completion is one that ran.
    static func check(_ log: AttemptLog, in schema: String) async throws {
        #expect(log.repeated.isEmpty, "attempts that ran twice")
        let completed = try await TenantFixture.withSuperuser { connection in
            try await connection.query(
                """
                SELECT pipeline_id, task, attempt FROM \(identifier: schema).cloacina_events WHERE kind = 'task completed'
                """)
        }
        for row in completed {
            let entry = AttemptLog.Entry(
                pipeline: try row.value("pipeline_id"), task: try row.value("task"), attempt: try row.value("attempt"))
            #expect(log.entries[entry] == 1, "completed, but never ran: \(entry)")
        }
    }

    /// Waits until a number of pipelines has ended. The server is the clock.
    static func waitForEnds(_ count: Int, in schema: String) async throws {
        try await TenantFixture.withSuperuser { connection in
            try await connection.waitUntil(
                """
                SELECT count(*) >= \(count) FROM \(identifier: schema).cloacina_pipelines WHERE ended_at IS NOT NULL
                """)
        }
    }

    private static func checkPipelines(
        _ expected: [UUID: PipelineStatus], in schema: String, _ connection: PostgresConnection
    ) async throws {
        let rows = try await connection.query(
            """
            SELECT p.id, p.state, p.owner IS NULL AND p.due_at IS NULL AND p.ended_at IS NOT NULL AS is_over,
                p.revision = (
                    SELECT count(DISTINCT e.revision) FROM \(identifier: schema).cloacina_events AS e
                    WHERE e.pipeline_id = p.id AND e.revision BETWEEN 1 AND p.revision) AS is_told, (
                    SELECT string_agg(concat_ws(' ', revision, position, kind, task, attempt, worker, detail), E'\\n'
                        ORDER BY revision, position)
                    FROM \(identifier: schema).cloacina_events AS e WHERE e.pipeline_id = p.id) AS history
            FROM \(identifier: schema).cloacina_pipelines AS p
            """)
        var found: [UUID: PipelineStatus] = [:]
        var impossible: [String] = []
        for row in rows {
            let id: UUID = try row.value("id")
            found[id] = PipelineStatus(rawValue: try row.value("state"))
            let isSound = try row.value("is_over", as: Bool.self) && row.value("is_told", as: Bool.self)
            if found[id] != expected[id] || !isSound {
                impossible.append("\(id)\n\(try row.value("history", as: String.self))")
            }
        }
        #expect(impossible.isEmpty, "\(impossible.count) of \(rows.count), such as \(impossible.first ?? "")")
        #expect(Set(found.keys) == Set(expected.keys))
    }

    private static func checkEnds(
        _ pipelines: Int, _ tasks: Int, in schema: String, _ connection: PostgresConnection
    ) async throws {
        let ends = try await connection.query(
            """
            SELECT pipeline_id, task, count(*) AS ends FROM \(identifier: schema).cloacina_events
            WHERE kind IN ('task completed', 'task failed', 'task skipped') GROUP BY pipeline_id, task
            """)
        #expect(ends.count == tasks * pipelines)
        let repeated = try ends.filter { try $0.value("ends", as: Int.self) != 1 }
        #expect(repeated.isEmpty, "tasks that ended more than once")
    }

    private static func checkAttempts(in schema: String, _ connection: PostgresConnection) async throws {
        let repeated: [String] = try await connection.query(
            """
            SELECT concat_ws(' ', pipeline_id, task, attempt) AS attempt FROM (
                SELECT pipeline_id, task, attempt, kind = 'task started' AS begins FROM \(identifier: schema).cloacina_events
                WHERE kind IN ('task started', 'task completed', 'task failed', 'task retrying', 'task interrupted')
            ) AS lines GROUP BY pipeline_id, task, attempt, begins HAVING count(*) > 1
            """
        ).column("attempt")
        #expect(repeated.isEmpty, "numbers of attempts given twice")
    }
}
