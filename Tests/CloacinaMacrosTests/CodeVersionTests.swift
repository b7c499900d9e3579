import SwiftParser
import SwiftSyntax
import Testing

@testable import CloacinaMacros

@Suite struct CodeVersionTests {
    private static let original = """
        @Task(id: "a") func f(_ context: inout Context) async throws {
            let values = [1, 2]
            let sum = values[0] - 1
            print(sum, "a b")
        }
        """

    private func version(_ source: String) throws -> String {
        let function = try #require(Parser.parse(source: source).statements.first?.item.as(FunctionDeclSyntax.self))
        let attribute = try #require(function.attributes.first(named: "Task"))
        return CodeVersion.text(of: TaskReader.read(function, attribute: attribute).task)
    }

    @Test func isTheSameWithEveryCompiler() throws {
        #expect(try self.version(Self.original) == "62daed34854e3c6d")
        #expect(try self.version("@Task func f(_ context: inout Context) {}").count == 16)
    }

    @Test(arguments: [
        // Comments and layout.
        """
        /// Documented.
        @Task(id: "a")
        func f(_ context: inout Context) async throws { // why
            let values = [
                1,
                2,
            ]
            let sum = values[0] - /* one */ 1; print(sum, "a b");
        }
        """,
        // What @Task says is compared by value.
        """
        @Task(id: "b", dependencies: ["c"], retry: .exponential(3), timeout: .seconds(1))
        func f(_ context: inout Context) async throws {
            let values = [1, 2]
            let sum = values[0] - 1
            print(sum, "a b")
        }
        """,
    ])
    func commentsLayoutAndTheAttributeDontCount(source: String) throws {
        #expect(try self.version(source) == self.version(Self.original))
    }

    @Test(arguments: [
        ("[1, 2]", "[1, 3]"), ("\"a b\"", "\"a  b\""), ("- 1", "\n    -1"), ("async throws", "async"),
        ("print", "debugPrint"), ("(id: \"a\")", "(onSuccess: { _, _ in })"),
        ("(id: \"a\")", "(onFailure: { _, _ in })"), ("_ context", "context"),
    ])
    func codeCounts(old: String, new: String) throws {
        let changed = Self.original.split(separator: old, maxSplits: 1).joined(separator: new)
        #expect(try self.version(changed) != self.version(Self.original))
    }

    @Test func handlersAreToldApart() throws {
        let success = try self.version("@Task(onSuccess: { _, _ in }) func f(_ context: inout Context) {}")
        #expect(try self.version("@Task(onFailure: { _, _ in }) func f(_ context: inout Context) {}") != success)
    }

    @Test func theLayoutOfATextBlockDoesntCount() throws {
        let indented =
            "@Task func f(_ c: inout Context) {\n    let x = \"\"\"\n        a\n          b\n        \"\"\"\n}"
        let flush = "@Task func f(_ c: inout Context) {\nlet x = \"\"\"\na\n  b\n\"\"\"\n}"
        #expect(try self.version(indented) == self.version(flush))
    }
}
