import SwiftParser
import SwiftSyntax
import Testing

@testable import CloacinaMacros

@Suite struct WorkflowDiagnosticTests {
    /// A workflow of functions, one a line, from line 2 on, each after its `@Task`.
    private func expansion(of tasks: [String]) -> Expansion {
        let lines = tasks.map { "    \($0.hasPrefix("#") ? $0 : "@Task\($0)(_ context: inout Context) {}")" }
        return Expansion(of: "@Workflow(name: \"w\") struct W {\n" + lines.joined(separator: "\n") + "\n}")
    }

    @Test(arguments: [
        ("extension W", "1:11"), ("protocol W", "1:11"), ("public protocol W", "1:18"),
    ])
    func goesOnATypeWithValues(type: String, place: String) {
        let expansion = Expansion(of: "@Workflow \(type) {}")
        #expect(expansion.diagnostics == ["\(place) @Workflow goes on a struct, an enum, a class or an actor"])
        #expect(!expansion.text.contains("workflow:"))
    }

    @Test func needsATask() {
        #expect(
            Expansion(of: "@Workflow struct W { func a(_ context: inout Context) {} }").diagnostics
                == ["1:18 W has no tasks; mark its functions with @Task"])
    }

    @Test(arguments: [
        ("\"\"", "the workflow's name is empty"), ("\"a:\"", "the workflow's name begins or ends with \":\""),
        (
            "\"a\\(1)\"",
            "a workflow's name is a string literal without interpolation here; compute it with Workflow(…) { … }"
        ),
    ])
    func aNameIsALiteralThatCanBeOne(name: String, diagnostic: String) {
        let source = "@Workflow(name: \(name)) struct W { @Task func a(_ context: inout Context) {} }"
        #expect(Expansion(of: source).diagnostics == ["1:17 \(diagnostic)"])
    }

    @Test func thePropertyIsTheMacros() {
        let source = "@Workflow struct W { @Task func a(_ context: inout Context) {}; let workflow = 1 }"
        #expect(
            Expansion(of: source).diagnostics
                == ["1:69 @Workflow writes the property \"workflow\"; give this one another name"])
    }

    @Test func theAttributeIsUnconditional() {
        let source =
            "@Workflow struct W {\n    #if A\n    @Task\n    #endif\n    func a(_ context: inout Context) {}\n}"
        #expect(
            Expansion(of: source).diagnostics.first
                == "3:5 put the #if around the whole function, not around its @Task")
    }

    @Test func aFunctionIsOneTask() {
        let source = "@Workflow struct W {\n    @Task @Task(id: \"b\") func a(_ context: inout Context) {}\n}"
        #expect(
            Expansion(of: source).diagnostics == ["2:11 a function is one task; write another function for this one"])
    }

    @Test func anIDIsUsedOnce() {
        #expect(
            self.expansion(of: [" func a", "(id: \"a\") func b", "(id: \"a\") func c"]).diagnostics == [
                "3:15 two tasks are called \"a\" (2:16 \"a\" is used here first)",
                "4:15 two tasks are called \"a\" (2:16 \"a\" is used here first)",
            ])
    }

    @Test(arguments: [
        ("extrat", "; did you mean \"extract\"? [replace by \"extract\"]", "extract"),
        ("Extract", "; did you mean \"extract\"? [replace by \"extract\"]", "extract"),
        ("somewhere else", "", "somewhere else"),
    ])
    func aDependencyIsATask(name: String, rest: String, fixed: String) {
        let expansion = self.expansion(of: [" func extract", "(dependencies: [ \"\(name)\" ]) func load"])
        #expect(expansion.diagnostics == ["3:27 workflow \"w\" has no task \"\(name)\"\(rest)"])
        #expect(expansion.fixed.contains("(dependencies: [ \"\(fixed)\" ])"))
    }

    @Test func nothingIsUnknownWhereAnIDCantBeRead() {
        #expect(
            self.expansion(of: ["(id: Self.x) func a", "(dependencies: [\"x\"]) func b"]).diagnostics
                == [
                    "2:15 an id is a string literal without interpolation; make tasks with computed ids by WorkflowTask(…)"
                ])
    }

    @Test(arguments: [
        ("[\"a\"]", "26", "[]"), ("[\"b\", \"a\"]", "31", "[\"b\"]"), ("[\"a\", \"b\"]", "26", "[\"b\"]"),
    ])
    func aTaskDoesntWaitForItself(dependencies: String, column: String, fixed: String) {
        let expansion = self.expansion(of: ["(dependencies: \(dependencies)) func a", " func b"])
        #expect(
            expansion.diagnostics
                == ["2:\(column) \"a\" can't come after itself [remove it from the dependencies]"])
        #expect(expansion.fixed.contains("@Task(dependencies: \(fixed)) func a"))
    }

    @Test(arguments: [
        (
            ["(dependencies: [\"b\"]) func a", "(dependencies: [\"a\"]) func b"],
            "2:26 tasks wait for each other: a → b → a"
        ),
        (
            [
                " func root", "(dependencies: [\"b\"]) func leaf", "(dependencies: [\"root\", \"d\"]) func b",
                "(dependencies: [\"b\"]) func c", "(dependencies: [\"c\"]) func d",
            ],
            "4:34 tasks wait for each other: b → d → c → b"
        ),
    ])
    func tasksDontWaitForEachOther(tasks: [String], diagnostic: String) {
        #expect(self.expansion(of: tasks).diagnostics == [diagnostic])
    }

    @Test func aLongChainIsNoCircle() throws {
        let tasks = (1..<1_000).map { "@Task(dependencies: [\"t\($0 - 1)\"]) func t\($0)(_ context: inout Context) {}" }
        let source =
            "@Workflow struct W {\n@Task func t0(_ context: inout Context) {}\n\(tasks.joined(separator: "\n"))\n}"
        let file = Parser.parse(source: source)
        let type = try #require(file.statements.first?.item.as(StructDeclSyntax.self))
        let reading = WorkflowReader.read(
            try #require(WorkflowType(type)), attribute: try #require(type.attributes.first(named: "Workflow")))
        #expect(reading.workflow.tasks.count == 1_000)
        #expect(DeclarationCheck(workflow: reading.workflow).diagnostics().isEmpty)
    }

    @Test func tasksUnderOneConditionExcludeThoseUnderTheOther() {
        #expect(
            self.expansion(of: [
                "#if A", " func a", "(dependencies: [\"a\"]) func b", "#else", "(id: \"b\") func b2",
                "(dependencies: [\"b\"]) func a", "#endif", "(dependencies: [\"a\", \"b\"]) func c",
            ]).diagnostics == [])
    }

    @Test func tasksUnderAConditionAreComparedWithThoseOutside() {
        #expect(
            self.expansion(of: [
                "(dependencies: [\"b\"]) func a", "#if A", "(dependencies: [\"a\"]) func b", "#if B",
                "(id: \"a\") func c", "#endif", "#endif",
            ]).diagnostics == [
                "2:26 tasks wait for each other: a → b → a",
                "6:15 two tasks are called \"a\" (2:37 \"a\" is used here first)",
            ])
    }
}
