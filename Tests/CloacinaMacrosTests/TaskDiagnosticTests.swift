import Testing

@Suite struct TaskDiagnosticTests {
    private func expansion(ofTask task: String) -> Expansion {
        Expansion(of: "@Workflow struct W {\n    \(task)\n    @Task func other(_ context: inout Context) {}\n}")
    }

    @Test(arguments: [
        ("@Task var a = 1", "2:5 @Task goes on a function"),
        ("@Task init(_ context: inout Context) {}", "2:5 @Task goes on a function"),
        ("@Task struct A {}", "2:5 @Task goes on a function"),
    ])
    func goesOnAFunction(task: String, diagnostic: String) {
        #expect(self.expansion(ofTask: task).diagnostics == [diagnostic])
    }

    @Test(arguments: [
        ("@Task func a(_ context: inout Context) {}", "1:1 @Task goes on a method of a type marked with @Workflow"),
        (
            "func f() { @Task func a(_ context: inout Context) {} }",
            "1:12 @Task goes on a method of a type marked with @Workflow"
        ),
        (
            "extension W.X { @Task func a(_ context: inout Context) {} }",
            "1:17 @Workflow doesn't see extensions; move the task into W.X itself"
        ),
        (
            "struct W { @Task func a(_ context: inout Context) {} }",
            "1:12 mark W with @Workflow; without it, this task belongs to no workflow"
        ),
        (
            "protocol P { @Task func a(_ context: inout Context) }",
            "1:14 mark P with @Workflow; without it, this task belongs to no workflow"
        ),
    ])
    func belongsIntoAWorkflow(source: String, diagnostic: String) {
        #expect(Expansion(of: source).diagnostics == [diagnostic])
    }

    @Test(arguments: [
        ("\"\"", "the task's id is empty"),
        ("\"a::b\"", "the task's id holds \"::\", which separates the parts of a task's full name"),
        ("\":a\"", "the task's id begins or ends with \":\""), ("\"a:\"", "the task's id begins or ends with \":\""),
        ("\" a\"", "the task's id begins or ends with space"), ("\"a\\n\"", "the task's id begins or ends with space"),
        ("\"a\\u{7}b\"", "the task's id holds a control character"),
        ("\"" + String(repeating: "é", count: 128) + "\"", "the task's id has 256 bytes; 255 are the limit"),
        (
            "\"a\\(1)\"",
            "an id is a string literal without interpolation; make tasks with computed ids by WorkflowTask(…)"
        ),
        ("Self.id", "an id is a string literal without interpolation; make tasks with computed ids by WorkflowTask(…)"),
    ])
    func anIDIsALiteralThatCanBeAName(id: String, diagnostic: String) {
        #expect(
            self.expansion(ofTask: "@Task(id: \(id)) func a(_ context: inout Context) {}").diagnostics
                == ["2:15 \(diagnostic)"])
    }

    @Test(arguments: ["a:b", "é", "a b", "日本"])
    func anIDMayHoldWhateverElse(id: String) {
        #expect(self.expansion(ofTask: "@Task(id: \"\(id)\") func a(_ context: inout Context) {}").diagnostics == [])
    }

    @Test(arguments: [
        (
            "[\"other\"] + []",
            "2:25 dependencies are an array of string literals here; compute them with Workflow(…) { WorkflowTask(…) }"
        ),
        (
            "Self.all",
            "2:25 dependencies are an array of string literals here; compute them with Workflow(…) { WorkflowTask(…) }"
        ),
        (
            "[\"other\", name]",
            "2:35 a dependency is a string literal without interpolation here; "
                + "compute it with Workflow(…) { WorkflowTask(…) }"
        ),
    ])
    func dependenciesAreLiterals(dependencies: String, diagnostic: String) {
        let task = "@Task(dependencies: \(dependencies)) func a(_ context: inout Context) {}"
        #expect(self.expansion(ofTask: task).diagnostics == [diagnostic])
    }

    @Test(arguments: [
        (
            "static func a(_ context: inout Context) {}",
            "2:11 a task is an instance method; a static one has no type's values to work with [remove \"static\"]",
            "func a(_ context: inout Context) {}"
        ),
        (
            "private static func a(_ context: inout Context) {}",
            "2:19 a task is an instance method; a static one has no type's values to work with [remove \"static\"]",
            "private func a(_ context: inout Context) {}"
        ),
        (
            "mutating func a(_ context: inout Context) {}",
            "2:11 a task can't change its type's value, which many runs share; hand values on in the context "
                + "[remove \"mutating\"]",
            "func a(_ context: inout Context) {}"
        ),
        (
            "func a(_ context: inout Context) async -> Int { 1 }",
            "2:53 a task returns nothing; hand its result on in the context [remove the result]",
            "func a(_ context: inout Context) async { 1 }"
        ),
        (
            "func a() {}",
            "2:17 a task takes the context: (_ context: inout Context) or (_ context: inout Context, _ scope: TaskScope) "
                + "[insert \"_ context: inout Context\"]",
            "func a(_ context: inout Context) {}"
        ),
        (
            "func a(_ scope: TaskScope) {}",
            "2:17 a task takes the context: (_ context: inout Context) or (_ context: inout Context, _ scope: TaskScope) "
                + "[insert \"_ context: inout Context\"]",
            "func a(_ context: inout Context, _ scope: TaskScope) {}"
        ),
        (
            "func a(_ context: Context, _ scope: TaskScope) {}",
            "2:29 a task takes its context inout [insert \"inout\"]",
            "func a(_ context: inout Context, _ scope: TaskScope) {}"
        ),
        (
            "func a(_ context: consuming Context) {}", "2:29 a task takes its context inout [insert \"inout\"]",
            "func a(_ context: inout Context) {}"
        ),
        (
            "func a<T>(_ context: inout Context) where T: Sendable {}",
            "2:17 a task can't be generic: nothing says for which types it should run",
            "func a<T>(_ context: inout Context) where T: Sendable {}"
        ),
        (
            "func a(_ scope: TaskScope, _ context: inout Context) {}",
            "2:38 the context comes first, then the scope, then the transaction",
            "func a(_ scope: TaskScope, _ context: inout Context) {}"
        ),
        (
            "func a(_ context: inout Context, _ n: Int = 1) {}",
            "2:44 a task takes a Context, a TaskScope and a PostgresTransaction and nothing else; "
                + "keep other values in the type",
            "func a(_ context: inout Context, _ n: Int = 1) {}"
        ),
        (
            "func a(_ context: inout Context, _ scope: TaskScope, n: Int) {}",
            "2:64 a task takes a Context, a TaskScope and a PostgresTransaction and nothing else; "
                + "keep other values in the type",
            "func a(_ context: inout Context, _ scope: TaskScope, n: Int) {}"
        ),
        (
            "func a(_ context: inout Context, _ scope: TaskScope...) {}",
            "2:44 a task takes a Context, a TaskScope and a PostgresTransaction and nothing else; "
                + "keep other values in the type",
            "func a(_ context: inout Context, _ scope: TaskScope...) {}"
        ),
        (
            "func a(_ context: inout Context, _ t: borrowing PostgresTransaction, _ scope: TaskScope) {}",
            "2:80 the context comes first, then the scope, then the transaction",
            "func a(_ context: inout Context, _ t: borrowing PostgresTransaction, _ scope: TaskScope) {}"
        ),
        (
            "func a(_ t: borrowing PostgresTransaction, _ context: inout Context) {}",
            "2:54 the context comes first, then the scope, then the transaction",
            "func a(_ t: borrowing PostgresTransaction, _ context: inout Context) {}"
        ),
        (
            "func a(_ context: inout Context, in t: PostgresTransaction) {}",
            "2:50 a task takes its transaction borrowing [insert \"borrowing\"]",
            "func a(_ context: inout Context, in t: borrowing PostgresTransaction) {}"
        ),
        (
            "func a(_ context: inout Context, in t: inout CloacinaPostgres.PostgresTransaction) {}",
            "2:50 a task takes its transaction borrowing [insert \"borrowing\"]",
            "func a(_ context: inout Context, in t: borrowing CloacinaPostgres.PostgresTransaction) {}"
        ),
    ])
    func theSignatureIsATasks(function: String, diagnostic: String, fixed: String) {
        let expansion = self.expansion(ofTask: "@Task \(function)")
        #expect(expansion.diagnostics == [diagnostic])
        #expect(expansion.fixed.split(separator: "\n")[1] == "    @Task \(fixed)")
    }

    @Test func aFixKeepsTheCommentBefore() {
        let expansion = self.expansion(
            ofTask: "@Task\n    // static once\n    static func a(_ context: inout Context) {}")
        #expect(expansion.fixed.contains("@Task\n    // static once\n    func a(_ context: inout Context) {}"))
    }
}
