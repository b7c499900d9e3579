import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// A server that is too slow for the recovery of everything that a dead runner had.
    @Suite(.timeLimit(.minutes(40))) struct SlowRecoveryTests {
        /// S19 × C31: a runner that was ended while it stopped was so in every part of its recovery.
        @Test func everyPartOfARecoveryKnowsThatTheRunnerWasStopping() async throws {
            try await EngineFixture.with { fixture in
                let store = PostgresWorkflowStore(
                    pool: fixture.pool, label: fixture.label, pipelinesPerRecovery: 3)
                _ = try await store.create((1...8).map { StoreConformance.new($0) })
                _ = try await store.beat(
                    StoreConformance.runner, number: 5, pipelines: [], isStopping: true, at: StoreConformance.at(1))
                let recovered = try await store.recover(
                    StoreConformance.runner, beats: 5, by: StoreConformance.other, at: StoreConformance.at(9))
                #expect(recovered == 8)
                let lines = try await store.events(EventQuery(limit: 100)).map(\.event)
                    .filter { $0.kind == .pipelineRecovered }
                #expect(lines.map(\.reason) == Array(repeating: .runnerStopped, count: 8))
            }
        }

        /// S19: it is asked for less, and not for the same again and again.
        @Test func whatTakesTooLongIsRecoveredInSmallerParts() async throws {
            try await EngineFixture.with { fixture in
                let store = PostgresWorkflowStore(
                    pool: fixture.pool, label: fixture.label, pipelinesPerRecovery: 40)
                _ = try await store.create((1...100).map { StoreConformance.new($0) })
                let schema = PostgresIdentifier.quote(fixture.schema)
                // As if more pipelines than that took longer than a statement may.
                try await TenantFixture.withSuperuser { connection in
                    try await connection.script(
                        """
                        CREATE FUNCTION \(schema).hurry() RETURNS trigger LANGUAGE plpgsql AS $$
                        BEGIN
                            IF (SELECT count(*) FROM changed) > 12 THEN
                                RAISE EXCEPTION 'too slow' USING ERRCODE = 'query_canceled';
                            END IF;
                            RETURN NULL;
                        END $$;
                        CREATE TRIGGER hurry AFTER UPDATE ON \(schema).cloacina_pipelines REFERENCING NEW TABLE AS changed
                        FOR EACH STATEMENT EXECUTE FUNCTION \(schema).hurry();
                        GRANT EXECUTE ON FUNCTION \(schema).hurry() TO PUBLIC
                        """)
                }
                var (recovered, refused) = (0, 0)
                for _ in 0..<50 where recovered < 100 {
                    do {
                        recovered += try await store.recover(
                            StoreConformance.runner, beats: 0, by: StoreConformance.other, at: StoreConformance.at(9))
                    } catch {
                        refused += 1
                    }
                }
                #expect(recovered == 100 && refused == 2)
                #expect(try await store.list(PipelineQuery(statuses: [.queued], limit: 1_000)).count == 100)
            }
        }
    }
}
