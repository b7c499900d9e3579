import Testing

@Suite struct RuleDiagnosticTests {
    /// The tasks a and b, where b comes after a; and c with a rule.
    private func expansion(dependencies: String = "[\"b\"]", rule: String) -> Expansion {
        Expansion(
            of: """
                @Workflow(name: "w") struct W {
                    @Task func first(_ context: inout Context) {}
                    @Task(dependencies: ["first"]) func second(_ context: inout Context) {}
                    @Task(id: "c", dependencies: \(dependencies), triggerRules: \(rule)) func c(_ context: inout Context) {}
                    @Task func stranger(_ context: inout Context) {}
                    @Task(dependencies: ["c"]) func later(_ context: inout Context) {}
                }
                """)
    }

    @Test(arguments: [
        ".taskSucceeded(\"second\")", ".taskFailed(\"first\")", ".all([.not(.taskSkipped(\"first\")), .always])",
        "TriggerRule.anyFailed(\"first\", \"second\")", ".taskFailed(Self.name)", "Self.rule(\"nowhere\")",
        ".contextValue(\"key\", .equals, \"nowhere\")",
    ])
    func asksAboutWhatItsTaskWaitsFor(rule: String) {
        #expect(self.expansion(dependencies: "[\"second\"]", rule: rule).diagnostics == [])
    }

    @Test(arguments: [".taskSucceeded", ".taskFailed", "TriggerRule.taskSkipped", ".allSucceeded", ".anyFailed"])
    func asksAboutATask(condition: String) {
        let expansion = self.expansion(dependencies: "[\"first\"]", rule: ".any([\(condition)(\"frist\")])")
        let column = 66 + condition.count
        #expect(
            expansion.diagnostics == [
                "4:\(column) workflow \"w\" has no task \"frist\"; did you mean \"first\"? [replace by \"first\"]"
            ])
        #expect(expansion.fixed.contains("\(condition)(\"first\")"))
    }

    @Test(arguments: [
        ("[\"second\"]", "[\"second\", \"stranger\"]"), ("[\"second\", ]", "[\"second\", \"stranger\"]"),
        ("[]", "[\"stranger\"]"),
    ])
    func aTaskThatIsntWaitedForCanBeAdded(dependencies: String, fixed: String) {
        let expansion = self.expansion(dependencies: dependencies, rule: ".taskFailed(\"stranger\")")
        #expect(
            expansion.diagnostics.map { $0.drop { $0 != " " } } == [
                " the rule asks about \"stranger\", which \"c\" doesn't wait for [add \"stranger\" to the dependencies]"
            ])
        #expect(expansion.fixed.contains("@Task(id: \"c\", dependencies: \(fixed), triggerRules: .taskFailed"))
    }

    @Test(arguments: [
        ("(triggerRules: .always)", ""),
        ("(triggerRules: .taskFailed(\"a\"))", "(dependencies: [\"a\"], triggerRules:"),
        ("(id: \"x\", triggerRules: .taskFailed(\"a\"))", "(id: \"x\", dependencies: [\"a\"], triggerRules:"),
        (
            "(\n    id: \"x\", triggerRules: .taskFailed(\"a\"))",
            "(\n    id: \"x\", dependencies: [\"a\"], triggerRules:"
        ),
    ])
    func dependenciesAreAddedWhereThereAreNone(attribute: String, fixed: String) {
        let source =
            "@Workflow struct W {\n@Task func a(_ c: inout Context) {}\n@Task\(attribute) func b(_ c: inout Context) {}\n}"
        #expect(Expansion(of: source).fixed.contains("@Task\(fixed.isEmpty ? attribute : fixed)"))
    }

    @Test(arguments: [
        ("[\"first\"]", [String]()), ("[\"second\", Self.name]", []), ("Self.names", []), ("[]", []),
        ("[\"frist\"]", ["workflow \"w\" has no task \"frist\"; did you mean \"first\"? [replace by \"first\"]"]),
        (
            "[\"stranger\"]",
            [
                "\"c\" handles the failure of \"stranger\", which it doesn't wait for "
                    + "[add \"stranger\" to the dependencies]"
            ]
        ), ("[\"later\"]", ["\"c\" handles the failure of \"later\", which it doesn't wait for"]),
    ])
    func handlesFailuresOfWhatItsTaskWaitsFor(handles: String, messages: [String]) {
        let expansion = self.expansion(dependencies: "[\"second\"]", rule: ".always, handles: \(handles)")
        #expect(expansion.diagnostics.map { String($0.drop { $0 != " " }.dropFirst()) } == messages)
    }

    @Test(arguments: ["", ", triggerRules: nil"])
    func handlingAFailureTakesARule(rule: String) {
        let source = """
            @Workflow struct W {
                @Task func a(_ c: inout Context) {}
                @Task(dependencies: ["a"]) func b(_ c: inout Context) {}
                @Task(dependencies: ["b"]\(rule), handles: ["a", "b"]) func c(_ c: inout Context) {}
            }
            """
        let message = "without a trigger rule, \"c\" is skipped when \"b\" fails; add triggerRules: .taskFailed(\"b\")"
        let diagnostics = Expansion(of: source).diagnostics
        #expect(diagnostics.count == 1 && diagnostics.allSatisfy { $0.hasSuffix(message) })
    }

    @Test(arguments: ["c", "later"])
    func noneIsAddedThatWaitsItself(name: String) {
        #expect(
            self.expansion(dependencies: "[\"second\"]", rule: ".taskFailed(\"\(name)\")").diagnostics == [
                "4:72 the rule asks about \"\(name)\", which \"c\" doesn't wait for"
            ])
    }
}
