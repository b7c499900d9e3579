import CloacinaWorkflow
import Testing

@Suite struct ContextTests {
    @Test func insertRefusesAKeyThatExists() throws {
        var context = try Context(["a": 1])
        let error = try #require(throws: WorkflowError.self) { try context.insert("a", 2) }
        #expect(error.code == .keyExists)
        #expect(context["a"] == 1)
        try context.insert("b", 2)
        #expect(context.keys == ["a", "b"])
    }

    @Test func updateRefusesAKeyThatIsMissing() throws {
        var context = try Context(["total": 1])
        let error = try #require(throws: WorkflowError.self) { try context.update("totl", to: 2) }
        #expect(error.code == .keyNotFound)
        #expect(error.suggestion == "total")
        try context.update("total", to: 2)
        #expect(try context.get("total", as: Int.self) == 2)
    }

    @Test func readsTypedValues() throws {
        var context = Context()
        try context.set("list", to: [1, 2])
        try context.set("nothing", to: Int?.none)
        #expect(try context.get("list") == [1, 2])
        #expect(try context.getIfPresent("absent", as: Int.self) == nil)
        #expect(context["nothing"] == .null)
        #expect(context["absent"] == nil)
        let mismatch = try #require(throws: WorkflowError.self) { try context.get("list", as: String.self) }
        #expect(mismatch.code == .typeMismatch)
        #expect(mismatch.message.contains("list"))
        let absent = try #require(throws: WorkflowError.self) { try context.get("absent", as: Int.self) }
        #expect(absent.code == .keyNotFound)
    }

    @Test func removeTakesTheValueOut() throws {
        var context = try Context(["a": 1])
        #expect(context.remove("a") == 1)
        #expect(context.remove("a") == nil)
        #expect(context == Context())
    }

    @Test func countsItsBytesExactly() throws {
        var context = Context()
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<500 {
            let key = "k\(Int.random(in: 0..<20, using: &generator))\n"
            if Bool.random(using: &generator) {
                context.remove(key)
            } else {
                try context.set(key, to: String(repeating: "é\"", count: .random(in: 0..<9, using: &generator)))
            }
            #expect(context.byteCount == context.jsonText.utf8.count)
        }
    }

    /// Keys that only show the same are one key, with the bytes of how it was written first.
    @Test func countsAKeyThatIsSpelledOtherwise() throws {
        var context = try Context(["e\u{301}": 1, "a": 2])
        try context.set("\u{E9}", to: 33)
        #expect(context.byteCount == context.jsonText.utf8.count)
        #expect(context.remove("\u{E9}") == 33)
        #expect(context.byteCount == context.jsonText.utf8.count)
    }

    @Test func refusesToGrowBeyondItsLimit() throws {
        var context = Context(byteLimit: 20)
        try context.set("a", to: "0123456789")
        let before = context
        let error = try #require(throws: WorkflowError.self) { try context.set("b", to: 1) }
        #expect(error.code == .contextTooLarge)
        #expect(context == before)
        try context.set("a", to: "012345678901")
        #expect(throws: WorkflowError.self) { try context.set("a", to: "0123456789012") }
    }

    @Test func hasALimitOfOneMebibyteByDefault() throws {
        var context = Context()
        try context.set("k", to: String(repeating: "x", count: (1 << 20) - 8))
        #expect(context.byteCount == 1 << 20)
        #expect(throws: WorkflowError.self) { try context.set("k", to: String(repeating: "x", count: (1 << 20) - 7)) }
    }

    @Test func descriptionLeavesOutTheValues() throws {
        let context = try Context(["password": "hunter2"])
        #expect(!"\(context)".contains("hunter2"))
        let error = try #require(throws: WorkflowError.self) { try context.get("password", as: Int.self) }
        #expect(!"\(error)".contains("hunter2"))
    }

    @Test func comesBackFromItsText() throws {
        let context = try Context(["b": [1, 2.5], "a": ["x": nil]])
        #expect(context.jsonText == #"{"a":{"x":null},"b":[1,2.5]}"#)
        #expect(try Context(parsing: context.jsonText) == context)
        #expect(throws: WorkflowError.self) { try Context(parsing: "[]") }
    }
}

@Suite struct ContextDeltaTests {
    /// Whatever a context may hold can be stored as a delta, and read again.
    @Test func theDeepestChangeComesBack() throws {
        func nested(_ depth: Int, in innermost: JSONValue) -> JSONValue {
            (0..<depth).reduce(innermost) { value, _ in .object(["k": value]) }
        }
        let deepest = JSONValue.maximumDepth - 1
        let whole = ContextDelta(from: Context(), to: try Context(["k": nested(deepest, in: 1)]))
        let inside = ContextDelta(
            from: try Context(["k": nested(deepest, in: 1)]), to: try Context(["k": nested(deepest, in: 2)]))
        #expect(throws: WorkflowError.self) { try Context(["k": nested(deepest + 1, in: 1)]) }
        for delta in [whole, inside] { #expect(try ContextDelta(parsing: delta.jsonText) == delta) }
    }

    /// What equals the old value is still another one when its text is: it must not be lost between processes.
    @Test(
        arguments: [
            ("e\u{301}", "\u{E9}"), (0.0, -0.0), (["e\u{301}"], ["\u{E9}"]), (["k": -0.0], ["k": 0.0]),
            (["e\u{301}": 1], ["\u{E9}": 1]), (["\u{E9}": 1, "a": 2], ["e\u{301}": 1, "a": 2]),
            (["k": [["e\u{301}": nil]]], ["k": [["\u{E9}": nil]]]),
            (["k": ["e\u{301}": ["x": 1]]], ["k": ["\u{E9}": ["x": 1]]]),
        ] as [(JSONValue, JSONValue)])
    func aChangeOfSpellingIsAChange(old: JSONValue, new: JSONValue) throws {
        #expect(old == new)
        let given = try Context(["x": old])
        let delta = ContextDelta(from: given, to: try Context(["x": new]))
        #expect(!delta.isEmpty)
        var applied = given
        try applied.apply(delta)
        // Strings that only show the same are equal.
        #expect(try applied["x"].map { Array(try $0.jsonText().utf8) } == Array(new.jsonText().utf8))
        // So it is with what another process reads.
        var read = given
        try read.apply(ContextDelta(parsing: delta.jsonText))
        #expect(read.jsonText.utf8.elementsEqual(applied.jsonText.utf8))
    }

    /// A key that a task took out and stored again in another spelling.
    @Test func aChangeOfAKeysSpellingIsAChange() throws {
        let given = try Context(["e\u{301}": 1, "a": 2])
        var result = given
        result.remove("\u{E9}")
        try result.set("\u{E9}", to: 1)
        var applied = given
        try applied.apply(ContextDelta(from: given, to: result))
        #expect(applied.jsonText.utf8.elementsEqual(result.jsonText.utf8))
        #expect(applied.byteCount == applied.jsonText.utf8.count)
    }

    /// What a task was given, what it left, and the delta as the database stores it.
    private static let changes: [([String: JSONValue], [String: JSONValue], String)] = [
        (["a": 1], ["a": 1], "{}"),
        (["a": 1], ["a": 2], #"{"set":{"a":2}}"#),
        ([:], ["a": ["x": 1]], #"{"set":{"a":{"x":1}}}"#),
        (["a": 1], [:], #"{"removed":["a"]}"#),
        (["a": nil], [:], #"{"removed":["a"]}"#),
        (["a": 1], ["a": nil], #"{"set":{"a":null}}"#),
        (["a": 1], ["a": 1.0], #"{"set":{"a":1.0}}"#),
        (["a": ["x": 1, "y": 2]], ["a": ["x": 1]], #"{"merged":{"a":{"removed":["y"]}}}"#),
        (
            ["a": ["x": ["p": 1]]], ["a": ["x": ["p": 1, "q": 2]]],
            #"{"merged":{"a":{"merged":{"x":{"set":{"q":2}}}}}}"#
        ),
        (["a": ["x": 1]], ["a": [1]], #"{"set":{"a":[1]}}"#),
        (["a": [1, 2]], ["a": [1]], #"{"set":{"a":[1]}}"#),
    ]

    @Test(arguments: Self.changes)
    func saysWhatChanged(given: [String: JSONValue], result: [String: JSONValue], text: String) throws {
        let delta = ContextDelta(from: try Context(given), to: try Context(result))
        #expect(delta.jsonText == text)
        #expect(try ContextDelta(parsing: text) == delta)
        var applied = try Context(given)
        try applied.apply(delta)
        #expect(applied.values == result)
    }

    /// What two tasks were given, what each left, and what a task after both is given.
    private static let merges: [([String: JSONValue], [String: JSONValue], [String: JSONValue], [String: JSONValue])] =
        [
            // The later one wins.
            (["k": 0], ["k": 1], ["k": 2], ["k": 2]),
            // What one didn't touch doesn't undo what the other did.
            (["k": 0], ["k": 1], ["k": 0], ["k": 1]),
            (["k": 0], ["k": 0], ["k": 2], ["k": 2]),
            // Both add.
            ([:], ["a": 1], ["b": 2], ["a": 1, "b": 2]),
            // A removal on one branch is not undone by the other.
            (["k": 0, "r": 1], ["k": 0], ["k": 1, "r": 1], ["k": 1]),
            (["r": 1], ["r": 1, "a": 1], [:], ["a": 1]),
            // A later set beats an earlier removal, and the other way round.
            (["k": 0], [:], ["k": 2], ["k": 2]),
            (["k": 0], ["k": 2], [:], [:]),
            // Objects merge by key, old and new, at every depth.
            (["o": ["x": 0]], ["o": ["x": 1]], ["o": ["x": 0, "y": 2]], ["o": ["x": 1, "y": 2]]),
            ([:], ["o": ["x": 1]], ["o": ["y": 2]], ["o": ["x": 1, "y": 2]]),
            ([:], ["o": ["i": ["x": 1, "z": 1]]], ["o": ["i": ["x": 2]]], ["o": ["i": ["x": 2, "z": 1]]]),
            // A removal inside an object holds.
            (["o": ["x": 1, "y": 1]], ["o": ["y": 1]], ["o": ["x": 1, "y": 2]], ["o": ["y": 2]]),
            (["o": ["x": 1, "y": 1]], ["o": ["x": 1, "y": 2]], ["o": ["y": 1]], ["o": ["y": 2]]),
            // An object that became something else, or went away, and was changed by the other.
            (["o": ["x": 1]], ["o": 5], ["o": ["x": 1, "y": 2]], ["o": ["y": 2]]),
            (["o": ["x": 1]], [:], ["o": ["x": 1, "y": 2]], ["o": ["y": 2]]),
            (["o": ["x": 1]], [:], ["o": [:]], [:]),
            (["o": ["x": 1]], ["o": 5], ["o": [:]], ["o": 5]),
            (["o": ["x": 1]], ["o": ["x": 1, "y": 2]], ["o": 5], ["o": 5]),
            (["o": ["x": 1]], ["o": ["x": 1, "y": 2]], [:], [:]),
            // Something else that became an object.
            (["o": 5], ["o": ["x": 1]], ["o": ["y": 2]], ["o": ["x": 1, "y": 2]]),
            // Arrays are values.
            (["l": [1, 2]], ["l": [1]], ["l": [1, 2, 3]], ["l": [1, 2, 3]]),
            (["l": [1, 2]], ["l": [1]], ["l": [1, 2]], ["l": [1]]),
            ([:], ["l": [1]], ["l": [2]], ["l": [2]]),
        ]

    @Test(arguments: Self.merges)
    func mergesInDeclaredOrder(
        given: [String: JSONValue], first: [String: JSONValue], second: [String: JSONValue],
        merged: [String: JSONValue]
    ) throws {
        let input = try Context(given)
        var context = input
        try context.apply(ContextDelta(from: input, to: Context(first)))
        try context.apply(ContextDelta(from: input, to: Context(second)))
        #expect(context.values == merged)
    }

    @Test func appliedToWhatItWasMadeFromGivesTheResult() throws {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            let given = try Context(Self.object(depth: 3, &generator))
            let result = try Context(Self.object(depth: 3, &generator))
            let delta = ContextDelta(from: given, to: result)
            var applied = given
            try applied.apply(try ContextDelta(parsing: delta.jsonText))
            #expect(applied == result)
            #expect(applied.byteCount == result.byteCount)
        }
    }

    @Test func refusesMoreThanAContextHolds() throws {
        let input = Context(byteLimit: 30)
        let first = try Context(["a": "0123456789"])
        let second = try Context(["b": "0123456789"])
        var context = input
        try context.apply(ContextDelta(from: input, to: first))
        let before = context
        let error = try #require(throws: WorkflowError.self) {
            try context.apply(ContextDelta(from: input, to: second))
        }
        #expect(error.code == .contextTooLarge)
        #expect(context == before)
    }

    @Test(arguments: ["[]", "{\"set\":1}", "{\"other\":{}}", "{\"removed\":[1]}", "{\"merged\":{\"a\":1}}", ""])
    func refusesATextThatIsNoDelta(text: String) {
        #expect(throws: WorkflowError.self) { try ContextDelta(parsing: text) }
    }

    private static func object(
        depth: Int, _ generator: inout SystemRandomNumberGenerator
    ) -> [String: JSONValue] {
        var members: [String: JSONValue] = [:]
        for key in ["a", "b", "c"] where Int.random(in: 0..<4, using: &generator) > 0 {
            switch Int.random(in: 0..<4, using: &generator) {
            case 0: members[key] = .integer(.random(in: 0..<2, using: &generator))
            case 1: members[key] = .array([.integer(.random(in: 0..<2, using: &generator))])
            case 2: members[key] = .null
            default: members[key] = depth == 0 ? 7 : .object(Self.object(depth: depth - 1, &generator))
            }
        }
        return members
    }
}
