import CloacinaWorkflow
import Testing

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// The workflows that the tests use, written as an author would.
enum Samples {
    @Workflow(name: "etl", description: "Extract, transform, load")
    struct ETL {
        let url: String

        @Task(id: "extract", retry: .exponential(3))
        func extractRows(_ context: inout Context) async throws {
            try context.set("url", to: self.url)
        }

        @Task(id: "transform", dependencies: ["extract"], timeout: .seconds(30))
        func transform(_ context: inout Context) throws {
            try context.set("rows", to: 1)
        }

        @Task(
            dependencies: ["transform", "extract"], triggerRules: .all([.taskSucceeded("extract")]),
            onSuccess: { scope, context in _ = (scope, context) }, onFailure: Self.report)
        func load(context: inout Context, in scope: TaskScope) async throws {
            await Task.yield()
            try context.set("attempt", to: scope.attempt)
        }

        static func report(scope: TaskScope, failure: TaskFailure) async {}
    }

    @Workflow(name: "refunds")
    struct Refunds {
        static let chargeID = "charge"

        @Task func charge(_ context: inout Context) throws { throw CancellationError() }
        @Task(dependencies: ["charge"]) func ship(_ context: inout Context) {}
        @Task(dependencies: ["ship"], triggerRules: .anyFailed("charge", "ship"), handles: ["charge", Self.chargeID])
        func refund(_ context: inout Context, _ scope: TaskScope) throws {
            try context.set("reason", to: scope.failure(of: "charge")?.text)
        }
    }

    /// Functions whose names differ from each other, and from their tasks' ids, by `_task` alone.
    @Workflow
    struct Named {
        @Task func my_task(_ context: inout Context) throws { try context.set("ran", to: "my_task") }
        @Task(dependencies: ["my_task"])
        func _task(_ context: inout Context) throws { try context.set("ran", to: "_task") }
        @Task(dependencies: ["_task"])
        func a_task_of_task(_ context: inout Context) throws { try context.set("ran", to: "a_task_of_task") }
        @Task(id: "task", dependencies: ["a_task_of_task"])
        func task_task(_ context: inout Context) throws { try context.set("ran", to: "task") }
        @Task(id: "other_task", dependencies: ["task"], triggerRules: .taskSucceeded("my_task"))
        func other(_ context: inout Context) throws { try context.set("ran", to: "other_task") }
        @Task(dependencies: ["other_task"]) func my(_ context: inout Context) throws {
            try context.set("ran", to: "my")
        }
        @Task(id: "tidied", dependencies: ["my"])
        func tidy_task_up(_ context: inout Context) throws { try context.set("ran", to: "tidied") }
    }

    @Workflow
    actor Counter {
        private(set) var count = 0

        @Task
        func count(_ context: inout Context) throws {
            self.count += 1
            try context.set("count", to: self.count)
        }

        @Task(dependencies: ["count"])
        nonisolated func quiet(_ context: inout Context) {}
    }

    @Workflow(name: "on the main actor")
    @MainActor
    final class Screen {
        private var shown: [String] = []

        @Task
        func show(_ context: inout Context, _ scope: TaskScope) throws {
            self.shown.append(scope.task)
            try context.set("shown", to: self.shown)
        }
    }

    @Workflow
    enum Season {
        case summer, winter

        @Task
        func name(_ context: inout CloacinaWorkflow.Context) throws { try context.set("season", to: "\(self)") }

        #if NO_SUCH_CONDITION
            @Task(dependencies: ["name"])
            func never(_ context: inout Context) {}
        #elseif os(Linux) || os(macOS)
            @Task(dependencies: ["name"])
            func somewhere(_ context: inout Context) {}
        #else
            @Task(dependencies: ["name"])
            func elsewhere(_ context: inout Context) {}
        #endif
    }

    @Workflow
    struct Shadowed {
        struct Workflow {}
        struct WorkflowTask {}
        enum WorkflowError {}

        @Task func only(_ context: inout Context) async {}
    }

    @Workflow
    struct Generic<Value: Encodable & Sendable> {
        let value: Value

        @Task func `default`(`in` context: inout Context) throws { try context.set("value", to: self.value) }
    }
}

@Suite struct MacroUseTests {
    private func scope(_ task: String) -> TaskScope {
        TaskScope(executionID: UUID(), workflow: "etl", task: task, attempt: 2)
    }

    @Test func makesTheWorkflowAsDeclared() throws {
        let workflow = try Samples.ETL(url: "here").workflow
        #expect(workflow.name == "etl")
        #expect(workflow.description == "Extract, transform, load")
        #expect(workflow.tasks.map(\.id) == ["extract", "transform", "load"])
        #expect(workflow.tasks.map(\.dependencies) == [[], ["extract"], ["transform", "extract"]])
        #expect(workflow.topologicalOrder == ["extract", "transform", "load"])
    }

    @Test func passesOnWhatTheAttributesSay() throws {
        let tasks = try Samples.ETL(url: "here").workflow.tasks
        #expect(tasks.map(\.timeout) == [nil, .seconds(30), nil])
        #expect(tasks.map { $0.triggerRule == nil } == [true, true, false])
        #expect(tasks.map { $0.onSuccess == nil } == [true, true, false])
        #expect(tasks.map { $0.onFailure == nil } == [true, true, false])
        #expect(Set(tasks.map(\.codeVersion)).count == 3)
        #expect(tasks.allSatisfy { $0.codeVersion.count == 16 })
    }

    @Test func passesOnWhatATaskHandles() async throws {
        let workflow = try Samples.Refunds().workflow
        #expect(workflow.tasks.map(\.handles) == [[], [], ["charge", "charge"]])
        let scope = TaskScope(
            executionID: UUID(), workflow: "refunds", task: "refund", attempt: 1,
            failures: ["charge": TaskFailure(text: "declined", typeName: "Declined", isTransient: false)])
        var context = Context()
        try await #require(workflow.task("refund")).run(&context, scope: scope)
        #expect(context["reason"] == "declined")
    }

    @Test func tasksRunOnTheValueThatMadeThem() async throws {
        var context = Context()
        for task in try Samples.ETL(url: "here").workflow.tasks {
            try await task.run(&context, scope: self.scope(task.id))
        }
        #expect(try context.get("url", as: String.self) == "here")
        #expect(try context.get("rows", as: Int.self) == 1)
        #expect(try context.get("attempt", as: Int.self) == 2)
    }

    /// The original cuts `_task` out of a function's name, wherever it stands, and then finds no task.
    @Test func aNameMayHoldWhateverEachFunctionIsCalled() async throws {
        let workflow = try Samples.Named().workflow
        let ids = ["my_task", "_task", "a_task_of_task", "task", "other_task", "my", "tidied"]
        #expect(workflow.tasks.map(\.id) == ids)
        #expect(workflow.topologicalOrder == ids)
        for id in ids {
            var context = Context()
            try await #require(workflow.task(id)).run(&context, scope: self.scope(id))
            #expect(context.values == ["ran": .string(id)])
        }
    }

    @Test func anActorKeepsItsState() async throws {
        let workflow = try Samples.Counter().workflow
        #expect(workflow.name == "Counter")
        let task = try #require(workflow.task("count"))
        var context = Context()
        try await task.run(&context, scope: self.scope("count"))
        try await task.run(&context, scope: self.scope("count"))
        #expect(try context.get("count", as: Int.self) == 2)
        #expect(try workflow.dependents(of: "count") == ["quiet"])
    }

    @Test @MainActor func aGlobalActorsTypeIsCalledThere() async throws {
        let task = try #require(try Samples.Screen().workflow.task("show"))
        var context = Context()
        try await task.run(&context, scope: self.scope("show"))
        #expect(try context.get("shown", as: [String].self) == ["show"])
    }

    @Test func tasksUnderConditionsAreThereWhereTheyAreCompiled() async throws {
        let workflow = try Samples.Season.winter.workflow
        #expect(workflow.tasks.map(\.id) == ["name", "somewhere"])
        var context = Context()
        try await #require(workflow.task("name")).run(&context, scope: self.scope("name"))
        #expect(try context.get("season", as: String.self) == "winter")
    }

    @Test func namesOfTheAuthorShadowNothing() throws {
        #expect(try Samples.Shadowed().workflow.tasks.map(\.id) == ["only"])
    }

    @Test func aGenericTypeCanBeAWorkflow() async throws {
        let task = try #require(try Samples.Generic(value: 7).workflow.task("default"))
        var context = Context()
        try await task.run(&context, scope: self.scope("default"))
        #expect(try context.get("value", as: Int.self) == 7)
    }

    @Test func aTypeInsideAFunctionCanBeAWorkflow() throws {
        @Workflow struct Local {
            @Task func only(_ context: inout Context) {}
        }
        #expect(try Local().workflow.name == "Local")
    }
}
