import TestSupport
import Testing

@testable import CloacinaWorkflow

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

@Suite struct WorkflowTests {
    private static func workflow(_ tasks: KeyValuePairs<String, [String]>) throws -> Workflow {
        try Workflow("w", tasks: tasks.map { WorkflowTask($0.key, dependencies: $0.value) { _, _ in } })
    }

    private static func refusal(_ tasks: KeyValuePairs<String, [String]>) throws -> WorkflowError {
        try #require(throws: WorkflowError.self) { try Self.workflow(tasks) }
    }

    @Test func readsAsItIsWritten() async throws {
        let withChecks = true
        let workflow = try Workflow("etl", description: "Extract, transform, load") {
            WorkflowTask("extract") { context in try context.insert("raw", [1, 2, 3]) }
            if withChecks {
                WorkflowTask("check", after: "extract") { _ in }
            }
            for part in 1...2 {
                WorkflowTask("load\(part)", after: "extract", "check") { context, scope in
                    try context.set("loaded", to: "\(scope.task) \(scope.attempt)")
                }
            }
        }
        #expect(workflow.topologicalOrder == ["extract", "check", "load1", "load2"])
        #expect(workflow.roots == ["extract"])
        #expect(workflow.leaves == ["load1", "load2"])
        #expect(try workflow.dependencies(of: "load1") == ["extract", "check"])
        #expect(try workflow.dependents(of: "extract") == ["check", "load1", "load2"])
        var context = Context()
        let scope = TaskScope(
            executionID: .init(), workflow: workflow.name, task: "load2", attempt: 1)
        try await workflow.task("load2")?.run(&context, scope: scope)
        #expect(context["loaded"] == "load2 1")
    }

    @Test func refusesAWorkflowWithoutTasks() throws {
        #expect(try Self.refusal([:]).code == .emptyWorkflow)
    }

    @Test(arguments: [
        "", " ", " a", "a\n", "a::b", ":a", "a:", "::", "a\u{0}b", "a\tb", "a\u{2028}b", "\u{7f}",
        String(repeating: "x", count: 256), String(repeating: "é", count: 128),
    ])
    func refusesHostileNames(name: String) throws {
        let task = try #require(throws: WorkflowError.self) { try Workflow("w") { WorkflowTask(name) { _ in } } }
        #expect(task.code == .invalidName)
        let workflow = try #require(throws: WorkflowError.self) { try Workflow(name) { WorkflowTask("t") { _ in } } }
        #expect(workflow.code == .invalidName)
    }

    @Test(arguments: [
        "a", "a:b", "'; DROP TABLE tasks; --", "\"quoted\"", "Größe 📦", "a b", "null", "../../etc/passwd", "%s", "\\",
        String(repeating: "x", count: 255),
    ])
    func acceptsUnusualNames(name: String) throws {
        let workflow = try Workflow(name) { WorkflowTask(name) { _ in } }
        #expect(workflow.topologicalOrder == [name])
    }

    @Test func refusesAnIdTwice() throws {
        #expect(try Self.refusal(["a": [], "b": [], "a": ["b"]]).code == .duplicateTask)
        // The same letters to a reader, other bytes.
        #expect(try Self.refusal(["\u{e9}": [], "e\u{301}": []]).code == .duplicateTask)
    }

    @Test func refusesAMissingDependencyAndNamesTheNearest() throws {
        let error = try Self.refusal(["extract": [], "transform": ["extrakt"]])
        #expect(error.code == .missingDependency)
        #expect(error.suggestion == "extract")
        #expect("\(error)".contains("did you mean \"extract\"?"))
        #expect(try Self.refusal(["extract": [], "transform": ["zzzzzzzz"]]).suggestion == nil)
    }

    /// One edit for each three characters, and one at least: a character more, less or another one, or two that changed places.
    @Test(arguments: [
        ("laod", "load"), ("lod", "load"), ("loaad", "load"), ("LOAD", "load"), ("load!", "load"), ("ldao", nil),
        ("extrcat", "extract"), ("etxrcat", "extract"), ("xetrcta", nil), ("trasnform", "transform"), ("", nil),
    ])
    func suggestsWhatIsNear(typed: String, meant: String?) throws {
        let error = try Self.refusal(["extract": [], "transform": [], "load": [], "last": [typed]])
        #expect(error.suggestion == meant)
    }

    @Test func refusesATaskAfterItself() throws {
        #expect(try Self.refusal(["a": ["a"]]).code == .selfDependency)
    }

    @Test func refusesACircleAndShowsIt() throws {
        let error = try Self.refusal(["start": [], "x": ["start", "z"], "y": ["x"], "z": ["y"], "end": ["z"]])
        #expect(error.code == .cyclicDependency)
        #expect(error.path == ["x", "z", "y", "x"])
        // However the way to the circle begins.
        #expect(try Self.refusal(["end": ["b"], "a": ["b"], "b": ["a"]]).path == ["a", "b", "a"])
    }

    @Test func aDependencyNamedTwiceCountsOnce() throws {
        let workflow = try Self.workflow(["a": [], "b": ["a", "a"]])
        #expect(try workflow.dependencies(of: "b") == ["a"])
        #expect(try workflow.dependents(of: "a") == ["b"])
    }

    @Test func asksForTasksThatExist() throws {
        let workflow = try Self.workflow(["load": []])
        let error = try #require(throws: WorkflowError.self) { try workflow.dependents(of: "laod") }
        #expect(error.code == .taskNotFound)
        #expect(workflow.task("laod") == nil)
    }

    @Test func ordersADiamond() throws {
        let workflow = try Self.workflow(["d": ["c", "b"], "c": ["a"], "b": ["a"], "a": []])
        #expect(workflow.levels == [["a"], ["c", "b"], ["d"]])
        let order = workflow.graph.ancestry(of: [0]).map { workflow.tasks[$0].id }
        #expect(order == ["a", "c", "b", "d"])
        #expect(workflow.graph.descendants(of: 3) == [0, 1, 2])
    }

    @Test func whatALaterDependencyBringsComesLater() throws {
        let workflow = try Self.workflow(["p": [], "q": [], "x": ["q"], "y": ["p"], "d": ["x", "y"]])
        #expect(workflow.graph.ancestry(of: [4]).map { workflow.tasks[$0].id } == ["q", "x", "p", "y", "d"])
    }

    @Test func ordersAChainOfTenThousandTasks() throws {
        let count = 10_000
        let tasks = (0..<count).map { index in
            WorkflowTask("t\(index)", dependencies: index == 0 ? [] : ["t\(index - 1)"]) { _, _ in }
        }
        let workflow = try Workflow("chain", tasks: tasks.reversed())
        #expect(workflow.topologicalOrder == tasks.map(\.id))
        #expect(workflow.levels.count == count)
        #expect(workflow.graph.ancestry(of: [0]).count == count)
        #expect(workflow.graph.descendants(of: count - 1).count == count - 1)
        let closed = tasks.dropFirst() + [WorkflowTask("t0", after: "t\(count - 1)") { _ in }]
        let error = try #require(throws: WorkflowError.self) { try Workflow("circle", tasks: Array(closed)) }
        #expect(error.path.count == count + 1)
    }

    @Test(arguments: 0..<50 as Range<UInt64>)
    func everyOrderPutsDependenciesFirstAndIsTheSameTwice(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let count = Int.random(in: 1...40, using: &generator)
        let tasks = (0..<count).map { index in
            let dependencies = (0..<index).filter { _ in Int.random(in: 0..<4, using: &generator) == 0 }
            return WorkflowTask("t\(index)", dependencies: dependencies.map { "t\($0)" }) { _, _ in }
        }.shuffled(using: &generator)
        let workflow = try Workflow("random", tasks: tasks)
        let order = workflow.topologicalOrder
        #expect(try Workflow("random", tasks: tasks).topologicalOrder == order)
        #expect(Set(order).count == count)
        var done: Set<String> = []
        for id in order {
            #expect(try workflow.dependencies(of: id).allSatisfy { done.contains($0) })
            done.insert(id)
        }
        done = []
        for task in workflow.graph.ancestry(of: workflow.graph.leaves) {
            #expect(workflow.tasks[task].dependencies.allSatisfy { done.contains($0) })
            #expect(done.insert(workflow.tasks[task].id).inserted)
        }
        #expect(done.count == count)
    }
}

@Suite struct TaskNamespaceTests {
    @Test func comesBackFromItsText() throws {
        let name = try TaskNamespace(tenant: "acme", package: "p", workflow: "w:x", task: "t")
        #expect(name.description == "acme::p::w:x::t")
        #expect(try TaskNamespace(parsing: name.description) == name)
        #expect(TaskNamespace(name.description) == name)
        #expect(try TaskNamespace(workflow: "w", task: "t").description == "public::embedded::w::t")
    }

    @Test(arguments: ["", "::", "a::b::c", "a::b::c::d::e", "a::::c::d", "::b::c::d", "a::b::c::", "a:::b::c::d", "a"])
    func refusesTextsOfAnotherForm(text: String) throws {
        let error = try #require(throws: WorkflowError.self) { try TaskNamespace(parsing: text) }
        #expect(error.code == .invalidNamespace)
        #expect(TaskNamespace(text) == nil)
    }

    @Test(arguments: ["", "::", "a::b", ":a", "a:", ":"])
    func refusesPartsThatCouldNotBeReadBack(part: String) {
        #expect(throws: WorkflowError.self) { try TaskNamespace(workflow: part, task: "t") }
        #expect(throws: WorkflowError.self) { try TaskNamespace(workflow: "w", task: part) }
    }
}
