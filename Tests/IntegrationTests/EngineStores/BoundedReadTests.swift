import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// What is read of rows that whoever may write to the tables has filled to the brim (security C6, engine A20).
    @Suite(.timeLimit(.minutes(40))) struct BoundedReadTests {
        private static let pipelineColumns =
            "id, workflow, version, state, revision, epoch, recoveries, priority, due_at, created_at, input, format, depth, owner, request"

        /// An id as a number's, in SQL.
        private static func id(_ number: String) -> String {
            "format('00000000-0000-7000-0000-%s', lpad(to_hex(\(number)), 12, '0'))::uuid"
        }

        private static func script(_ fixture: EngineFixture, _ sql: (_ schema: String) -> String) async throws {
            let schema = PostgresIdentifier.quote(fixture.schema)
            try await TenantFixture.withSuperuser { try await $0.script(sql(schema)) }
        }

        /// Puts pipelines of the one workflow into the queue, with inputs of so many bytes.
        private static func enqueue(_ numbers: ClosedRange<Int>, bytes: Int, _ fixture: EngineFixture) async throws {
            try await Self.script(fixture) { schema in
                """
                INSERT INTO \(schema).cloacina_pipelines (\(Self.pipelineColumns))
                SELECT \(Self.id("n")), 'w', 'v1', 'queued', 1, 0, 0, 0, to_timestamp(n), to_timestamp(n),
                    '{"x":"' || repeat('x', \(bytes - 8)) || '"}', 1, 0, NULL, NULL
                FROM generate_series(\(numbers.lowerBound), \(numbers.upperBound)) AS n
                """
            }
        }

        @Test func aClaimOfLargeInputsEndsWithItsBudget() async throws {
            try await EngineFixture.with { fixture in
                try await Self.enqueue(1...256, bytes: 1_000_000, fixture)
                var claim = StoreConformance.claim(limit: 256)
                // Eight are a little less than 8 MiB.
                let claimed = try await fixture.store.claim(claim)
                #expect(claimed.map(\.id) == (1...9).map(StoreConformance.id))
                #expect(claimed.allSatisfy { $0.storedBytes == 1_000_000 && $0.input.keys == ["x"] })
                claim.byteLimit = 1
                #expect(try await fixture.store.claim(claim).map(\.id) == [StoreConformance.id(10)])
                #expect(try await fixture.store.list(PipelineQuery(statuses: [.queued], limit: 1_000)).count == 246)
            }
        }

        /// Histories are read with the pipelines, so they count as much; and what is not claimed is left to others.
        @Test func aClaimOfLongHistoriesEndsWithItsBudget() async throws {
            try await EngineFixture.with { fixture in
                _ = try await fixture.store.create((1...20).map { StoreConformance.new($0) })
                let delta = ContextDelta(["x": .set(.string(String(repeating: "x", count: 500_000)))])
                let events = (0..<4).map {
                    PipelineEvent(.taskCompleted, task: "t\($0)", attempt: 1, at: StoreConformance.at(1), delta: delta)
                }
                for number in 1...20 {
                    _ = try await fixture.store.apply([
                        StoreConformance.change(number, status: .queued, dueAt: StoreConformance.at(1), events: events)
                    ])
                }
                var claimed: [[UUID]] = []
                for _ in 0..<4 { claimed.append(try await fixture.store.claim(StoreConformance.claim()).map(\.id)) }
                // Five have 10 MB, four not quite 8 MiB.
                #expect(claimed.map(\.count) == [5, 5, 5, 5])
                #expect(claimed.joined().elementsEqual((1...20).map(StoreConformance.id)))
            }
        }

        /// Also where no check binds who writes.
        @Test func anInputBeyondWhatIsReadIsSetAside() async throws {
            try await EngineFixture.with { fixture in
                try await Self.script(fixture) { schema in
                    "ALTER DOMAIN \(schema).cloacina_value DROP CONSTRAINT cloacina_value_check"
                }
                try await Self.enqueue(1...1, bytes: StoredLimits.valueBytes + 1, fixture)
                try await Self.enqueue(2...3, bytes: 100, fixture)
                let first = try await fixture.store.claim(StoreConformance.claim())
                let second = try await fixture.store.claim(StoreConformance.claim())
                #expect((first + second).map(\.id) == [2, 3].map(StoreConformance.id))
                let aside = try await fixture.store.list(PipelineQuery(statuses: [.paused]))
                #expect(aside.map(\.id) == [StoreConformance.id(1)])
                let reasons = try await fixture.store.events(EventQuery(kinds: [.pipelinePaused]))
                #expect(reasons.map(\.event.reason) == [.unreadable])
            }
        }

        /// Own commits that stand apart are read with the history, and are none the less of it.
        @Test func commitsBeyondWhatIsReadAreNotRead() async throws {
            try await EngineFixture.with { fixture in
                _ = try await fixture.store.create([StoreConformance.new(1), StoreConformance.new(2)])
                _ = try await fixture.store.apply(
                    [1, 2].map { StoreConformance.change($0, status: .queued, dueAt: StoreConformance.at(1)) })
                // Twenty times 16 MB.
                try await Self.script(fixture) { schema in
                    """
                    INSERT INTO \(schema).cloacina_task_commits (pipeline_id, task, epoch, attempt, at, delta)
                    SELECT \(Self.id("1")), 't' || n, 1, 1, now(), repeat('x', 16000000) FROM generate_series(1, 20) AS n
                    """
                }
                let error = await #expect(throws: PipelineError.self) {
                    try await fixture.store.load(StoreConformance.id(1))
                }
                #expect(error?.code == .storageFailed)
                let histories = try await fixture.pool.withConnection(fixture.label) { lease in
                    try await lease.query(PostgresWorkflowQueries.commits([StoreConformance.id(1)])).count
                }
                #expect(histories == 0)
                // One was beyond the budget, and is set aside; the other one is claimed.
                let first = try await fixture.store.claim(StoreConformance.claim())
                let second = try await fixture.store.claim(StoreConformance.claim())
                #expect((first + second).map(\.id) == [StoreConformance.id(2)])
                let aside = try await fixture.store.list(PipelineQuery(statuses: [.paused]))
                #expect(aside.map(\.id) == [StoreConformance.id(1)])
            }
        }

        /// However short they are: lines that hold nothing are none the less lines.
        @Test(arguments: ["cloacina_events", "cloacina_task_commits"])
        func aHistoryOfMoreLinesThanAreReadIsSetAside(table: String) async throws {
            try await EngineFixture.with { fixture in
                _ = try await fixture.store.create([StoreConformance.new(1), StoreConformance.new(2)])
                _ = try await fixture.store.apply(
                    [1, 2].map { StoreConformance.change($0, status: .queued, dueAt: StoreConformance.at(1)) })
                let numbers = "generate_series(1, \(StoredLimits.historyLines + 1)) AS n"
                try await Self.script(fixture) { schema in
                    table == "cloacina_events"
                        ? """
                        INSERT INTO \(schema).cloacina_events (pipeline_id, revision, position, kind, attempt, at)
                        SELECT \(Self.id("1")), 2, n, 'pipeline released', 0, now() FROM \(numbers)
                        """
                        : """
                        INSERT INTO \(schema).cloacina_task_commits (pipeline_id, task, epoch, attempt, at)
                        SELECT \(Self.id("1")), n::text, 1, 1, now() FROM \(numbers)
                        """
                }
                let error = await #expect(throws: PipelineError.self) {
                    try await fixture.store.load(StoreConformance.id(1))
                }
                #expect(error?.code == .storageFailed)
                let first = try await fixture.store.claim(StoreConformance.claim())
                let second = try await fixture.store.claim(StoreConformance.claim())
                #expect((first + second).map(\.id) == [StoreConformance.id(2)])
                let aside = try await fixture.store.list(PipelineQuery(statuses: [.paused]))
                #expect(aside.map(\.id) == [StoreConformance.id(1)])
            }
        }

        /// A version with a blank would be taken for another lane of the queue, whose runners can't claim it and walk over it.
        @Test(arguments: ["", "v1 w", " "]) func aVersionThatIsNoPartOfALaneIsRefused(version: String) async throws {
            try await EngineFixture.with { fixture in
                _ = try await fixture.store.create([StoreConformance.new(1, owner: nil)])
                let error = await #expect(throws: PostgresError.self) {
                    try await Self.script(fixture) { schema in
                        "UPDATE \(schema).cloacina_pipelines SET version = '\(version)'"
                    }
                }
                #expect(error?.sqlState == "23514")
            }
        }

        @Test func aListOfHugeRowsIsBounded() async throws {
            try await EngineFixture.with { fixture in
                try await Self.script(fixture) { schema in
                    """
                    INSERT INTO \(schema).cloacina_pipelines (\(Self.pipelineColumns))
                    SELECT gen_random_uuid(), repeat('w', 1000), repeat('v', 200), 'paused', 1000000000, 1000000000, 1000000000,
                        2147483647, NULL, 'infinity', '{}', 1000000, 1000000, gen_random_uuid(), 'cancel'
                    FROM generate_series(1, 10100) AS n
                    """
                }
                let page = try await fixture.store.list(PipelineQuery(limit: .max))
                #expect(page.count == 10_000)
                #expect(page.allSatisfy { $0.workflow.utf8.count == 1_000 && $0.version.utf8.count == 200 })
                // Beyond that nobody gets a name.
                let error = await #expect(throws: PostgresError.self) {
                    try await Self.script(fixture) { schema in
                        "UPDATE \(schema).cloacina_pipelines SET workflow = repeat('w', 1001)"
                    }
                }
                #expect(error?.sqlState == "23514")
            }
        }

        /// A page of events ends with the line that reaches 8 MiB, whichever of its columns are large.
        @Test(arguments: [
            "repeat('t', 4000), repeat('r', 100), NULL, NULL", "NULL, NULL, repeat('d', 20000), NULL",
            "NULL, NULL, NULL, repeat('x', 20000)",
        ])
        func aPageOfHugeEventsIsBounded(columns: String) async throws {
            try await EngineFixture.with { fixture in
                try await Self.script(fixture) { schema in
                    """
                    INSERT INTO \(schema).cloacina_events (pipeline_id, revision, position, kind, attempt, at,
                        task, reason, detail, delta)
                    SELECT \(Self.id("n")), 1000000000, 1000000000, 'task failed', 1000000000, 'infinity', \(columns)
                    FROM generate_series(1, 10000) AS n
                    """
                }
                // What it sends, counted by the server.
                let events = PostgresWorkflowQueries.events(EventQuery(limit: .max))
                let sum = """
                    SELECT count(*)::int4 AS lines, sum(200 + coalesce(octet_length(task), 0) + coalesce(octet_length(detail), 0)
                        + coalesce(octet_length(delta), 0))::int8 AS bytes FROM (\(events.sql)) AS page
                    """
                let (lines, bytes) = try await fixture.pool.withConnection(fixture.label) { lease in
                    let row = try #require(
                        try await lease.query(PostgresStatement(trusted: sum, events.binds, prepared: false)).first)
                    return (try row.value("lines", as: Int.self), try row.value("bytes", as: Int64.self))
                }
                let budget = Int64(QueueClaim.defaultByteLimit)
                #expect((budget...budget + 20_200).contains(bytes), "\(bytes) in \(lines)")
                let page = try await fixture.store.events(EventQuery(limit: .max))
                #expect(page.count == lines && lines < 2_100)
                // The rest comes with the pages that follow.
                let next = try await fixture.store.events(EventQuery(limit: .max, after: page.last?.cursor))
                #expect(next.count == lines && Set(next.map(\.pipeline)).isDisjoint(with: page.map(\.pipeline)))
            }
        }

        @Test func aSurveyOfVeryManyRunnersIsBounded() async throws {
            try await EngineFixture.with { fixture in
                try await Self.script(fixture) { schema in
                    """
                    INSERT INTO \(schema).cloacina_runners (id, beats, seen_at, is_stopping)
                    SELECT gen_random_uuid(), n, now(), true FROM generate_series(1, 10000) AS n;
                    INSERT INTO \(schema).cloacina_pipelines (\(Self.pipelineColumns))
                    SELECT gen_random_uuid(), repeat('w', 900) || n, repeat('v', 200),
                        CASE n % 3 WHEN 0 THEN 'running' WHEN 1 THEN 'paused' ELSE 'queued' END, 2, 1, 0, n,
                        CASE n % 3 WHEN 2 THEN to_timestamp(n) END, now(), '{}', 1, 0, CASE n % 3 WHEN 0 THEN gen_random_uuid() END,
                        CASE n % 3 WHEN 1 THEN 'cancel' END
                    FROM generate_series(1, 10000) AS n
                    """
                }
                let survey = try await fixture.store.survey(everyOwner: true, at: StoreConformance.at(0))
                #expect(survey.beats.count == 2_000 && survey.unheard.count == 1_000 && survey.isDue)
                #expect(
                    try await fixture.store.survey(everyOwner: false, at: StoreConformance.at(0)).beats.count == 1_000)
            }
        }
    }
}
