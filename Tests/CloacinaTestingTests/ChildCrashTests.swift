import Cloacina
import CloacinaTesting
import CloacinaWorkflow
import Testing

/// Children belong to the task, whichever process runs it.
@Suite(.timeLimit(.minutes(2))) struct ChildCrashTests {
    private static func parent() throws -> Workflow {
        try Workflow("parent") {
            WorkflowTask("before") { context in try context.set("items", to: [1, 2, 3]) }
            WorkflowTask("each", after: "before") { context, scope in
                let items = try context.get("items", as: [Int].self)
                let results = try await scope.executeEach("child", over: items, id: \.self, limit: 2) { item in
                    try Context(["item": JSONValue(encoding: item)])
                }
                try context.set(
                    "doubled", to: results.map { try $0.completed().finalContext.get("doubled", as: Int.self) })
            }
        }
    }

    private static func child(_ clock: TestClock) throws -> Workflow {
        try Workflow("child") {
            WorkflowTask("work") { context in
                let item = try context.get("item", as: Int.self)
                try await clock.sleep(for: .seconds(item))
                try context.set("doubled", to: 2 * item)
            }
            WorkflowTask("after", after: "work") { _ in }
        }
    }

    @Test(arguments: [nil, 1, 2] as [UInt64?])
    func eachIsOnePipelineWhereverTheProcessDies(seed: UInt64?) async throws {
        let clock = TestClock(seed: seed)
        let test = CrashTest(try Self.parent(), others: [try Self.child(clock)], clock: clock)
        let runs = try await test.everyPoint { report in
            guard let result = report.result else { return }
            try result.expect(.completed).expectContext("doubled", equals: [2, 4, 6])
            let children = Set(report.beginnings.filter { $0.task == "work" }.map(\.execution))
            #expect(children.count == 3, "\(report)")
            // Each death costs each child one more beginning at most.
            for child in children {
                let attempts = report.beginnings.filter { $0.task == "work" && $0.execution == child }.map(\.attempt)
                #expect(
                    attempts.count <= 1 + report.crashes.count && Set(attempts).count == attempts.count, "\(report)")
            }
        }
        #expect(runs > 12)
    }
}
