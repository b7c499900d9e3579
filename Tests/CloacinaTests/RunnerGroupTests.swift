import CloacinaWorkflow
import Testing

@testable import Cloacina

/// Who is served, while tenants come and go.
@Suite(.timeLimit(.minutes(5))) struct RunnerGroupTests {
    private static func runner() throws -> DefaultRunner {
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in } }
        return try DefaultRunner(store: InMemoryWorkflowStore(), workflows: [workflow])
    }

    @Test func whoJoinsIsServedAndWhoLeavesIsEnded() async throws {
        let (first, second) = (try Self.runner(), try Self.runner())
        let group = RunnerGroup([first], drain: .zero)
        let waiting = try await second.enqueue("w")
        let serving = Task { try await group.run() }
        #expect(try await first.result(of: first.enqueue("w")).status == .completed)
        #expect(try await second.status(of: waiting) == .queued)

        try group.add(second)
        try group.add(second)
        #expect(group.runners.map(\.id) == [first.id, second.id])
        #expect(try await second.result(of: waiting).status == .completed)

        await group.remove(second)
        #expect(group.runners.map(\.id) == [first.id])
        await #expect { try await second.execute("w") } throws: { ($0 as? PipelineError)?.code == .released }
        #expect(try await first.result(of: first.enqueue("w")).status == .completed)

        serving.cancel()
        try await serving.value
        #expect(throws: PipelineError.self) { try group.add(try Self.runner()) }
    }

    @Test func aGroupThatBeginsWithNobodyServesWhoComes() async throws {
        let group = RunnerGroup([], drain: .zero)
        let serving = Task { try await group.run() }
        let runner = try Self.runner()
        try group.add(runner)
        #expect(try await runner.result(of: runner.enqueue("w")).status == .completed)
        serving.cancel()
        try await serving.value
    }
}
