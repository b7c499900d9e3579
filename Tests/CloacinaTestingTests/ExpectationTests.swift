import Cloacina
import CloacinaTesting
import Testing

@Suite(.timeLimit(.minutes(5))) struct ExpectationTests {
    private static func result() async throws -> PipelineResult {
        let workflow = try Workflow("etl") {
            WorkflowTask("extract") { context in try context.set("rows", to: [1, 2]) }
            WorkflowTask("load", after: "extract", retry: .fixed(2, delay: .seconds(1))) { _ in throw Unreachable() }
            WorkflowTask("report", after: "load") { _ in }
        }
        return try await TestRunner().execute(workflow).result
    }

    @Test func whatIsAsExpectedPasses() async throws {
        try await Self.result()
            .expect(.failed).expect("extract", .completed).expectFailed("load", with: "not reachable")
            .expectAttempts("load", 2).expectAttempts("report", 0).expectSkipped("report")
            .expectSkipped("report", because: "\"load\" failed").expectContext("rows", equals: [1, 2])
            .expectNoContext("loaded")
    }

    private typealias Check = @Sendable (PipelineResult) throws -> Void

    private static let unmet: [(UnmetExpectation.Code, String, Check)] = [
        (
            .status, "etl: expected completed, was failed; \"load\" was failed after 2 attempts: not reachable",
            { try $0.expect(.completed) }
        ),
        (
            .status, "etl: expected completed, but \"load\" was failed after 2 attempts: not reachable",
            { try $0.expect("load", .completed) }
        ),
        (.noSuchTask, "etl has no task \"lod\", only [\"extract\"", { try $0.expect("lod", .completed) }),
        (
            .status, "expected skipped, but \"extract\" was completed after 1 attempt",
            { try $0.expectSkipped("extract") }
        ),
        (
            .reason, "expected a reason with 'rule', but \"report\" was skipped after 0 attempts: \"load\" failed",
            { try $0.expectSkipped("report", because: "rule") }
        ),
        (.attempts, "expected 3 attempts, but \"load\" was failed after 2", { try $0.expectAttempts("load", 3) }),
        (.context, "expected \"rows\" to be [1], was [1,2]", { try $0.expectContext("rows", equals: [1]) }),
        (.context, "there is none; the keys are [\"rows\"]", { try $0.expectContext("row", equals: 1) }),
        (.context, "expected no \"rows\", was [1,2]", { try $0.expectNoContext("rows") }),
    ]

    @Test(arguments: Self.unmet.indices) func whatIsNotSaysWhatWasThere(index: Int) async throws {
        let (code, text, check) = Self.unmet[index]
        let result = try await Self.result()
        let error = try #require(throws: UnmetExpectation.self) { try check(result) }
        #expect(error.code == code)
        #expect(error.description.contains(text))
        #expect(error.description.contains("ExpectationTests.swift"))
    }
}
