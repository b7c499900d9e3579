import CloacinaWorkflow
import Testing

@testable import CloacinaMacros

@Suite struct NameRuleTests {
    /// The rules are written twice, since the compiler's plugin can't be linked with what it serves.
    @Test(arguments: [
        "a", "", "a:b", "a::b", ":a", "a:", " a", "a\t", "a b", "\u{85}", "a\u{0}b", "a\u{2028}b", "\u{301}", "é", "日本",
        "🏳️‍🌈", "\u{200B}", "\u{A0}a", String(repeating: "a", count: 255), String(repeating: "a", count: 256),
        String(repeating: "é", count: 127), String(repeating: "é", count: 128), "::", ":", "a:\u{301}b", ":\u{301}a",
        "a:\u{301}:b",
    ])
    func objectsToWhatAWorkflowRefuses(name: String) {
        let task = WorkflowTask("a", dependencies: []) { _, _ in }
        let isRefused: Bool
        do { isRefused = try Workflow(name, tasks: [task]).name != name } catch { isRefused = true }
        #expect((NameRule.objection(to: name) != nil) == isRefused)
    }

    @Test func theLimitIsTheWorkflows() {
        #expect(NameRule.maximumBytes == Workflow.maximumNameBytes)
    }

    @Test(
        arguments: [
            ("extrct", "extract"), ("lod", "load"), ("LOAD", "load"), ("b", "a"), ("transform", nil), ("lo", "load"),
            ("", nil),
        ] as [(String, String?)])
    func suggestsTheNearestName(typed: String, meant: String?) {
        #expect(NearestName.nearest(to: typed, in: ["extract", "load", "a"]) == meant)
    }
}
