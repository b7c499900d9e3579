import CloacinaWorkflow
import FoundationEssentials
import Testing

@testable import Cloacina

/// A run that has begun goes on with tasks that promise the same.
@Suite struct TransactionalVersionTests {
    @Test func aTransactionalTaskIsAnotherOneThanAPlainOne() throws {
        let plain = try Workflow("w") { WorkflowTask("pay", codeVersion: "1") { _, _ in } }
        let transactional = try ["1", "1", "2"].map { version in
            try Workflow("w") { WorkflowTask.transactional("pay", codeVersion: version) { _, _, _ in } }
        }
        #expect(plain.contentVersion != transactional[0].contentVersion)
        #expect(transactional[0].contentVersion == transactional[1].contentVersion)
        #expect(transactional[0].contentVersion != transactional[2].contentVersion)
    }

    @Test func aResultSaysWhenItEndedAndWhatFailedFirst() async throws {
        struct Refused: Error, CustomStringConvertible { let description = "refused" }
        let workflow = try Workflow("w") {
            WorkflowTask("a") { _ in }
            WorkflowTask("b", after: "a") { _ in throw Refused() }
            WorkflowTask("c", after: "b") { _ in }
        }
        let runner = try DefaultRunner(store: InMemoryWorkflowStore(), workflows: [workflow])
        let result = try await runner.execute("w")
        #expect(result.error == "\"b\" failed: refused")
        let ended = try #require(result.task("b")?.completedAt)
        #expect(result.endedAt.timeIntervalSince(ended) > -0.001)
    }
}
