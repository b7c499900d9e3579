import CloacinaPostgres
import EngineTestSupport
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// What callers with idempotency keys are answered; what every store promises of them is in `StoreConformance`.
@Suite(.timeLimit(.minutes(5))) struct IdempotencyKeyTests {
    private struct Broken: Error {}

    /// A store in which every creation waits until it is let go.
    private final class HoldingStore: ForwardingWorkflowStore {
        let underlying: any WorkflowStore
        let (begun, mayCreate) = (Tally(), Tally())
        private let counts = Mutex<[Int]>([])

        init(_ store: any WorkflowStore) { self.underlying = store }

        /// How many were created at a time.
        var sizes: [Int] { self.counts.withLock { $0 } }

        func create(_ pipelines: [NewPipeline]) async throws(PipelineError) -> [Creation] {
            self.counts.withLock { $0.append(pipelines.count) }
            self.begun.add()
            await self.mayCreate.reached(1)
            return try await self.underlying.create(pipelines)
        }
    }

    private static func new(
        _ number: Int, _ workflow: String = "w", _ reuse: KeyReusePolicy = .never, input: Context = Context()
    ) -> NewPipeline {
        StoreConformance.new(
            number, workflow: workflow, options: ExecutionOptions(idempotencyKey: "k", keyReuse: reuse), input: input)
    }

    /// What is written together is answered to each caller as if it had come alone, in that order.
    private func answersOfAGatheredBatch(_ store: any WorkflowStore) async throws {
        let other = try Context(["a": 1])
        _ = try await store.create([Self.new(1)])
        _ = try await store.apply([StoreConformance.change(1, status: .failed)])
        let holding = HoldingStore(store)
        let writer = WriteBatcher(holding, maximumFlushes: 1)
        let first = Task { try await writer.create(StoreConformance.new(2)) }
        await holding.begun.reached(1)
        let batch = [
            Self.new(3), Self.new(4, "x", .afterFailure), Self.new(5, "w", .afterFailure, input: other), Self.new(6),
            Self.new(7, input: other),
        ]
        // Each is in the lane before the next one comes.
        let waiting = batch.map { new in Task.immediate { try await writer.create(new) } }
        holding.mayCreate.add()
        #expect(try await first.value == .created)
        var answers: [Creation] = []
        for task in waiting { answers.append(try await task.value) }
        let holder = { KeyHolder(id: StoreConformance.id($0), workflow: "w", parent: nil) }
        #expect(
            answers == [
                .exists(StoreConformance.id(1)), .conflicts(holder(1)), .created, .conflicts(holder(5)),
                .exists(StoreConformance.id(5)),
            ])
        #expect(holding.sizes == [1, 5])
    }

    @Test func callersThatAreGatheredAreEachAnsweredByTheirOwnKey() async throws {
        try await self.answersOfAGatheredBatch(InMemoryWorkflowStore())
        try await withTemporaryDirectory { directory in
            let store = try await SQLiteWorkflowStore(opening: directory.appending(path: "p.db"))
            try await self.answersOfAGatheredBatch(store)
        }
    }

    @Test func aRefusedCallerLeavesNothingBehind() async throws {
        let workflows = try ["a", "b"].map { try Workflow($0) { WorkflowTask("t") { _ in } } }
        let runner = try DefaultRunner(store: InMemoryWorkflowStore(), workflows: workflows)
        let key = ExecutionOptions(idempotencyKey: "k")
        let first = try await runner.execute("a", context: Context(), options: key)
        await #expect { try await runner.execute("b", context: Context(), options: key) } throws: {
            ($0 as? PipelineError)?.code == .keyConflict
        }
        #expect(runner.state.withLock { $0.adrift.isEmpty && $0.active.isEmpty })
        #expect(try await runner.list().map(\.id) == [first.id])
        await runner.shutDown(drain: .zero)
    }

    @Test func withoutAKeyEveryPipelineIsNew() async throws {
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in throw Broken() } }
        let runner = try DefaultRunner(store: InMemoryWorkflowStore(), workflows: [workflow])
        for reuse in KeyReusePolicy.allCases {
            let options = ExecutionOptions(keyReuse: reuse)
            for _ in 0..<2 { #expect(try await runner.execute("w", context: Context(), options: options).isNew) }
        }
        #expect(try await runner.list().count == 4)
        await runner.shutDown(drain: .zero)
    }

    /// The answer to its creation is lost, so the caller's runner finds the pipeline there when it tries again.
    @Test(arguments: KeyReusePolicy.allCases)
    func whatWasStoredWithoutAnAnswerIsNew(reuse: KeyReusePolicy) async throws {
        let isLost = Mutex(false)
        let store = HookedStore(
            InMemoryWorkflowStore(),
            after: { call throws(PipelineError) in
                let isFirst = isLost.withLock { isLost in
                    defer { isLost = isLost || call == .create }
                    return !isLost && call == .create
                }
                if isFirst {
                    throw PipelineError(.storageFailed, "on demand", underlying: PostgresError(.connectionLost))
                }
            })
        let workflow = try Workflow("w") { WorkflowTask("t") { _ in } }
        let runner = try DefaultRunner(store: store, workflows: [workflow])
        let options = ExecutionOptions(idempotencyKey: "k", keyReuse: reuse)
        let first = try await runner.enqueue("w", options: options)
        #expect(first.isNew && isLost.withLock { $0 })
        #expect(try await !runner.enqueue("w", options: options).isNew)
        #expect(try await runner.list().map(\.id) == [first.id])
        await runner.shutDown(drain: .zero)
    }

    // MARK: Cancelling

    @Test func cancellingACallerEndsOnlyItsWaitingForAnEarlierPipeline() async throws {
        let (begun, mayEnd, asked) = (Tally(), Tally(), Tally())
        let workflow = try Workflow("w") {
            WorkflowTask("t") { _ in
                begun.add()
                await mayEnd.reached(1)
            }
        }
        let store = HookedStore(
            InMemoryWorkflowStore(),
            after: { call throws(PipelineError) in if call == .create { asked.add() } })
        let runner = try DefaultRunner(store: store, workflows: [workflow])
        for reuse in KeyReusePolicy.allCases {
            let options = ExecutionOptions(idempotencyKey: "k", keyReuse: reuse)
            let first = try await runner.executeAsync("w", options: options)
            #expect(first.isNew == (reuse == .never))
            await begun.reached(1)
            let answered = asked.count + 1
            let waiting = Task { try await runner.execute("w", context: Context(), options: options) }
            await asked.reached(answered)
            waiting.cancel()
            await #expect { try await waiting.value } throws: { ($0 as? PipelineError)?.code == .cancelled }
            #expect(try await first.status() == .running)
        }
        mayEnd.add()
        #expect(
            try await runner.execute("w", context: Context(), options: .init(idempotencyKey: "k")).status == .completed)
        #expect(begun.count == 1)
        await runner.shutDown(drain: .zero)
    }

    @Test func cancellingACallerCancelsThePipelineThatItRanAnew() async throws {
        let (began, signal) = AsyncStream.makeStream(of: Void.self)
        let workflow = try Workflow("w") {
            WorkflowTask("t") { context in
                guard context["waits"] == true else { throw Broken() }
                signal.yield()
                try await Task.sleep(for: .seconds(3_600))
            }
        }
        let runner = try DefaultRunner(store: InMemoryWorkflowStore(), workflows: [workflow])
        let options = ExecutionOptions(idempotencyKey: "k", keyReuse: .afterFailure)
        let first = try await runner.execute("w", context: Context(), options: options)
        #expect(first.status == .failed)
        let input = try Context(["waits": true])
        let anew = Task { try await runner.execute("w", context: input, options: options) }
        _ = await began.first { _ in true }
        anew.cancel()
        let second = try await anew.value
        #expect(second.status == .cancelled && second.isNew && second.id != first.id)
        await runner.shutDown(drain: .zero)
    }

    // MARK: Files

    /// What can't be read is not known to be the same.
    @Test func aKeyWhosePipelinesInputIsUnreadableIsRefusedToOtherTexts() async throws {
        try await withTemporaryDirectory { directory in
            let store = try await SQLiteWorkflowStore(opening: directory.appending(path: "p.db"))
            _ = try await store.create([Self.new(1)])
            let holder = KeyHolder(id: StoreConformance.id(1), workflow: "w", parent: nil)
            for text in ["no JSON", "[]", ""] {
                try await store.database.execute("UPDATE cloacina_pipelines SET input = '\(text)'")
                #expect(try await store.create([Self.new(2), StoreConformance.new(3)])[0] == .conflicts(holder))
            }
            _ = try await store.apply([StoreConformance.change(1, status: .failed)])
            #expect(try await store.create([Self.new(2, "w", .afterFailure)]) == [.created])
        }
    }
}
