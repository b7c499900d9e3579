import SwiftParser
import SwiftSyntax
import Testing

@testable import CloacinaMacros

@Suite struct WorkflowExpansionTests {
    @Test func writesWhatAPersonWouldHaveTyped() {
        expectExpansion(
            of: #"""
                @Workflow(name: "etl", description: "Extract and load")
                struct ETL {
                    let url: String
                    @Task(id: "extract", retry: .exponential(3))
                    func extract(_ context: inout Context) async throws {}
                    @Task(
                        id: "load", dependencies: ["extract"], triggerRules: .all([.taskSucceeded("extract")]),
                        handles: ["extract"], timeout: .seconds(30), onSuccess: Self.celebrate, onFailure: Self.report)
                    func load(_ context: inout Context, _ scope: TaskScope) async throws {}
                    func helper() {}
                }
                """#,
            is: #"""
                struct ETL {
                    let url: String
                    func extract(_ context: inout Context) async throws {}
                    func load(_ context: inout Context, _ scope: TaskScope) async throws {}
                    func helper() {}

                    /// The workflow that the functions marked with `@Task` make up.
                    var workflow: CloacinaWorkflow.Workflow {
                        get throws(CloacinaWorkflow.WorkflowError) {
                            try CloacinaWorkflow.Workflow("etl", description: "Extract and load") {
                                CloacinaWorkflow.WorkflowTask(
                                    "extract", dependencies: [],
                                    retry: .exponential(3),
                                    codeVersion: "81fea09b65c7472f"
                                ) { context, _ in
                                    try await self.extract(&context)
                                }
                                CloacinaWorkflow.WorkflowTask(
                                    "load", dependencies: ["extract"],
                                    triggerRule: .all([.taskSucceeded("extract")]),
                                    handles: ["extract"],
                                    timeout: .seconds(30),
                                    codeVersion: "eee4fe721284c2bb",
                                    onSuccess: Self.celebrate,
                                    onFailure: Self.report
                                ) { context, scope in
                                    try await self.load(&context, scope)
                                }
                            }
                        }
                    }
                }
                """#)
    }

    @Test func keepsTasksUnderTheirConditions() {
        let text = Expansion(
            of: """
                @Workflow struct W {
                    @Task func a(_ context: inout Context) {}
                    #if DEBUG && os(Linux)
                    let x = 1
                    @Task func b(_ context: inout Context) {}
                    #if A
                    @Task func c(_ context: inout Context) {}
                    #endif
                    #elseif B
                    func helper() {}
                    #else
                    @Task(id: "b") func d(_ context: inout Context) {}
                    #endif
                    #if C
                    func helper() {}
                    #endif
                }
                """
        ).skeleton
        #expect(
            text == [
                "self.a(&context)", "#if DEBUG && os(Linux)", "self.b(&context)", "#if A", "self.c(&context)", "#endif",
                "#elseif B", "#else", "self.d(&context)", "#endif",
            ])
    }

    @Test(arguments: [
        ("func f(_ context: inout Context)", "self.f(&context)"),
        ("func f(_ context: inout Context) throws", "try self.f(&context)"),
        ("func f(_ context: inout Context) throws(WorkflowError)", "try self.f(&context)"),
        ("func f(_ context: inout Context) throws(Never)", "self.f(&context)"),
        ("func f(_ context: inout Context) async", "await self.f(&context)"),
        ("func f(_ c: inout CloacinaWorkflow.Context) async throws -> Void", "try await self.f(&context)"),
        ("private func f(context: inout Context) -> ()", "self.f(context: &context)"),
        ("func f(in c: inout Context, `for` s: TaskScope)", "self.f(in: &context, for: scope)"),
        ("func f(`inout` c: inout Context, _: TaskScope)", "self.f(`inout`: &context, scope)"),
        (
            "func f(_ context: inout Context, _ scope: TaskScope, in t: borrowing PostgresTransaction) async throws",
            "try await self.f(&context, scope, in: transaction)"
        ),
        (
            "func f(_ context: inout Context, _: borrowing CloacinaPostgres.PostgresTransaction)",
            "self.f(&context, transaction)"
        ),
        ("@MainActor func f(_ context: inout Context)", "await self.f(&context)"),
        ("func `default`(_ context: inout Context)", "self.`default`(&context)"),
        ("nonisolated func f(_ context: inout Context)", "self.f(&context)"),
    ])
    func callsTheFunctionAsItIsDeclared(function: String, call: String) {
        let expansion = Expansion(of: "@Workflow struct W { @Task \(function) {} }")
        #expect(expansion.diagnostics == [])
        #expect(expansion.skeleton == [call])
    }

    @Test(arguments: [("", "_"), (" _ s: TaskScope,", "scope")])
    func whatTakesATransactionIsATransactionalTask(parameter: String, scope: String) {
        let function = "func f(_ c: inout Context,\(parameter) _ t: borrowing PostgresTransaction) {}"
        let text = Expansion(of: "@Workflow struct W { @Task \(function) }").text
        #expect(text.contains("CloacinaWorkflow.WorkflowTask.transactional("))
        #expect(text.contains(") { context, \(scope), transaction in"))
    }

    @Test(arguments: [
        ("actor W", "@Task func", "await self.f(&context)"),
        ("actor W", "@Task nonisolated func", "self.f(&context)"),
        ("@MainActor final class W", "@Task func", "await self.f(&context)"),
        ("@MainActor struct W", "@Task nonisolated func", "self.f(&context)"),
    ])
    func waitsForTheActorOfTheType(type: String, function: String, call: String) {
        #expect(
            Expansion(of: "@Workflow \(type) { \(function) f(_ context: inout Context) {} }").skeleton == [call])
    }

    @Test(arguments: [
        ("struct W", "var"), ("public struct W", "public var"), ("open class W", "public var"),
        ("package enum W", "package var"), ("internal struct W", "var"), ("private struct W", "var"),
        ("fileprivate struct W", "var"), ("actor W", "nonisolated var"), ("public actor W", "public nonisolated var"),
    ])
    func thePropertyReachesAsFarAsTheType(type: String, property: String) {
        let text = Expansion(of: "@Workflow \(type) { @Task func f(_ context: inout Context) {} }").text
        #expect(text.contains("\n    \(property) workflow: CloacinaWorkflow.Workflow {"))
    }

    @Test(arguments: [
        ("@Workflow", "NightlyReport", "NightlyReport"), ("@Workflow()", "`default`", "default"),
        ("@Workflow(name: #\"a \"b\"\"#)", "W", "a \"b\""), ("@CloacinaWorkflow.Workflow(name: \"x\")", "W", "x"),
    ])
    func theNameIsTheTypesUnlessOneIsGiven(attribute: String, type: String, name: String) throws {
        let file = Parser.parse(source: "\(attribute) struct \(type) { @Task func f(_ context: inout Context) {} }")
        let type = try #require(file.statements.first?.item.as(StructDeclSyntax.self))
        let reading = WorkflowReader.read(
            try #require(WorkflowType(type)), attribute: try #require(type.attributes.first(named: "Workflow")))
        #expect(reading.workflow.name?.text == name)
        #expect(reading.diagnostics.isEmpty)
    }

    @Test func whatIsNoTaskIsWrittenWithoutItsCall() {
        let expansion = Expansion(
            of:
                "@Workflow struct W { @Task func a(_ context: Context) {}; @Task(id: id) func b(_ c: inout Context) {} }"
        )
        #expect(expansion.text.contains("{ _, _ in"))
        #expect(expansion.skeleton == [])
    }
}

extension Expansion {
    /// What the written workflow calls, and the conditions around it.
    fileprivate var skeleton: [String] {
        let written = self.text.split(separator: "var workflow:", maxSplits: 1).last ?? ""
        return written.split(separator: "\n").map { String($0.drop(while: \.isWhitespace)) }
            .filter { $0.hasPrefix("#") || $0.contains("self.") }
    }
}
