import FoundationEssentials
import Synchronization
import Testing

@testable import Cloacina

/// What a task that stands in for a failed one is given, and that its rule looks at the very same.
@Suite(.timeLimit(.minutes(5))) struct FallbackContextTests {
    private struct Broken: Error {}

    /// What the fallback is to be given: the input, and what first and second did to it in this order. The object was merged
    /// by key, so what second removed of it is gone.
    private static let expected: [String: JSONValue] = [
        "input": 7, "kept": ["a": 1, "second": true], "winner": "second", "first": "yes", "list": [2],
    ]

    /// First, second and a task that fails, and behind them whatever a test adds.
    private static func workflow(_ behind: [WorkflowTask]) throws -> Workflow {
        let tasks = [
            WorkflowTask("first") { context in
                try context.set("winner", to: "first")
                try context.set("first", to: "yes")
                try context.set("list", to: [1])
                context.remove("secret")
            },
            WorkflowTask("second") { context in
                try context.set("winner", to: "second")
                try context.set("kept", to: ["a": 1, "second": true] as JSONValue)
                try context.set("list", to: [2])
            },
            WorkflowTask("bad", after: "first") { context in
                try context.set("bad", to: true)
                try context.set("winner", to: "bad")
                throw Broken()
            },
        ]
        return try Workflow("w", tasks: tasks + behind)
    }

    private static func execute(_ workflow: Workflow) async throws -> PipelineResult {
        let runner = try DefaultRunner(store: InMemoryWorkflowStore(), workflows: [workflow])
        let input = try Context([
            "input": 7, "secret": "x", "kept": ["a": 1, "gone": 1], "winner": "nobody",
        ])
        return try await runner.execute("w", context: input)
    }

    @Test func aFallbackIsGivenTheInputAndTheMergeOfItsDependencies() async throws {
        let seen = Mutex<[String: [String: JSONValue]]>([:])
        let dependencies = ["first", "second", "bad"]
        let look: @Sendable (inout Context, TaskScope) -> Void = { context, scope in
            let values = context.values
            seen.withLock { $0[scope.task] = values }
        }
        let workflow = try Self.workflow([
            WorkflowTask("fallback", dependencies: dependencies, triggerRule: .taskFailed("bad")) { look(&$0, $1) },
            WorkflowTask("always", dependencies: dependencies, triggerRule: .always) { look(&$0, $1) },
        ])
        let result = try await Self.execute(workflow)
        #expect(result.status == .failed)
        #expect(seen.withLock { $0 } == ["fallback": Self.expected, "always": Self.expected])
        #expect(result.finalContext.values == Self.expected)
    }

    @Test func theOrderOfTheDependenciesDecidesForTaskAndRule() async throws {
        let rule = { (winner: String) in
            TriggerRule.all([.taskFailed("bad"), .contextValue("winner", .equals, .string(winner))])
        }
        for (order, winner, loser) in [
            (["first", "second", "bad"], "second", "first"), (["bad", "second", "first"], "second", "first"),
            (["second", "bad"], "first", "second"), (["second", "first", "bad"], "first", "second"),
        ] {
            let workflow = try Self.workflow([
                WorkflowTask("right", dependencies: order, triggerRule: rule(winner)) { context, _ in
                    try context.set("given", to: context["winner"])
                },
                WorkflowTask("wrong", dependencies: order, triggerRule: rule(loser)) { _, _ in
                    Issue.record("its rule saw something else")
                },
            ])
            let result = try await Self.execute(workflow)
            #expect(result.finalContext["given"] == .string(winner), "\(order)")
            #expect(result.task("wrong")?.status == .skipped)
        }
    }

    @Test func aRuleSeesEachValueThatItsTaskIsGiven() async throws {
        var conditions = Self.expected.map { TriggerRule.contextValue(ContextPath(key: $0), .equals, $1) }
        conditions += [
            .contextNotExists("secret"), .contextNotExists("bad"), .contextNotExists("kept.gone"),
            .contextValue("kept.second", .equals, true), .contextValue("list[0]", .equals, 2), .taskFailed("bad"),
        ]
        let denied = ["secret", "bad", "kept.gone", "list[1]"] as [ContextPath]
        var tasks = conditions.enumerated().map { number, rule in
            WorkflowTask("yes \(number)", dependencies: ["first", "second", "bad"], triggerRule: rule) { _, _ in }
        }
        tasks += denied.map { path in
            WorkflowTask("no \(path)", dependencies: ["first", "second", "bad"], triggerRule: .contextExists(path)) {
                _, _ in Issue.record("it ran")
            }
        }
        let result = try await Self.execute(try Self.workflow(tasks))
        for task in result.tasks where task.id.hasPrefix("yes") { #expect(task.status == .completed, "\(task)") }
        for task in result.tasks where task.id.hasPrefix("no") { #expect(task.status == .skipped) }
        #expect(result.tasks.count == 3 + conditions.count + denied.count)
    }

    /// The tree behind a skipped and a failed task still brings what its completed parts have done.
    @Test func whatIsBehindAFailureStillHandsOnWhatCameBefore() async throws {
        let given = Mutex<[String: JSONValue]>([:])
        let workflow = try Self.workflow([
            WorkflowTask("never", after: "bad") { _ in Issue.record("it ran") },
            WorkflowTask("last", after: "never", triggerRule: .taskSkipped("never")) { context in
                let values = context.values
                given.withLock { $0 = values }
            },
        ])
        _ = try await Self.execute(workflow)
        #expect(
            given.withLock { $0 } == [
                "input": 7, "kept": ["a": 1, "gone": 1], "winner": "first", "first": "yes", "list": [1],
            ])
    }
}
