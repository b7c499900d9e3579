import TestSupport
import Testing

@testable import CloacinaWorkflow

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

@Suite struct WorkflowGraphTests {
    private static func workflow(_ tasks: KeyValuePairs<String, [String]>) throws -> Workflow {
        try Workflow(
            "w", description: "About w", tasks: tasks.map { WorkflowTask($0.key, dependencies: $0.value) { _, _ in } })
    }

    private static func decoded(_ json: String) throws -> WorkflowGraph {
        try JSONDecoder().decode(WorkflowGraph.self, from: Data(json.utf8))
    }

    private static func graph(_ ids: [String], _ edges: KeyValuePairs<String, String>) -> WorkflowGraph {
        WorkflowGraph(
            name: "g", nodes: ids.map { .init(id: $0) }, edges: edges.map { .init(from: $0.key, to: $0.value) })
    }

    @Test func describesAWorkflow() throws {
        let workflow = try Self.workflow(["d": ["c", "b"], "c": ["a", "a"], "b": ["a"], "a": []])
        let graph = WorkflowGraph(workflow)
        #expect(graph.name == "w")
        #expect(graph.description == "About w")
        #expect(graph.nodes.map(\.id) == ["d", "c", "b", "a"])
        #expect(graph.edges.map { "\($0.from)>\($0.to)" } == ["c>d", "b>d", "a>c", "a>b"])
        #expect(graph.levels == workflow.levels)
        #expect(graph.topologicalOrder == ["a", "c", "b", "d"])
        #expect(graph.roots == ["a"])
        #expect(graph.leaves == ["d"])
        #expect(try graph.dependencies(of: "d") == ["c", "b"])
        #expect(try graph.dependents(of: "a") == ["c", "b"])
        #expect(!graph.hasCycles)
        #expect(graph.circle == nil)
        try graph.validate()
    }

    @Test(arguments: [
        ("b", "c", true), ("b", "e", true), ("b", "d", false), ("d", "b", false), ("a", "d", false), ("a", "a", false),
        ("e", "d", true),
    ])
    func knowsWhatCanRunInParallel(first: String, second: String, expected: Bool) throws {
        let workflow = try Self.workflow(["a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["c"]])
        #expect(try workflow.canRunInParallel(first, second) == expected)
        #expect(try WorkflowGraph(workflow).canRunInParallel(first, second) == expected)
    }

    @Test func cutsOutWhatTasksNeed() throws {
        let workflow = try Self.workflow(["d": ["c", "b"], "c": ["a"], "b": ["a"], "a": [], "e": ["c"]])
        let part = try workflow.subgraph(of: ["e", "c", "e"])
        #expect(part.name == "w-subgraph")
        #expect(part.description == "About w")
        #expect(part.tasks.map(\.id) == ["c", "a", "e"])
        #expect(try WorkflowGraph(workflow).subgraph(of: Set(["e"])) == WorkflowGraph(part))
        #expect(try workflow.subgraph(of: ["a"], named: "x").name == "x")
        #expect(try WorkflowGraph(workflow).subgraph(of: []).nodes.isEmpty)
        let empty = try #require(throws: WorkflowError.self) { try workflow.subgraph(of: []) }
        #expect(empty.code == .emptyWorkflow)
        let long = try Workflow(String(repeating: "x", count: 250)) { WorkflowTask("a") { _ in } }
        let error = try #require(throws: WorkflowError.self) { try long.subgraph(of: ["a"]) }
        #expect(error.code == .invalidName)
    }

    @Test func aPartOfARunKeepsTheRun() throws {
        let graph = WorkflowGraph(try Self.workflow(["a": [], "b": ["a"]]))
            .annotated(with: ["a": .init(state: "completed"), "other": .init(state: "failed")])
        #expect(graph.nodes.map { $0.run?.state } == ["completed", nil])
        #expect(try graph.subgraph(of: ["b"]).nodes == graph.nodes)
    }

    @Test func namesTheNearestTask() throws {
        let workflow = try Self.workflow(["extract": [], "load": []])
        let graph = WorkflowGraph(workflow)
        let calls: [() throws -> Void] = [
            { _ = try workflow.canRunInParallel("load", "extrakt") },
            { _ = try workflow.subgraph(of: ["extrakt"]) },
            { _ = try graph.canRunInParallel("extrakt", "load") },
            { _ = try graph.subgraph(of: ["load", "extrakt"]) },
            { _ = try graph.dependencies(of: "extrakt") },
            { _ = try graph.dependents(of: "extrakt") },
        ]
        for call in calls {
            let error = try #require(throws: WorkflowError.self) { try call() }
            #expect(error.code == .taskNotFound)
            #expect(error.suggestion == "extract")
            #expect(error.fileID.hasSuffix("WorkflowGraphTests.swift"))
        }
    }

    @Test func comesBackFromJSON() throws {
        let graph = WorkflowGraph(try Self.workflow(["a": [], "b": ["a"]])).annotated(with: [
            "a": .init(state: "completed", attempts: 2, duration: .nanoseconds(1_500_999)),
            "b": .init(state: "waiting"),
        ])
        #expect(graph.nodes[0].run?.duration == .microseconds(1500))
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        let data = try encoder.encode(graph)
        #expect(try JSONDecoder().decode(WorkflowGraph.self, from: data) == graph)
        #expect(
            String(decoding: data, as: UTF8.self) == """
                {"description":"About w","edges":[{"from":"a","to":"b"}],"name":"w","nodes":[{"id":"a",\
                "run":{"attempts":2,"durationMicroseconds":1500,"state":"completed"}},\
                {"id":"b","run":{"attempts":0,"state":"waiting"}}]}
                """)
        let minimal = try Self.decoded(#"{"name":"w","nodes":[{"id":"a","run":{"state":"odd"}}],"edges":[]}"#)
        #expect(minimal.nodes == [.init(id: "a", run: .init(state: "odd"))])
    }

    @Test(arguments: [
        (Duration.seconds(Int64.max), Int64.max), (.seconds(Int64.min), .min), (.zero, 0), (.microseconds(-7), -7),
        (Duration(attoseconds: .max), .max), (Duration(attoseconds: .min), .min), (.nanoseconds(-1_999), -1),
    ])
    func keepsDurationsInBounds(duration: Duration, microseconds: Int64) {
        let run = WorkflowGraph.TaskRun(state: "failed", duration: duration)
        #expect(run.duration == .microseconds(microseconds))
        #expect(run.lines.count == 2)
    }

    @Test func equalGraphsHashAlike() throws {
        let graph = Self.graph(["a", "b"], ["a": "b"])
        #expect(Set([graph, Self.graph(["a", "b"], ["a": "b"])]).count == 1)
        #expect(Set([graph, Self.graph(["b", "a"], ["a": "b"]), Self.graph(["a", "b"], ["b": "a"])]).count == 3)
    }

    // MARK: Graphs that no workflow has

    private static let broken: [(WorkflowGraph, WorkflowError.Code)] = [
        (graph([], [:]), .emptyWorkflow),
        (graph(["a"], ["a": "a"]), .selfDependency),
        (graph(["a", "b"], ["a": "b", "b": "a"]), .cyclicDependency),
        (graph(["s", "a", "b", "c", "e"], ["s": "a", "a": "b", "b": "c", "c": "a", "c": "e"]), .cyclicDependency),
        (graph(["a", "a", "b"], ["a": "b"]), .duplicateTask),
        (graph(["a"], ["x": "a"]), .missingDependency),
        (graph(["a"], ["a": "x"]), .taskNotFound),
        (graph(["", "\u{0}"], ["": "\u{0}"]), .invalidName),
    ]

    @Test(arguments: Self.broken.indices)
    func copesWithBrokenGraphs(index: Int) throws {
        let (graph, code) = Self.broken[index]
        let error = try #require(throws: WorkflowError.self) { try graph.validate() }
        #expect(error.code == code)
        let known = Set(graph.nodes.map(\.id))
        #expect(graph.hasCycles == (code == .selfDependency || code == .cyclicDependency))
        #expect((graph.circle != nil) == graph.hasCycles)
        #expect(graph.topologicalOrder == graph.levels.flatMap(\.self))
        #expect(Set(graph.topologicalOrder).isSubset(of: known))
        #expect(Set(graph.roots + graph.leaves).isSubset(of: known))
        for id in known {
            #expect(try Set(graph.dependencies(of: id) + graph.dependents(of: id)).isSubset(of: known))
            #expect(try graph.subgraph(of: [id]).nodes.contains { $0.id == id })
            for other in known { _ = try graph.canRunInParallel(id, other) }
        }
        for text in [graph.dot(), graph.mermaid(), graph.svg()] { #expect(!text.isEmpty) }
        #expect(try JSONDecoder().decode(WorkflowGraph.self, from: JSONEncoder().encode(graph)) == graph)
    }

    @Test func showsTheCircleAndOrdersTheRest() {
        let graph = Self.graph(
            ["s", "a", "b", "c", "e", "t"], ["s": "a", "a": "b", "b": "c", "c": "a", "c": "e", "s": "t"])
        #expect(graph.circle == ["a", "c", "b", "a"])
        #expect(graph.levels == [["s"], ["t"]])
        #expect(graph.roots == ["s"])
        #expect(graph.leaves == ["e", "t"])
    }

    @Test func twoEdgesBetweenTheSameTasksAreOne() throws {
        let graph = Self.graph(["a", "b"], ["a": "b", "a": "b"])
        #expect(try graph.dependencies(of: "b") == ["a"])
        #expect(graph.levels == [["a"], ["b"]])
        try graph.validate()
    }

    @Test(arguments: 0..<40 as Range<UInt64>)
    func anyDecodedGraphCanBeAskedAndDrawn(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let count = Int.random(in: 0...20, using: &generator)
        let ids = (0..<count).map { _ in "t\(Int.random(in: 0..<25, using: &generator))" }
        let edges = (0..<(2 * count)).map { _ in
            WorkflowGraph.Edge(
                from: "t\(Int.random(in: 0..<25, using: &generator))",
                to: "t\(Int.random(in: 0..<25, using: &generator))")
        }
        let graph = WorkflowGraph(name: "random", nodes: ids.map { .init(id: $0) }, edges: edges)
        #expect(Set(graph.topologicalOrder).count == graph.topologicalOrder.count)
        #expect(graph.hasCycles == (graph.topologicalOrder.count < Set(ids).count))
        if let circle = graph.circle {
            for (task, dependency) in zip(circle, circle.dropFirst()) {
                #expect(try graph.dependencies(of: task).contains(dependency))
            }
        }
        #expect(graph.svg() == graph.svg())
        // Without the links that close circles, every task has a place.
        #expect(
            LayeredOrder(graph.shape.tasks).layers.joined().filter { $0 < graph.shape.ids.count }.count
                == Set(ids).count)
    }
}
