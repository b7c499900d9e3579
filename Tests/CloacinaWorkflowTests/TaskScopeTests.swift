import CloacinaWorkflow
import Testing

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

private struct OutOfStock: Error, CustomStringConvertible {
    let description = "A-1 is out of stock"
}

@Suite struct TaskScopeTests {
    @Test func aFallbackSeesWhyATaskFailed() async throws {
        let task = WorkflowTask(
            "apologise", after: "reserve", triggerRule: .taskFailed("reserve"), handles: ["reserve"]
        ) { context, scope in
            let failure = scope.failure(of: "reserve")
            try context.set("reason", to: failure?.text)
            try context.set("type", to: failure?.typeName)
        }
        #expect(task.handles == ["reserve"])
        let scope = TaskScope(
            executionID: UUID(), workflow: "order", task: "apologise", attempt: 1,
            failures: ["reserve": TaskFailure(OutOfStock())])
        var context = Context()
        try await task.run(&context, scope: scope)
        #expect(context.values == ["reason": "A-1 is out of stock", "type": "OutOfStock"])
        #expect(scope.failure(of: "ship") == nil)
    }

    @Test func nothingFailedUnlessSaid() {
        let scope = TaskScope(executionID: UUID(), workflow: "order", task: "ship", attempt: 1)
        #expect(scope.failure(of: "reserve") == nil)
    }

    @Test func everyWayToMakeATaskTakesWhatItHandles() {
        let tasks = [
            WorkflowTask("a", after: "b", handles: ["b"]) { _ in },
            WorkflowTask("a", after: "b", handles: ["b"]) { _, _ in },
            WorkflowTask("a", dependencies: ["b"], handles: ["b"]) { _, _ in },
        ]
        #expect(tasks.allSatisfy { $0.handles == ["b"] })
        #expect(WorkflowTask("a", after: "b") { _ in }.handles == [])
    }
}
