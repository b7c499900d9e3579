import CloacinaWorkflow
import EngineTestSupport
import FoundationEssentials
import TestSupport
import Testing

@testable import Cloacina

/// What is read of a file whose rows somebody has filled to the brim (security C6, engine A20).
@Suite(.timeLimit(.minutes(5))) struct SQLiteBoundedReadTests {
    private static func withStore(_ body: (SQLiteWorkflowStore) async throws -> Void) async throws {
        try await withTemporaryDirectory { directory in
            try await body(try await SQLiteWorkflowStore(opening: directory.appending(path: "p.db")))
        }
    }

    /// The numbers from 1 to another one, in SQL.
    private static func numbers(_ count: Int) -> String {
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < \(count))"
    }

    /// Enlarges the inputs of what is stored to so many bytes, an even number.
    private static func enlarge(_ store: SQLiteWorkflowStore, bytes: Int, where condition: String = "true") async throws
    {
        try await store.database.execute(
            """
            UPDATE cloacina_pipelines SET input = '{"x":"' || hex(zeroblob(\((bytes - 8) / 2))) || '"}' WHERE \(condition)
            """)
    }

    @Test func aClaimOfLargeInputsEndsWithItsBudget() async throws {
        try await Self.withStore { store in
            _ = try await store.create(
                (1...256).map { StoreConformance.new($0, owner: nil, at: StoreConformance.at(Double($0) / 10)) })
            try await Self.enlarge(store, bytes: 1_000_000)
            var claim = StoreConformance.claim(limit: 256)
            // Eight are a little less than 8 MiB.
            let claimed = try await store.claim(claim)
            #expect(claimed.map(\.id) == (1...9).map(StoreConformance.id))
            #expect(claimed.allSatisfy { $0.storedBytes == 1_000_000 && $0.input.keys == ["x"] })
            claim.byteLimit = 1
            #expect(try await store.claim(claim).map(\.id) == [StoreConformance.id(10)])
            #expect(try await store.list(PipelineQuery(statuses: [.queued], limit: 1_000)).count == 246)
        }
    }

    @Test func anInputBeyondWhatIsReadIsSetAside() async throws {
        try await Self.withStore { store in
            _ = try await store.create((1...3).map { StoreConformance.new($0, owner: nil) })
            try await Self.enlarge(
                store, bytes: StoredLimits.valueBytes + 8, where: "id = (SELECT min(id) FROM cloacina_pipelines)")
            #expect(try await store.claim(StoreConformance.claim()).map(\.id) == [2, 3].map(StoreConformance.id))
            #expect(try await store.list(PipelineQuery(statuses: [.paused])).map(\.id) == [StoreConformance.id(1)])
            let error = await #expect(throws: PipelineError.self) { try await store.load(StoreConformance.id(1)) }
            #expect(error?.code == .storageFailed)
        }
    }

    /// However short they are.
    @Test func aHistoryOfMoreLinesThanAreReadIsSetAside() async throws {
        try await Self.withStore { store in
            _ = try await store.create([StoreConformance.new(1), StoreConformance.new(2)])
            _ = try await store.apply(
                [1, 2].map { StoreConformance.change($0, status: .queued, dueAt: StoreConformance.at(1)) })
            try await store.database.execute(
                """
                \(Self.numbers(StoredLimits.historyLines + 1))
                INSERT INTO cloacina_events (pipeline_id, revision, position, kind, attempt, at)
                SELECT (SELECT min(id) FROM cloacina_pipelines), 2, n, 'pipeline released', 0, 0 FROM numbers
                """)
            let error = await #expect(throws: PipelineError.self) { try await store.load(StoreConformance.id(1)) }
            #expect((error?.underlying as? SQLiteError)?.code == .corrupt)
            let first = try await store.claim(StoreConformance.claim())
            let second = try await store.claim(StoreConformance.claim())
            #expect((first + second).map(\.id) == [StoreConformance.id(2)])
            #expect(try await store.list(PipelineQuery(statuses: [.paused])).map(\.id) == [StoreConformance.id(1)])
            // Nobody can go on with it; it can be ended, and begun anew.
            let clock = HandClock()
            let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
            let runner = try clock.runner(workflow, store: store)
            _ = try await runner.restart(StoreConformance.id(1))
            #expect(try await store.status(of: StoreConformance.id(1)) == .cancelled)
            #expect(try await store.list(PipelineQuery(statuses: [.queued])).count == 1)
            try await runner.cancel(StoreConformance.id(1))
        }
    }

    @Test(arguments: ["output", "outcomes"]) func aResultBeyondWhatIsReadIsATypedError(column: String) async throws {
        try await Self.withStore { store in
            _ = try await store.create([StoreConformance.new(1)])
            try await store.database.execute(
                "UPDATE cloacina_pipelines SET \(column) = hex(zeroblob(\(StoredLimits.resultBytes / 2 + 1)))")
            let error = await #expect(throws: PipelineError.self) { try await store.load(StoreConformance.id(1)) }
            #expect((error?.underlying as? SQLiteError)?.code == .corrupt)
            // Who only wants to know whose it is, or what it began with, reads no result.
            #expect(try await store.row(of: StoreConformance.id(1))?.status == .running)
            #expect(try await store.standing(of: StoreConformance.id(1))?.owner == StoreConformance.runner)
        }
    }

    /// The owner of a pipeline is known of one too that can't be read otherwise.
    @Test func aStandingIsReadWhateverTheInputIs() async throws {
        try await Self.withStore { store in
            _ = try await store.create([StoreConformance.new(1)])
            try await store.database.execute("UPDATE cloacina_pipelines SET input = '{'")
            await #expect(throws: PipelineError.self) { try await store.row(of: StoreConformance.id(1)) }
            #expect(
                try await store.standing(of: StoreConformance.id(1))
                    == PipelineStanding(status: .running, revision: 1, epoch: 1, owner: StoreConformance.runner))
        }
    }

    /// A letter may be several bytes, and a NUL ends what counts letters.
    @Test(arguments: ["ü", "\u{1F4A5}", "a\u{0}b"]) func aHistoryIsCountedInBytes(text: String) async throws {
        try await Self.withStore { store in
            _ = try await store.create([StoreConformance.new(1)])
            let detail = String(repeating: text, count: 1_000)
            let event = PipelineEvent(.taskFailed, task: "t", attempt: 1, at: StoreConformance.at(1), detail: detail)
            _ = try await store.apply([
                StoreConformance.change(1, status: .queued, dueAt: StoreConformance.at(1), events: [event])
            ])
            let claimed = try #require(try await store.claim(StoreConformance.claim()).first)
            // The input, and two lines.
            #expect(claimed.storedBytes == claimed.input.byteCount + 2 * 200 + detail.utf8.count)
        }
    }

    /// A page ends with the line that reaches 8 MiB, and a line that is beyond all bounds is told as one that can't be read.
    @Test(arguments: [
        ("hex(zeroblob(2000))", "NULL", 4_000), ("'t'", "hex(zeroblob(10000))", 20_001),
        ("'t'", "hex(zeroblob(9000000))", nil), ("hex(zeroblob(9000000))", "NULL", nil),
    ])
    func aPageOfHugeEventsIsBounded(task: String, detail: String, bytes: Int?) async throws {
        try await Self.withStore { store in
            let count = bytes == nil ? 3 : 3_000
            try await store.database.execute(
                """
                \(Self.numbers(count))
                INSERT INTO cloacina_events (pipeline_id, revision, position, kind, task, attempt, at, detail)
                SELECT zeroblob(16), n, 0, 'task failed', \(task), 1, 0, \(detail) FROM numbers
                """)
            let page = try await store.events(EventQuery(limit: .max))
            if let bytes {
                let budget = QueueClaim.defaultByteLimit
                #expect((budget...budget + bytes + 200).contains(page.count * (bytes + 200)), "\(page.count)")
            } else {
                #expect(page.map(\.event.kind) == Array(repeating: .unreadable, count: count))
            }
        }
    }

    @Test func aListOfHugeNamesIsBounded() async throws {
        try await Self.withStore { store in
            _ = try await store.create((1...3).map { StoreConformance.new($0) })
            try await store.database.execute(
                "UPDATE cloacina_pipelines SET workflow = hex(zeroblob(9000000)), version = hex(zeroblob(9000000))")
            let page = try await store.list(PipelineQuery())
            #expect(page.count == 3)
            #expect(page.allSatisfy { $0.workflow.utf8.count == 4_000 && $0.version.utf8.count == 4_000 })
        }
    }

    @Test func aSurveyOfVeryManyRunnersLanesAndPrioritiesIsBounded() async throws {
        try await Self.withStore { store in
            try await store.database.execute(
                """
                \(Self.numbers(5_000))
                INSERT INTO cloacina_runners (id, beats, seen_at, is_stopping) SELECT randomblob(16), n, 0, 1 FROM numbers;
                \(Self.numbers(9_000))
                INSERT INTO cloacina_pipelines (id, workflow, version, format, state, revision, epoch, recoveries, priority, owner,
                    due_at, created_at, input, depth, request)
                SELECT randomblob(16), 'w' || (n / 10), 'v', 1,
                    CASE n % 3 WHEN 0 THEN 'running' WHEN 1 THEN 'paused' ELSE 'queued' END, 2, 1, 0, n,
                    CASE n % 3 WHEN 0 THEN randomblob(16) END, CASE n % 3 WHEN 2 THEN 1000000 END, 0, '{}', 0,
                    CASE n % 3 WHEN 1 THEN 'cancel' END
                FROM numbers
                """)
            let early = Date(timeIntervalSince1970: 0)
            let survey = try await store.survey(everyOwner: true, at: early)
            #expect(survey.beats.count == 2_000 && survey.unheard.count == 1_000)
            // Nothing is due, but more is there than was looked at.
            #expect(survey.isDue)
            #expect(try await store.survey(everyOwner: false, at: early).beats.count == 1_000)
        }
    }
}
