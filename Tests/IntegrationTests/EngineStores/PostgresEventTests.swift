import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// How a server finds the events of all pipelines.
    @Suite(.timeLimit(.minutes(40))) struct PostgresEventTests {
        private static let wholePage: Set<PipelineEvent.Kind> = [.taskCompleted, .taskFailed]
        private static let place = EventCursor(pipeline: StoreConformance.id(7_000), revision: 5, position: 1)

        /// The primary key is in the order of the answer, from any place on: what is common enough is neither looked for in the
        /// whole table nor sorted.
        @Test(arguments: [
            EventQuery(), EventQuery(kinds: wholePage), EventQuery(task: "t"), EventQuery(after: place),
            EventQuery(pipeline: StoreConformance.id(77)), EventQuery(pipeline: place.pipeline, after: place),
            EventQuery(kinds: wholePage, task: "t", after: place),
        ])
        func noPlanScansATable(query: EventQuery) async throws {
            try await EngineFixture.with { fixture in
                try await TenantFixture.withSuperuser { connection in
                    let table = "\(PostgresIdentifier.quote(fixture.schema)).cloacina_events"
                    try await connection.script(
                        """
                        INSERT INTO \(table) (pipeline_id, revision, position, kind, task, attempt, at)
                        SELECT format('00000000-0000-7000-0000-%s', lpad(to_hex(n), 12, '0'))::uuid, r, 1,
                            CASE WHEN r = 1 THEN 'pipeline started' ELSE 'task completed' END,
                            CASE WHEN r > 1 THEN 't' END, 1, now()
                        FROM generate_series(1, 10000) AS n, generate_series(1, 6) AS r;
                        ANALYZE \(table)
                        """)
                }
                let events = PostgresWorkflowQueries.events(query)
                let plan = try await fixture.pool.withConnection(fixture.label) { lease in
                    let explain = PostgresStatement("EXPLAIN " + events.sql, events.binds, prepared: false)
                    return try await lease.query(explain).column("QUERY PLAN", as: String.self)
                }
                #expect(!plan.contains { $0.contains("Seq Scan") }, "\(plan)")
                // Those of one pipeline are few: the server may sort them.
                if query.pipeline == nil {
                    let walk = "Index Scan Backward using cloacina_events_pkey on cloacina_events"
                    #expect(plan.contains { $0.contains(walk) } && !plan.contains { $0.contains("Sort") }, "\(plan)")
                }
                if query.after != nil {
                    let begin = #"(ROW(pipeline_id, (revision)::integer, ("position")::integer) < ROW("#
                    #expect(plan.contains { $0.contains("Index Cond") && $0.contains(begin) }, "\(plan)")
                }
                if query.pipeline != nil {
                    #expect(plan.contains { $0.contains("Index Cond") && $0.contains("pipeline_id = ") }, "\(plan)")
                }
            }
        }

        /// It stands apart until the next transition, which folds it in where it happened.
        @Test func whatATaskCommittedItselfStandsWhereItHappened() async throws {
            try await EngineFixture.with { fixture in
                let workflow = try Workflow("w") {
                    WorkflowTask("a") { _ in }
                    WorkflowTask.transactional("b", after: "a") { context, _, _ in try context.set("b", to: true) }
                    WorkflowTask("c", after: "b") { _ in }
                }
                let runner = try fixture.runner(workflow)
                var ids: [UUID] = []
                for _ in 0..<2 { ids.append(try await runner.execute("w").id) }
                let page = try await runner.events()
                #expect(page.map(\.pipeline) == Array(repeating: ids[1], count: 5) + Array(repeating: ids[0], count: 5))
                let order = [nil, "c", "b", "a", nil]
                #expect(page.map(\.event.task) == order + order)
                #expect(page[2].event.delta == ContextDelta(["b": .set(true)]))
                let history = try await runner.history(of: ids[1])
                #expect(Set(history) == Set(page.prefix(5).map(\.event)) && history.count == 5)
                var (query, seen) = (EventQuery(limit: 1), [RecordedEvent]())
                while let event = try await runner.events(query).first, seen.count < 100 {
                    seen.append(event)
                    query.after = event.cursor
                }
                #expect(seen == page)
            }
        }
    }
}
