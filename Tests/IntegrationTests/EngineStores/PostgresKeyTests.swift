import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

extension ServerTests {
    /// Idempotency keys where transactions meet; what every store promises of them is in `StoreConformance`.
    @Suite(.timeLimit(.minutes(40))) struct PostgresKeyTests {
        private struct Broken: Error {}

        private static let key = ExecutionOptions(idempotencyKey: "order '7'")
        private static let anew = ExecutionOptions(idempotencyKey: "order '7'", keyReuse: .afterFailure)

        private static func workflows() throws -> (Workflow, Workflow) {
            let flaky = try Workflow("flaky") {
                WorkflowTask("t") { context in if context["fails"] == true { throw Broken() } }
            }
            return (flaky, try Workflow("other") { WorkflowTask("t") { _ in } })
        }

        private static func refused(_ error: PipelineError?, naming id: UUID) {
            #expect(error?.code == .keyConflict)
            #expect(error?.message.contains("\(id)") == true)
        }

        @Test func aTransactionIsToldWhoseItsKeyIsAndGoesOn() async throws {
            try await EngineFixture.with { fixture in
                let (flaky, other) = try Self.workflows()
                let runner = try fixture.runner(flaky, other)
                let input = try Context(["text": "\u{E9}"])
                let first = try await runner.execute("flaky", context: input, options: Self.key)
                let last = try await fixture.pool.withConnection(fixture.label) { lease in
                    try await lease.withTransaction { transaction in
                        for options in [Self.key, Self.anew] {
                            do {
                                try await runner.enqueue("other", context: input, options: options, in: transaction)
                                Issue.record("another workflow's key was taken")
                            } catch let error as PipelineError {
                                Self.refused(error, naming: first.id)
                            }
                            do {
                                try await runner.enqueue("flaky", options: options, in: transaction)
                                Issue.record("a key with another input was taken")
                            } catch let error as PipelineError {
                                Self.refused(error, naming: first.id)
                            }
                            let same = try Context(["text": "e\u{301}"])
                            for input in [input, same] {
                                let again = try await runner.enqueue(
                                    "flaky", context: input, options: options, in: transaction)
                                #expect(again.id == first.id && !again.isNew)
                            }
                        }
                        return try await runner.enqueue("other", in: transaction)
                    }
                }
                #expect(last.isNew)
                #expect(try await runner.list().map(\.id) == [last.id, first.id])
                await runner.shutDown(drain: .zero)
            }
        }

        @Test func aKeyThatARolledBackTransactionTookIsTheFailedPipelinesAgain() async throws {
            try await EngineFixture.with { fixture in
                let (flaky, _) = try Self.workflows()
                let runner = try fixture.runner(flaky)
                let fails = try Context(["fails": true])
                let first = try await runner.execute("flaky", context: fails, options: Self.key)
                #expect(first.status == .failed)
                for commits in [false, true] {
                    let taken = Mutex<UUID?>(nil)
                    try? await fixture.pool.withConnection(fixture.label) { lease in
                        try await lease.withTransaction { transaction in
                            let new = try await runner.enqueue("flaky", options: Self.anew, in: transaction)
                            #expect(new.isNew && new.id != first.id)
                            let again = try await runner.enqueue("flaky", options: Self.anew, in: transaction)
                            #expect(!again.isNew && again.id == new.id)
                            taken.withLock { $0 = new.id }
                            if !commits { throw Broken() }
                        }
                    }
                    let new = try #require(taken.withLock { $0 })
                    #expect(try await fixture.store.row(of: first.id)?.idempotencyKey == (commits ? nil : "order '7'"))
                    #expect(try await fixture.store.row(of: new)?.idempotencyKey == (commits ? "order '7'" : nil))
                }
                await runner.shutDown(drain: .zero)
            }
        }

        /// A transaction that takes a key holds up those that want the same one, and nobody else.
        @Test func whoWantsAKeyThatIsBeingTakenIsAnsweredAfterTheCommit() async throws {
            try await EngineFixture.with { fixture in
                let store = fixture.store
                let new = { (number: Int, reuse: KeyReusePolicy) in
                    StoreConformance.new(
                        number, options: ExecutionOptions(idempotencyKey: "order '7'", keyReuse: reuse))
                }
                _ = try await store.create([new(1, .never)])
                _ = try await store.apply([StoreConformance.change(1, status: .failed)])
                try await fixture.pool.withConnection(fixture.label) { lease in
                    try await lease.withTransaction { transaction in
                        let taken = try await PostgresWorkflowStore.create(
                            new(2, .afterFailure), byServersClock: false, in: transaction)
                        #expect(taken == .created)
                        for reuse in KeyReusePolicy.allCases {
                            await #expect { try await store.create([new(3, reuse)]) } throws: {
                                ($0 as? PipelineError)?.isContention == true
                            }
                        }
                        let other = try await store.create([StoreConformance.new(4)])
                        #expect(other == [.created])
                    }
                }
                for reuse in KeyReusePolicy.allCases {
                    #expect(try await store.create([new(3, reuse)]) == [.exists(StoreConformance.id(2))])
                }
            }
        }

        @Test func ofTwoTransactionsThatTakeAKeyOneBeginsANewPipeline() async throws {
            try await EngineFixture.with { fixture in
                let (flaky, _) = try Self.workflows()
                let runner = try fixture.runner(flaky)
                let first = try await runner.execute("flaky", context: try Context(["fails": true]), options: Self.key)
                let both = Tally()
                let started = try await withThrowingTaskGroup(of: PipelineExecution.self) { group in
                    for _ in 0..<2 {
                        group.addTask {
                            try await fixture.pool.withConnection(fixture.label) { lease in
                                try await lease.withTransaction { transaction in
                                    await both.meet(2)
                                    return try await runner.enqueue("flaky", options: Self.anew, in: transaction)
                                }
                            }
                        }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                #expect(started.count { $0.isNew } == 1 && Set(started.map(\.id)).count == 1)
                #expect(started[0].id != first.id)
                #expect(try await runner.list().count == 2)
                await runner.shutDown(drain: .zero)
            }
        }
    }
}
