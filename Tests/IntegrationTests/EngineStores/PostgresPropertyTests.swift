import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// Histories that real runners live in a tenant's schema, with tasks whose own writes commit with their completion.
    /// `CLOACINA_TEST_STORE_HISTORIES` sets how many, `CLOACINA_TEST_SEED` the first one's seed.
    @Suite(.timeLimit(.minutes(40))) struct PostgresPropertyTests {
        @Test(.serialized, arguments: StoreProperty.shares(otherwise: 200))
        func whatAnyoneIsToldOfAHistoryIsWhatIsStored(share: StoreProperty.Share) async throws {
            try await EngineFixture.with(connections: 12) { fixture in
                try await Self.makeTable(fixture)
                let (tally, violations) = await StoreProperty.live(share, on: "PostgreSQL", concurrently: 8) { _ in
                    Self.stores(fixture)
                }
                for violation in violations { Issue.record("\(violation)") }
                guard tally[.histories] >= 200 else { return }
                for kind in StoreProperty.Tally.Kind.allCases where kind != .newVersions {
                    #expect(tally[kind] > 0, "\(kind): \(tally)")
                }
            }
        }

        /// The table of the tasks' own writes. It has no key that would refuse a row which is there already.
        private static func makeTable(_ fixture: EngineFixture) async throws {
            let (schema, role) = (
                PostgresIdentifier.quote(fixture.schema), PostgresIdentifier.quote(try #require(fixture.label.role))
            )
            try await TenantFixture.withSuperuser { connection in
                try await connection.script(
                    """
                    CREATE TABLE \(schema).effects (
                        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, pipeline_id uuid NOT NULL,
                        task text NOT NULL, attempt integer NOT NULL);
                    CREATE INDEX effects_pipeline ON \(schema).effects (pipeline_id);
                    GRANT SELECT, INSERT ON \(schema).effects TO \(role);
                    """)
            }
        }

        private static func stores(_ fixture: EngineFixture) -> StoreProperty.Stores {
            // Each process has a place in the queue of its own.
            var stores = StoreProperty.Stores(reader: fixture.store) { _ in fixture.store }
            stores.makeRunner = { store, configuration, clock in
                try fixture.runner(store: store, configuration: configuration, clock: clock)
            }
            stores.transactional = { task, body in
                .transactional(
                    task.id, dependencies: task.dependencies, retry: task.retry, triggerRule: task.rule,
                    handles: task.handles, codeVersion: task.codeVersion
                ) { context, scope, transaction in
                    try await transaction.query(
                        """
                        INSERT INTO effects (pipeline_id, task, attempt)
                        VALUES (\(scope.executionID), \(scope.task), \(Int32(scope.attempt)))
                        """)
                    try await body(&context, scope)
                }
            }
            stores.effects = { pipeline in
                try await fixture.pool.withConnection(fixture.label) { lease in
                    try await lease.query("SELECT task, attempt FROM effects WHERE pipeline_id = \(pipeline)").map {
                        row in
                        StoreProperty.Effect(
                            task: try row.value("task"), attempt: Int(try row.value("attempt", as: Int32.self)))
                    }
                }
            }
            return stores
        }
    }
}
