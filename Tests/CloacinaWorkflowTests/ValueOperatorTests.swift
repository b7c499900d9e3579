import Testing

@testable import CloacinaWorkflow

@Suite struct ValueOperatorTests {
    static let values: [JSONValue] = [
        nil, true, false, 0, 1, 1.5, "", "a", "1", "2026-01-01T00:00:00Z", [], [1], [:], ["a": 1],
    ]

    /// Every operator on every pair of types, as a table of rules.
    @Test(arguments: values)
    func everyOperatorHasAnAnswerForEveryType(actual: JSONValue) {
        for expected in Self.values {
            let holds = { (comparison: ValueOperator) in comparison.holds(for: actual, expected) }
            #expect(holds(.equals) == (actual == expected))
            #expect(holds(.notEquals) == (actual != expected))
            #expect(holds(.contains) != holds(.notContains))
            #expect(holds(.exists) && !holds(.notExists))
            let isOrdered =
                switch (actual, expected) {
                case (.string, .string), (.integer, .integer), (.integer, .double), (.double, .integer),
                    (.double, .double):
                    true
                default: false
                }
            let order = [holds(.greaterThan), holds(.lessThan), holds(.equals)].count { $0 }
            #expect(!isOrdered || order == 1)
            #expect(isOrdered || !(holds(.greaterThan) || holds(.lessThan)))
            #expect(holds(.greaterThanOrEqual) == (isOrdered && !holds(.lessThan)))
            #expect(holds(.lessThanOrEqual) == (isOrdered && !holds(.greaterThan)))
        }
    }

    @Test(arguments: ValueOperator.allCases, values)
    func whatIsMissingIsLikeNothing(comparison: ValueOperator, expected: JSONValue) {
        let negative: Set<ValueOperator> = [.notEquals, .notContains, .notExists]
        #expect(comparison.holds(for: nil, expected) == negative.contains(comparison))
    }

    static let ascending: [(JSONValue, JSONValue)] = [
        (1, 2), (-1, 0), (1, 1.5), (0.5, 1), (-1.5, -1), (-2, -1.5),
        (9_007_199_254_740_992.0, 9_007_199_254_740_993),
        (.integer(.max), 0x1p63), (.integer(.max), 1e300), (-0x1p64, .integer(.min)), (-1e300, .integer(.min)),
        (.integer(.max - 1), .integer(.max)), (.integer(.min), .double((-0x1p63).nextUp)),
        (.integer(.max), .double(.infinity)), (.double(-.infinity), .integer(.min)),
        ("a", "b"), ("", "a"), ("Z", "a"), ("10", "9"), ("a", "é"),
        ("2026-01-01", "2026-01-02"),
        // Later as a text, earlier as an instant.
        ("2026-01-01T01:00:00+02:00", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00Z", "2025-12-31T23:30:00-01:00"),
        ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.51Z"),
        ("2026-01-01t00:00:00.000000000000000000001z", "2026-01-01T00:00:00.000000000000000000002Z"),
        ("0000-02-29T23:59:59Z", "0000-03-01T00:00:00Z"),
        ("2024-02-29T12:00:00Z", "2024-03-01T00:00:00+01:00"),
        ("1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"),
        ("2016-12-31T23:59:59Z", "2016-12-31T23:59:60Z"),
    ]

    @Test("The seed compares numbers as doubles and nothing else", arguments: ascending)
    func comparesExactly(less: JSONValue, greater: JSONValue) {
        #expect(ValueOperator.lessThan.holds(for: less, greater))
        #expect(ValueOperator.lessThanOrEqual.holds(for: less, greater))
        #expect(!ValueOperator.greaterThan.holds(for: less, greater))
        #expect(!ValueOperator.greaterThanOrEqual.holds(for: less, greater))
        #expect(ValueOperator.greaterThan.holds(for: greater, less))
        #expect(ValueOperator.greaterThanOrEqual.holds(for: greater, less))
        #expect(!ValueOperator.equals.holds(for: less, greater))
        #expect(ValueOperator.notEquals.holds(for: less, greater))
    }

    static let same: [(JSONValue, JSONValue)] = [
        (1, 1.0), (0, -0.0), (.integer(.min), -0x1p63), ([1, ["a": 2.0]], [1.0, ["a": 2]]), ("é", "e\u{301}"),
        (["a": 1, "b": nil], ["b": nil, "a": 1]),
    ]

    @Test(arguments: same)
    func numbersAreTheSameByValue(left: JSONValue, right: JSONValue) {
        #expect(ValueOperator.equals.holds(for: left, right))
        #expect(ValueOperator.equals.holds(for: right, left))
        #expect(!ValueOperator.notEquals.holds(for: left, right))
    }

    static let different: [(JSONValue, JSONValue)] = [
        (.integer(.max), 0x1p63), (9_007_199_254_740_993, 9_007_199_254_740_992.0), (1, "1"), (1, true), (0, nil),
        ([1], [1, 1]), (["a": 1], ["a": 1, "b": 1]), (["a": 1], ["b": 1]), (["a": nil], ["b": nil]),
        (.double(.nan), .double(.nan)), (.double(.nan), 1), ([], [:]),
    ]

    @Test(arguments: different)
    func differentTypesAreNeverTheSame(left: JSONValue, right: JSONValue) {
        #expect(!ValueOperator.equals.holds(for: left, right))
        #expect(!ValueOperator.equals.holds(for: right, left))
        #expect(ValueOperator.notEquals.holds(for: left, right))
    }

    @Test func nanHasNoOrder() {
        for comparison in [ValueOperator.greaterThan, .lessThan, .greaterThanOrEqual, .lessThanOrEqual] {
            #expect(!comparison.holds(for: .double(.nan), 1))
            #expect(!comparison.holds(for: 1, .double(.nan)))
            #expect(!comparison.holds(for: .double(.nan), .double(.nan)))
        }
    }

    @Test func oneInstantIsNeitherBeforeNorAfterItself() {
        let utc: JSONValue = "2026-03-01T08:30:00Z"
        let berlin: JSONValue = "2026-03-01T09:30:00.000+01:00"
        #expect(ValueOperator.greaterThanOrEqual.holds(for: utc, berlin))
        #expect(ValueOperator.lessThanOrEqual.holds(for: utc, berlin))
        #expect(!ValueOperator.greaterThan.holds(for: utc, berlin))
        #expect(!ValueOperator.equals.holds(for: utc, berlin))
    }

    @Test(arguments: [
        "", "2026", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "1800-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-01-00T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z",
        "2026-01-01T00:00Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00:00+01:60", "2026-01-01T00:00:00Zz", "+2026-01-01T00:00:00Z", "٢٠٢٦-01-01T00:00:00Z",
    ])
    func onlyInstantsAreDates(text: String) {
        #expect(DateText(text) == nil)
    }

    @Test func daysAreCountedAsTheCalendarDoes() throws {
        var end = try #require(DateText("1999-12-31T23:59:59Z"))
        for year in 2000...2100 {
            for month in 1...12 {
                for day in 1...31 {
                    let text = "\(year)-\(month < 10 ? "0" : "")\(month)-\(day < 10 ? "0" : "")\(day)"
                    guard let date = DateText("\(text)T00:00:00Z") else {
                        #expect(day > 28)
                        continue
                    }
                    // The day begins a second after the one before ended.
                    let offset = try #require(DateText("\(text)T00:01:00+00:01"))
                    #expect(end < date && date == offset)
                    #expect(try #require(DateText("\(text)T00:00:59+00:01")) == end)
                    end = try #require(DateText("\(text)T23:59:59Z"))
                }
            }
        }
    }

    static let texts: [(ValueOperator, JSONValue, JSONValue, Bool)] = [
        (.contains, "hello", "ell", true), (.contains, "hello", "", true), (.contains, "", "", true),
        (.contains, "hello", "Ell", false), (.contains, "hello", "hello!", false), (.contains, "1", 1, false),
        (.contains, [1, "a"], "a", true), (.contains, [1, "a"], 1.0, true), (.contains, [[1]], [1.0], true),
        (.contains, [[1]], 1, false), (.contains, [], nil, false), (.contains, [nil], nil, true),
        (.contains, ["a": 1], "a", false), (.contains, "un e\u{301}te", "é", true), (.contains, nil, nil, false),
        (.startsWith, "hello", "he", true), (.startsWith, "hello", "", true), (.startsWith, "hello", "el", false),
        (.startsWith, ["he"], "he", false), (.startsWith, "1", 1, false),
        (.endsWith, "hello", "lo", true), (.endsWith, "hello", "hello", true), (.endsWith, "lo", "hello", false),
    ]

    @Test(arguments: texts)
    func looksIntoTextsAndArrays(comparison: ValueOperator, actual: JSONValue, expected: JSONValue, holds: Bool) {
        #expect(comparison.holds(for: actual, expected) == holds)
        if comparison == .contains { #expect(ValueOperator.notContains.holds(for: actual, expected) != holds) }
    }

    @Test(.timeLimit(.minutes(1))) func longTextsTakeNoTime() {
        let text = String(repeating: "a", count: 60_000)
        #expect(!ValueOperator.contains.holds(for: .string(text), .string(text.dropLast(30_000) + "b")))
    }
}
