import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// Own commits that come between the reading of a pipeline and what is decided from that.
    @Suite(.timeLimit(.minutes(40))) struct LateCommitTests {
        /// S16: a recovery that waits for somebody's lock began to look before a task committed itself.
        @Test func anOwnCommitThatComesWhileARecoveryWaitsIsFoldedIn() async throws {
            try await EngineFixture.with { fixture in
                let store = fixture.store
                _ = try await store.create([StoreConformance.new(1)])
                _ = try await store.beat(StoreConformance.runner, number: 5, pipelines: [], at: StoreConformance.at(1))
                let schema = PostgresIdentifier.quote(fixture.schema)
                let login = fixture.login
                try await TenantFixture.withSuperuser { holder in
                    try await holder.script("BEGIN; SELECT id FROM \(schema).cloacina_runners FOR UPDATE")
                    let recovering = Task {
                        try await store.recover(
                            StoreConformance.runner, beats: 5, by: StoreConformance.other, at: StoreConformance.at(9))
                    }
                    try await TenantFixture.withSuperuser { other in
                        try await other.waitUntil(
                            """
                            SELECT EXISTS (
                                SELECT FROM pg_stat_activity WHERE usename = \(login) AND wait_event_type = 'Lock')
                            """)
                        try await other.script(
                            """
                            INSERT INTO \(schema).cloacina_task_commits (pipeline_id, task, epoch, attempt, at)
                            VALUES ('\(StoreConformance.id(1))', 't', 1, 1, now())
                            """)
                    }
                    try await holder.script("ROLLBACK")
                    let recovered = try await recovering.value
                    #expect(recovered == 1)
                }
                let stored = try #require(try await store.load(StoreConformance.id(1)))
                #expect(stored.events.map(\.kind) == [.pipelineStarted, .taskCompleted, .pipelineRecovered])
                #expect(stored.startedAt == StoreConformance.start && stored.commits.isEmpty && stored.owner == nil)
                #expect(try await store.beats(everyOwner: true).isEmpty)
            }
        }

        /// A pipeline that is un-begun goes on with any version, so a task's line pins it to its own.
        @Test func aPipelineWhoseTaskCommittedMeanwhileHasBegun() async throws {
            try await EngineFixture.with { fixture in
                _ = try await fixture.store.create([StoreConformance.new(1), StoreConformance.new(2)])
                let schema = PostgresIdentifier.quote(fixture.schema)
                try await TenantFixture.withSuperuser { connection in
                    try await connection.script(
                        """
                        INSERT INTO \(schema).cloacina_task_commits (pipeline_id, task, epoch, attempt, at)
                        VALUES ('\(StoreConformance.id(1))', 't', 1, 1, now())
                        """)
                }
                for number in 1...2 {
                    var change = StoreConformance.change(number, status: .queued, dueAt: StoreConformance.at(1))
                    // As read before the commit.
                    (change.transition.foldsEverything, change.transition.isUntouched) = (true, true)
                    #expect(try await fixture.store.apply([change]) == [.applied(nil)])
                }
                let begun = try #require(try await fixture.store.load(StoreConformance.id(1)))
                #expect(begun.startedAt == StoreConformance.start && begun.isTouched && begun.commits.isEmpty)
                #expect(try await fixture.store.load(StoreConformance.id(2))?.startedAt == nil)
                // A runner of another version takes the one that nobody has begun.
                let claim = StoreConformance.claim(workflows: ["w": "v2"])
                #expect(try await fixture.store.claim(claim).map(\.id) == [StoreConformance.id(2)])
            }
        }
    }
}
