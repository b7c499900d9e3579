import Cloacina
import FoundationEssentials
import Testing

/// What a runner over any store answers to callers that bring idempotency keys.
extension StoreConformance {
    package static let callers: [Check] = [
        Check(name: "a caller is told whose its key is", run: Self.foreignKeys),
        Check(name: "a caller is told that its input is another one", run: Self.otherInputs),
        Check(name: "a caller learns if its pipeline is new", run: Self.newOrNot),
        Check(name: "a failed pipeline is run anew on request", run: Self.runAnew),
        Check(name: "of many callers that run a failed pipeline anew one does", run: Self.racingCallers),
        Check(name: "a task's child is of one workflow, and nobody else's", run: Self.childrenByName),
    ]

    private struct Down: Error {}

    private static func runner(_ store: any WorkflowStore) throws -> DefaultRunner {
        let charge = try Workflow("charge") { WorkflowTask("charge") { try $0.set("charged", to: true) } }
        let refund = try Workflow("refund") { WorkflowTask("refund") { try $0.set("refunded", to: true) } }
        let export = try Workflow("export") {
            WorkflowTask("export") { context in
                guard try context.get("host", as: String.self) == "up" else { throw Down() }
            }
        }
        let parent = try Workflow("parent") {
            WorkflowTask("p", retry: .fixed(2, delay: .zero)) { context, scope in
                // Another input each time.
                let input = try Context(["attempt": .integer(Int64(scope.attempt))])
                let child = try await scope.execute("charge", as: "pay", context: input)
                try context.set("child", to: child.id.uuidString)
                try context.set("is new", to: child.isNew)
                if scope.attempt == 1 { throw Down() }
                _ = try await scope.execute("refund", as: "pay")
            }
        }
        return try DefaultRunner(store: store, workflows: [charge, refund, export, parent])
    }

    /// Every way to start a workflow.
    private static let calls: [@Sendable (DefaultRunner, String, Context, ExecutionOptions) async throws -> Bool] = [
        { try await $0.execute($1, context: $2, options: $3).isNew },
        { try await $0.executeAsync($1, context: $2, options: $3).isNew },
        { try await $0.enqueue($1, context: $2, options: $3).isNew },
        {
            var options = $3
            options.delay = .seconds(60)
            return try await $0.executeAsync($1, context: $2, options: options).isNew
        },
    ]

    private static func refusal(
        _ body: () async throws -> Bool, naming words: String..., sourceLocation: SourceLocation = #_sourceLocation
    ) async {
        let error = await #expect(throws: PipelineError.self, sourceLocation: sourceLocation) { try await body() }
        #expect(error?.code == .keyConflict, sourceLocation: sourceLocation)
        for word in words {
            #expect(error?.message.contains(word) == true, "\(error?.message ?? "")", sourceLocation: sourceLocation)
        }
    }

    static func foreignKeys(_ store: any WorkflowStore) async throws {
        let runner = try Self.runner(store)
        for reuse in KeyReusePolicy.allCases {
            let key = ExecutionOptions(idempotencyKey: "order\n\"4711\" \(reuse)", keyReuse: reuse)
            let first = try await runner.execute("charge", context: Context(), options: key)
            for call in Self.calls {
                await Self.refusal(
                    { try await call(runner, "refund", Context(), key) },
                    naming: "\"order\\n\\\"4711\\\" \(reuse)\"", "\"charge\"", "\"refund\"", "\(first.id)")
            }
        }
        #expect(try await runner.list(PipelineQuery(workflow: "refund")).isEmpty)
        await runner.shutDown(drain: .zero)
    }

    static func otherInputs(_ store: any WorkflowStore) async throws {
        let runner = try Self.runner(store)
        let key = ExecutionOptions(idempotencyKey: "k")
        let first = try await runner.execute("charge", context: try Context(["cents": 100]), options: key)
        for call in Self.calls {
            await Self.refusal(
                { try await call(runner, "charge", try Context(["cents": 200]), key) },
                naming: "\"k\"", "\"charge\"", "input", "\(first.id)", ".afterFailure")
            #expect(try await !call(runner, "charge", try Context(["cents": 100]), key))
        }
        #expect(try await runner.list().map(\.id) == [first.id])
        await runner.shutDown(drain: .zero)
    }

    static func newOrNot(_ store: any WorkflowStore) async throws {
        let runner = try Self.runner(store)
        #expect(try await runner.execute("charge").isNew)
        #expect(try await runner.enqueue("charge").isNew)
        let key = ExecutionOptions(idempotencyKey: "k")
        let first = try await runner.enqueue("charge", options: key)
        let second = try await runner.enqueue("charge", options: key)
        #expect(first.isNew && !second.isNew && first.id == second.id)
        await runner.serveOnce()
        #expect(try await first.result().isNew)
        #expect(try await !second.result().isNew)
        let third = try await runner.execute("charge", context: Context(), options: key)
        #expect(!third.isNew && third.id == first.id && third.finalContext["charged"] == true)
        #expect(try await !runner.result(of: first.id).isNew)
        #expect(try await !runner.snapshot(of: first.id).isNew)
        let begun = try await runner.executeAsync("charge", options: ExecutionOptions(idempotencyKey: "l"))
        #expect(begun.isNew)
        #expect(try await begun.result().isNew)
        await runner.shutDown(drain: .zero)
    }

    static func runAnew(_ store: any WorkflowStore) async throws {
        let runner = try Self.runner(store)
        let (down, up) = (try Context(["host": "down"]), try Context(["host": "up"]))
        let key = ExecutionOptions(idempotencyKey: "export-2024-06-01")
        let anew = ExecutionOptions(idempotencyKey: "export-2024-06-01", keyReuse: .afterFailure)
        let first = try await runner.execute("export", context: down, options: key)
        #expect(first.status == .failed && first.isNew)
        let told = try await runner.execute("export", context: down, options: key)
        #expect(told.id == first.id && !told.isNew && told.status == .failed)
        await Self.refusal({ try await runner.enqueue("export", context: up, options: key).isNew }, naming: "input")
        // The same input fails once more, as another pipeline.
        let second = try await runner.execute("export", context: down, options: anew)
        #expect(second.id != first.id && second.isNew && second.status == .failed)
        let third = try await runner.execute("export", context: up, options: anew)
        #expect(third.id != second.id && third.isNew && third.status == .completed)
        for options in [key, anew] {
            let last = try await runner.execute("export", context: up, options: options)
            #expect(last.id == third.id && !last.isNew)
        }
        #expect(try await runner.result(of: first.id).status == .failed)
        // One that was cancelled before it began, by way of the queue.
        let options = ExecutionOptions(idempotencyKey: "cancelled", keyReuse: .afterFailure)
        let waiting = try await runner.enqueue("export", context: up, options: options)
        try await waiting.cancel()
        let next = try await runner.enqueue("export", context: up, options: options)
        #expect(next.isNew && next.id != waiting.id)
        #expect(try await !runner.enqueue("export", context: up, options: options).isNew)
        await runner.serveOnce()
        #expect(try await next.result().status == .completed)
        await runner.shutDown(drain: .zero)
    }

    static func racingCallers(_ store: any WorkflowStore) async throws {
        let runners = try (0..<2).map { _ in try Self.runner(store) }
        let (down, up) = (try Context(["host": "down"]), try Context(["host": "up"]))
        let options = ExecutionOptions(idempotencyKey: "k", keyReuse: .afterFailure)
        let first = try await runners[0].execute("export", context: down, options: options)
        #expect(first.status == .failed)
        let results = try await withThrowingTaskGroup(of: PipelineResult.self) { group in
            for number in 0..<12 {
                group.addTask { try await runners[number % 2].execute("export", context: up, options: options) }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(Set(results.map(\.id)).count == 1 && results.count { $0.isNew } == 1)
        #expect(results.allSatisfy { $0.status == .completed && $0.id != first.id })
        #expect(try await runners[0].list().count == 2)
        for runner in runners { await runner.shutDown(drain: .zero) }
    }

    static func childrenByName(_ store: any WorkflowStore) async throws {
        let runner = try Self.runner(store)
        let result = try await runner.execute("parent")
        // What had completed is not run again for another input; another workflow is no second attempt at it.
        let charged = try await runner.list(PipelineQuery(workflow: "charge"))
        #expect(charged.count == 1)
        #expect(try await runner.list(PipelineQuery(workflow: "refund")).isEmpty)
        let task = try #require(result.task("p"))
        #expect(task.status == .failed && task.attempt == 2)
        let id = try #require(charged.first).id
        for word in ["keyConflict", "\"charge\"", "\"refund\"", "\(id)", "child of this task"] {
            #expect(task.error?.contains(word) == true, "\(task.error ?? "")")
        }
        // Nobody else is given a child for its key, nor can begin it anew.
        let child = try #require(try await store.load(id))
        let key = try #require(child.idempotencyKey)
        for reuse in KeyReusePolicy.allCases {
            let options = ExecutionOptions(idempotencyKey: key, keyReuse: reuse)
            await Self.refusal(
                { try await runner.execute("charge", context: child.input, options: options).isNew },
                naming: "child of the pipeline \(result.id)", "\(id)")
        }
        await runner.shutDown(drain: .zero)
    }
}
