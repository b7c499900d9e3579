import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// A queue most of which a runner can't take, or others are just taking.
    @Suite(.timeLimit(.minutes(40))) struct StrandedQueueTests {
        /// Fills the queue with what is older and more urgent than all that a runner of "w" in "v1" can take.
        private static func strand(_ count: Int, _ fixture: EngineFixture) async throws {
            try await TenantFixture.withSuperuser { connection in
                let table = "\(PostgresIdentifier.quote(fixture.schema)).cloacina_pipelines"
                let columns = """
                    id, workflow, version, state, revision, epoch, recoveries, priority, due_at, created_at, started_at, input,
                    format, depth
                    """
                // A workflow and a version that nobody knows, and a format of a later library's; in many priorities.
                try await connection.script(
                    """
                    INSERT INTO \(table) (\(columns))
                    SELECT gen_random_uuid(), CASE n % 3 WHEN 0 THEN 'unknown' ELSE 'w' END, 'v0', 'queued', 2, 1, 0, n % 100,
                        to_timestamp(n), to_timestamp(n), CASE n % 3 WHEN 1 THEN to_timestamp(n) END, '{}',
                        CASE n % 3 WHEN 2 THEN 2 ELSE 1 END, 0
                    FROM generate_series(1, \(count)) AS n
                    """)
            }
        }

        /// However much of it there is: a few entries for each lane that the runner has, with few lanes and with many.
        @Test(arguments: [1, 200]) func aClaimWalksOverNothingThatTheRunnerCantTake(workflows: Int) async throws {
            try await EngineFixture.with { fixture in
                try await Self.strand(20_000, fixture)
                var known = ["w": "v1"]
                for number in 1..<workflows { known["w\(number)"] = "v1" }
                let claim = StoreConformance.claim(workflows: known, limit: 24)
                let statement = PostgresWorkflowQueries.claim(claim)
                let empty = try await fixture.queueEntriesRead(by: statement)
                _ = try await fixture.store.create([StoreConformance.new(1, owner: nil)])
                let one = try await fixture.queueEntriesRead(by: statement)
                #expect(empty <= 20 && (1...40).contains(one), "\(empty), \(one)")
                #expect(try await fixture.store.claim(claim).map(\.id) == [StoreConformance.id(1)])
            }
        }

        /// A survey asks for the first of each priority of each lane, and tells of what waits in a known format only.
        @Test func aSurveyReadsAFewOfEachLane() async throws {
            try await EngineFixture.with { fixture in
                try await Self.strand(20_000, fixture)
                let read = try await fixture.queueEntriesRead(
                    by: PostgresWorkflowQueries.queue(at: StoreConformance.at(100)))
                // Two lanes of a hundred priorities.
                #expect((200...1_000).contains(read), "\(read)")
                #expect(try await fixture.store.survey(everyOwner: false, at: StoreConformance.at(100)).isDue)
            }
        }

        /// With more lanes and priorities than a survey reads, a claim is what finds out.
        @Test func aSurveyOfVeryManyPrioritiesIsBounded() async throws {
            try await EngineFixture.with { fixture in
                try await TenantFixture.withSuperuser { connection in
                    try await connection.script(
                        """
                        INSERT INTO \(PostgresIdentifier.quote(fixture.schema)).cloacina_pipelines (id, workflow, version, state,
                            revision, epoch, recoveries, priority, due_at, created_at, input, format, depth)
                        SELECT gen_random_uuid(), 'w', 'v', 'queued', 1, 0, 0, n, 'infinity', now(), '{}', 1, 0
                        FROM generate_series(1, 10000) AS n
                        """)
                }
                let read = try await fixture.queueEntriesRead(
                    by: PostgresWorkflowQueries.queue(at: StoreConformance.at(100)))
                #expect(read <= 5_000, "\(read)")
                #expect(try await fixture.store.survey(everyOwner: false, at: StoreConformance.at(100)).isDue)
            }
        }

        /// Another session, such as another runner's, holds so many of the first that all a claim looks at first are among
        /// them: it takes those behind them, and does not take the queue for empty.
        @Test(arguments: [1, 40, 500]) func whatOthersHoldHidesNothing(held: Int) async throws {
            try await EngineFixture.with { fixture in
                let numbers = Array(1...600)
                _ = try await fixture.store.create(
                    numbers.map { StoreConformance.new($0, owner: nil, at: StoreConformance.at(Double($0) / 100)) })
                try await TenantFixture.withSuperuser { other in
                    try await other.script(
                        """
                        BEGIN;
                        SELECT id FROM \(PostgresIdentifier.quote(fixture.schema)).cloacina_pipelines
                        ORDER BY id LIMIT \(held) FOR UPDATE
                        """)
                    let claimed = try await fixture.store.claim(StoreConformance.claim(limit: 4))
                    #expect(claimed.map(\.id) == (held + 1...held + 4).map(StoreConformance.id))
                    let rest = try await fixture.store.claim(StoreConformance.claim(limit: 1_000))
                    #expect(rest.count == 600 - held - 4)
                    try await other.script("ROLLBACK")
                }
                #expect(try await fixture.store.claim(StoreConformance.claim(limit: 1_000)).count == held)
            }
        }

        /// Where claims go on after the last place because they are slow, that is for the lanes that were claimed from only.
        @Test func aWorkflowThatIsKnownNowIsLookedForFromTheStart() async throws {
            try await EngineFixture.with { fixture in
                // Every claim from the start counts as slow.
                let store = PostgresWorkflowStore(pool: fixture.pool, label: fixture.label, slowClaim: .zero)
                func news(_ numbers: ClosedRange<Int>, _ workflow: String) -> [NewPipeline] {
                    numbers.map {
                        StoreConformance.new($0, workflow: workflow, owner: nil, at: StoreConformance.at(Double($0)))
                    }
                }
                _ = try await store.create(news(1...3, "late") + news(11...19, "w"))
                let claimed = try await store.claim(StoreConformance.claim(limit: 3))
                #expect(claimed.map(\.id) == [11, 12, 13].map(StoreConformance.id))
                let both = StoreConformance.claim(workflows: ["w": "v1", "late": "v1"], limit: 4)
                #expect(try await store.claim(both).map(\.id) == [1, 2, 3, 14].map(StoreConformance.id))
                // One version more of a workflow counts as much.
                _ = try await store.create([
                    StoreConformance.new(4, at: StoreConformance.at(4))
                ])
                let back = PipelineEvent(.taskCompleted, task: "t", attempt: 1, at: StoreConformance.at(5))
                _ = try await store.apply([
                    StoreConformance.change(4, status: .queued, dueAt: StoreConformance.at(4), events: [back])
                ])
                func claim(_ earlier: [String: Set<String>]) -> QueueClaim {
                    QueueClaim(
                        runner: UUID(), workflows: ["w": "v2"], earlier: earlier, limit: 2, at: StoreConformance.at(100)
                    )
                }
                #expect(try await store.claim(claim([:])).map(\.id) == [15, 16].map(StoreConformance.id))
                #expect(try await store.claim(claim(["w": ["v1"]])).map(\.id) == [4, 17].map(StoreConformance.id))
            }
        }

        /// An urgent look, or one for children only, takes no part of what it isn't for from where another claim left off.
        @Test func aSlowClaimsPlaceIsNoOtherClaims() async throws {
            try await EngineFixture.with { fixture in
                let store = PostgresWorkflowStore(pool: fixture.pool, label: fixture.label, slowClaim: .zero)
                _ = try await store.create(
                    (1...8).map {
                        StoreConformance.new(
                            $0, owner: nil, at: StoreConformance.at(Double($0)),
                            parent: $0 == 5 ? StoreConformance.id(99) : nil)
                    })
                #expect(try await store.claim(StoreConformance.claim(limit: 1)).map(\.id) == [StoreConformance.id(1)])
                var urgent = StoreConformance.claim(limit: 1)
                urgent.abovePriority = 0
                #expect(try await store.claim(urgent).isEmpty)
                var children = StoreConformance.claim(limit: 1)
                children.onlyChildren = true
                #expect(try await store.claim(children).map(\.id) == [StoreConformance.id(5)])
                let next = try await store.claim(StoreConformance.claim(limit: 2))
                #expect(next.map(\.id) == [2, 3].map(StoreConformance.id))
            }
        }
    }
}
