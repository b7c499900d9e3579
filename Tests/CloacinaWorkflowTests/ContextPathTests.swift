import Testing

@testable import CloacinaWorkflow

@Suite struct ContextPathTests {
    static let order: [String: JSONValue] = [
        "order": ["total": 7, "items": [["price": 1.5], ["price": 2, "tags": ["a", "b"]]], "a.b": ["[c]": true]],
        "order.total": "literal",
        "null": nil,
    ]

    static let found: [(ContextPath, JSONValue)] = [
        ("order.total", 7),
        ("order.items[0].price", 1.5),
        ("order.items[1].tags[1]", "b"),
        (#"order.a\.b.\[c\]"#, true),
        (#"order\.total"#, "literal"),
        (ContextPath(key: "order.total"), "literal"),
        ("null", nil),
    ]

    @Test(arguments: found)
    func leadsToTheValue(path: ContextPath, value: JSONValue) throws {
        #expect(try Context(Self.order)[at: path] == value)
        #expect(try ContextPath(parsing: path.description) == path)
    }

    static let missing: [ContextPath] = [
        "none", "order.none", "order.items.price", "order[0]", "order.items[2]", "order.items[9223372036854775807]",
        "order.total.more", "null.more", "null[0]", "order..total", ContextPath(key: ""),
    ]

    @Test(arguments: missing)
    func leadsNowhere(path: ContextPath) throws {
        #expect(try Context(Self.order)[at: path] == nil)
    }

    @Test(arguments: [
        "", ".", "a.", ".a", "a..b", "[0]", "a[", "a[]", "a]", "a[0", "a[-1]", "a[+1]", "a[01]", "a[x]", "a[0]b",
        "a[9223372036854775808]", "a[0].", "a\\", "a\\b", "a[1\\]]", "a[٣]", "a[ 1]",
    ])
    func refusesWhatIsNoPath(text: String) throws {
        let error = try #require(throws: WorkflowError.self) { try ContextPath(parsing: text) }
        #expect(error.code == .invalidRule)
        #expect(error.fileID == #fileID)
        #expect(ContextPath(stringLiteral: text).problem != nil)
        #expect(!ContextPath(stringLiteral: text).description.isEmpty)
    }

    @Test(arguments: ["a", "a.b", "a[0]", #"\"#, "[", "]", ".", " ", "é", "a\nb", "\r\n", ""])
    func anyKeyOfTheContextHasAPath(key: String) throws {
        var context = Context()
        try context.set(key, to: 1)
        let path = ContextPath(key: key)
        #expect(context[at: path] == 1)
        guard !key.isEmpty else { return }
        #expect(try ContextPath(parsing: path.description) == path)
    }

    @Test func longPathsAreRead() throws {
        let path = try ContextPath(parsing: "a" + String(repeating: ".a[0]", count: 50_000))
        #expect(path.steps.count == 100_001)
        #expect(try Context(["a": 1])[at: path] == nil)
    }
}
