import TestSupport
import Testing

@testable import CloacinaWorkflow

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

extension TriggerRule {
    fileprivate func holds(
        _ outcomes: [String: RuleOutcome] = [:], _ values: [String: JSONValue] = [:]
    ) throws -> Bool {
        self.isSatisfied(outcome: { outcomes[$0] }, context: try Context(values))
    }

    fileprivate static let yes = Self.always
    fileprivate static let no = Self.not(.always)

    /// So many rules within each other.
    fileprivate static func nested(_ depth: Int, in wrap: (Self) -> Self) -> Self {
        (1..<depth).reduce(.always) { rule, _ in wrap(rule) }
    }
}

@Suite struct TriggerRuleTests {
    static let logic: [(TriggerRule, Bool)] = [
        (.always, true), (.not(.always), false), (.not(.not(.always)), true),
        (.all([]), true), (.any([]), false), (.none([]), true),
        (.all([.yes, .yes]), true), (.all([.yes, .no]), false), (.all([.no]), false),
        (.any([.no, .yes]), true), (.any([.no, .no]), false),
        (.none([.no, .no]), true), (.none([.no, .yes]), false),
    ]

    @Test(arguments: logic)
    func combines(rule: TriggerRule, expected: Bool) throws {
        #expect(try rule.holds() == expected)
    }

    @Test("The seed has one level of all, any and none, and no not")
    func rulesHoldEachOther() throws {
        let rule = TriggerRule.all([
            .any([.taskFailed("a"), .not(.taskSkipped("b"))]),
            .none([.all([.contextExists("x"), .contextValue("x", .lessThan, 3)])]),
        ])
        #expect(try rule.holds(["a": .failed, "b": .skipped]))
        #expect(try rule.holds(["a": .succeeded, "b": .succeeded]))
        #expect(try !rule.holds(["a": .succeeded, "b": .skipped]))
        #expect(try !rule.holds(["a": .failed], ["x": 2]))
        #expect(try rule.holds(["a": .failed], ["x": 3]))
    }

    @Test func aFailureFurtherUpCounts() throws {
        let context = try Context([:])
        // The parent was skipped, as the task before it failed.
        let outcome = { (_: String) in RuleOutcome.skipped }
        let parents = TriggerRule.none([.taskFailed("load"), .taskFailed("audit")])
        #expect(parents.isSatisfied(outcome: outcome, context: context, ancestorFailed: true))
        let rule = TriggerRule.noneFailedAbove
        #expect(!rule.isSatisfied(outcome: outcome, context: context, ancestorFailed: true))
        #expect(rule.isSatisfied(outcome: outcome, context: context, ancestorFailed: false))
        #expect(rule.isSatisfied(outcome: outcome, context: context))
    }

    @Test(arguments: [
        (TriggerRule.all([.always, .noneFailedAbove]), false),
        (.any([.noneFailedAbove, .not(.noneFailedAbove)]), true),
        (.none([.any([.noneFailedAbove])]), true), (.not(.noneFailedAbove), true), (.always, true),
    ])
    func otherRulesHoldIt(rule: TriggerRule, expected: Bool) throws {
        #expect(try rule.isSatisfied(outcome: { _ in nil }, context: Context([:]), ancestorFailed: true) == expected)
        #expect(rule.taskIDs.isEmpty)
    }

    @Test func outcomesAreOneOfThree() throws {
        for outcome in RuleOutcome.allCases {
            #expect(try TriggerRule.taskSucceeded("a").holds(["a": outcome]) == (outcome == .succeeded))
            #expect(try TriggerRule.taskFailed("a").holds(["a": outcome]) == (outcome == .failed))
            #expect(try TriggerRule.taskSkipped("a").holds(["a": outcome]) == (outcome == .skipped))
        }
        for rule in [TriggerRule.taskSucceeded("a"), .taskFailed("a"), .taskSkipped("a")] {
            #expect(try !rule.holds(["b": .succeeded]))
        }
        #expect(try TriggerRule.anyFailed("a", "b").holds(["a": .succeeded, "b": .failed]))
        #expect(try TriggerRule.allSucceeded("a", "b").holds(["a": .succeeded, "b": .succeeded]))
    }

    @Test("F4: in the seed, dependents of a failed task run because of the default; here a rule has to say so")
    func runningAfterAFailureIsSpelledOut() throws {
        #expect(try TriggerRule.always.holds(["a": .failed]))
        #expect(try !TriggerRule.allSucceeded("a").holds(["a": .failed]))
        #expect(try !TriggerRule.allSucceeded("a").holds(["a": .skipped]))
    }

    @Test("C4: the seed evaluates rules on other data than the task gets; here the caller hands it in")
    func comparesTheContextItIsGiven() throws {
        let rule = TriggerRule.contextValue("order.items[0].price", .greaterThanOrEqual, 10)
        #expect(try rule.holds([:], ["order": ["items": [["price": 10.0]]]]))
        #expect(try !rule.holds([:], ["order": ["items": []]]))
        #expect(try !rule.holds([:], ["order.items[0].price": 10]))
        #expect(try TriggerRule.contextNotExists("order.coupon").holds([:], ["order": [:]]))
        #expect(try TriggerRule.contextExists("order.coupon").holds([:], ["order": ["coupon": nil]]))
        #expect(try !TriggerRule.contextValue("a..b", .exists, nil).holds([:], ["a": ["": ["b": 1]]]))
    }

    @Test func namesTheTasksItAsksAbout() {
        let rule = TriggerRule.all([
            .any([.taskFailed("a"), .not(.taskSkipped("b"))]), .none([.taskSucceeded("c")]), .contextExists("d"),
            .always, .taskFailed("a"),
        ])
        #expect(rule.taskIDs == ["a", "b", "c"])
    }

    static let words: [(TriggerRule, String)] = [
        (.always, "always"),
        (.any([]), "never, as there are no conditions"), (.noneFailedAbove, "no task before it failed"),
        (.all([.taskFailed("charge")]), #""charge" failed"#),
        (
            .all([.taskSucceeded("a"), .any([.taskSkipped("b"), .contextValue("x.y", .greaterThan, 100)])]),
            #""a" succeeded and ("b" was skipped or x.y is greater than 100)"#
        ),
        (
            .any([.all([.taskFailed("a"), .taskFailed("b")]), .all([])]),
            #"("a" failed and "b" failed) or always, as there are no conditions"#
        ),
        (
            .none([.contextExists("a"), .contextValue("b", .startsWith, "c")]),
            #"none of (a exists, b starts with "c")"#
        ),
        (.not(.contextValue(ContextPath(key: "a.b"), .notContains, ["k": 1])), #"not (a\.b doesn't contain {"k":1})"#),
        (
            .contextValue("a", .equals, .string(String(repeating: "x", count: 999))),
            "a is \"\(String(repeating: "x", count: 79))…"
        ),
    ]

    @Test(arguments: words)
    func explainsItself(rule: TriggerRule, text: String) {
        #expect(rule.description == text)
    }
}

@Suite struct TriggerRuleValidationTests {
    @Test("F5: in the seed, a rule about an unknown task ends as an error in every tick")
    func refusesUnknownTasks() throws {
        let rule = TriggerRule.any([.taskFailed("chrage"), .taskSucceeded("validate")])
        let ids = ["charge", "validate"]
        let line = #line + 1
        let error = try #require(throws: WorkflowError.self) { try rule.validate(waitingFor: ids) }
        #expect(error.code == .invalidRule && error.suggestion == "charge")
        #expect(error.line == line && error.fileID == #fileID)
        try rule.validate(waitingFor: ["chrage", "validate", "more"])
        #expect(throws: WorkflowError.self) { try rule.validate(waitingFor: []) }
        try TriggerRule.always.validate(waitingFor: [])
    }

    static let invalid: [(TriggerRule, String)] = [
        (.contextValue("a..b", .equals, 1), #""a..b" is no path"#),
        (.not(.contextExists("")), "is no path"),
        (.contextValue("a", .equals, .double(.nan)), "JSON has no nan"),
        (.contextValue("a", .equals, (0..<300).reduce(1) { value, _ in [value] }), "nested deeper"),
        (
            (1..<64).reduce(.contextValue("a", .equals, (0..<75).reduce(1) { value, _ in [value] })) { rule, _ in
                .all([rule])
            }, "nested deeper"
        ),
        (.nested(65) { .all([$0]) }, "deeper than 64"),
        (.nested(65) { .not($0) }, "deeper than 64"),
        (.nested(5_000) { .any([.always, $0]) }, "deeper than 64"),
    ]

    @Test(arguments: invalid)
    func refusesWhatMeansNothing(rule: TriggerRule, reason: String) throws {
        let error = try #require(throws: WorkflowError.self) { try rule.validate(waitingFor: []) }
        #expect(error.code == .invalidRule)
        #expect(error.message.contains(reason), "\(error.message)")
        #expect(throws: WorkflowError.self) { try rule.jsonText() }
        #expect(throws: (any Error).self) { try JSONEncoder().encode(rule) }
    }

    @Test func takesTheDeepestRuleThereMayBe() throws {
        let value: JSONValue = (0..<70).reduce(1) { value, _ in [value] }
        for wrap in [{ .all([$0]) }, { .not($0) }] as [(TriggerRule) -> TriggerRule] {
            let rule = (1..<64).reduce(.contextValue("a", .equals, value)) { rule, _ in wrap(rule) }
            try rule.validate(waitingFor: [])
            #expect(try TriggerRule(parsing: rule.jsonText()) == rule)
        }
    }
}

@Suite struct TriggerRuleJSONTests {
    static let texts: [(TriggerRule, String)] = [
        (.always, #"{"type":"Always"}"#),
        (.all([]), #"{"conditions":[],"type":"All"}"#),
        (
            .all([.taskSucceeded("extract"), .contextValue("ready", .equals, true)]),
            #"{"conditions":[{"task_name":"extract","type":"TaskSuccess"},{"key":"ready","operator":"Equals","type":"#
                + #""ContextValue","value":true}],"type":"All"}"#
        ),
        (
            .any([.taskFailed("a"), .taskSkipped("b")]),
            #"{"conditions":[{"task_name":"a","type":"TaskFailed"},{"task_name":"b","type":"TaskSkipped"}],"type":"Any"}"#
        ),
        (
            .none([.contextExists("skip")]),
            #"{"conditions":[{"key":"skip","operator":"Exists","type":"ContextValue","value":null}],"type":"None"}"#
        ),
        // Not the seed's.
        (.noneFailedAbove, #"{"type":"NoneFailedAbove"}"#),
        (.not(.taskFailed("a")), #"{"condition":{"task_name":"a","type":"TaskFailed"},"type":"Not"}"#),
        (
            .contextValue("order.items[0].price", .greaterThanOrEqual, 1.0),
            #"{"operator":"GreaterThanOrEqual","path":"order.items[0].price","type":"ContextValue","value":1.0}"#
        ),
        (
            .contextValue(ContextPath(key: "order.total"), .lessThan, 1),
            #"{"key":"order.total","operator":"LessThan","type":"ContextValue","value":1}"#
        ),
        (
            .any([.all([.none([.always])]), .any([])]),
            #"{"conditions":[{"conditions":[{"conditions":[{"type":"Always"}],"type":"None"}],"type":"All"},"#
                + #"{"conditions":[],"type":"Any"}],"type":"Any"}"#
        ),
    ]

    @Test(arguments: texts)
    func isWrittenAsTheSeedWritesIt(rule: TriggerRule, text: String) throws {
        #expect(try rule.jsonText() == text)
        #expect(try TriggerRule(parsing: text) == rule)
        #expect(try JSONValue(encoding: rule).jsonText() == text)
        #expect(try JSONValue(parsing: text).decode(as: TriggerRule.self) == rule)
        // Foundation's decoder hands on 1.0 as 1, which no operator tells apart.
        let again = try JSONDecoder().decode(TriggerRule.self, from: JSONEncoder().encode(rule))
        #expect(again.description.replacing("1.0", with: "1") == rule.description.replacing("1.0", with: "1"))
    }

    @Test func everyOperatorHasAName() throws {
        for comparison in ValueOperator.allCases {
            let rule = TriggerRule.contextValue("a", comparison, 1)
            #expect(try TriggerRule(parsing: rule.jsonText()) == rule)
            #expect(!comparison.description.isEmpty)
        }
    }

    @Test("The seed writes a task's full name into its rules")
    func readsTheTaskOutOfAFullName() throws {
        let rule = try TriggerRule(
            parsing: #"{"type":"TaskSuccess","task_name":"public::embedded::orders::charge"}"#)
        #expect(rule == .taskSucceeded("charge"))
        let workflow = try Workflow("orders") {
            WorkflowTask("charge") { _ in }
            WorkflowTask("ship", after: "charge", triggerRule: rule) { _ in }
        }
        #expect(workflow.tasks.last?.triggerRule?.taskIDs == ["charge"])
    }

    @Test("The seed documents a Conditional rule that no version of it reads")
    func readsWhatTheSeedDocuments() throws {
        let text = """
            {"type": "Conditional",
             "condition": {"field": "validation_passed", "operator": "Equals", "value": true}}
            """
        #expect(try TriggerRule(parsing: text) == .contextValue("validation_passed", .equals, true))
    }

    @Test func aValueThatNobodyLooksAtMayBeLeftOut() throws {
        let text = #"{"type":"ContextValue","key":"a","operator":"NotExists"}"#
        #expect(try TriggerRule(parsing: text) == .contextNotExists("a"))
    }

    static let hostile: [(String, String)] = [
        ("[]", "a trigger rule is an object"),
        ("{}", #"needs "type""#),
        (#"{"type":1}"#, #""type" of a trigger rule is a text"#),
        (#"{"type":"always"}"#, #"did you mean "Always"?"#),
        (#"{"type":"Sometimes"}"#, #"a trigger rule has no type "Sometimes""#),
        (#"{"type":"Always","conditions":[]}"#, #"has no "conditions""#),
        (#"{"type":"NoneFailedAbove","task_name":"a"}"#, #"has no "task_name""#),
        (#"{"type":"All"}"#, #"needs "conditions""#),
        (#"{"type":"All","conditions":{}}"#, #""conditions" of a trigger rule is a list"#),
        (#"{"type":"All","conditions":[1]}"#, "a trigger rule is an object"),
        (#"{"type":"All","conditions":[{"type":"TaskSuccess"}]}"#, #"needs "task_name""#),
        (#"{"type":"TaskFailed","task_nam":"a"}"#, #"did you mean "task_name"?"#),
        (#"{"type":"Not","conditions":[]}"#, #"did you mean "condition"?"#),
        (#"{"type":"ContextValue","key":"a","operator":"Equal","value":1}"#, #"did you mean "Equals"?"#),
        (#"{"type":"ContextValue","key":"a","operator":"Equals"}"#, #"needs "value""#),
        (#"{"type":"ContextValue","operator":"Equals","value":1}"#, #"needs "key""#),
        (#"{"type":"ContextValue","key":"a","path":"a","operator":"Exists"}"#, "not both"),
        (#"{"type":"ContextValue","path":"a..b","operator":"Exists"}"#, "is no path"),
        (#"{"type":"Conditional","condition":{"key":"a","operator":"Exists"}}"#, #"a condition has no "key""#),
    ]

    @Test("F5: bad JSON is refused when it is read, not in every tick", arguments: hostile)
    func refusesWhatItDoesNotUnderstand(text: String, reason: String) throws {
        let error = try #require(throws: WorkflowError.self) { try TriggerRule(parsing: text) }
        #expect(error.code == .invalidRule)
        #expect("\(error)".contains(reason), "\(error)")
        #expect(throws: (any Error).self) { try JSONDecoder().decode(TriggerRule.self, from: Data(text.utf8)) }
    }

    @Test(arguments: [
        #"{"type":"Not","condition":"#, #"{"type":"All","conditions":["#, "[", #"{"type":"ContextValue","value":["#,
    ])
    func deepNestingIsRefused(part: String) throws {
        for depth in [66, 150, 100_000] {
            let text = String(repeating: part, count: depth)
            #expect(throws: WorkflowError.self) { try TriggerRule(parsing: text) }
        }
        let closed = String(repeating: #"{"type":"Not","condition":"#, count: 65) + #"{"type":"Always"}"#
        let error = try #require(throws: WorkflowError.self) {
            try TriggerRule(parsing: closed + String(repeating: "}", count: 65))
        }
        #expect(error.code == .invalidRule && error.message.contains("deeper than 64"))
    }

    @Test func readsWithOptionalsAround() {
        // `.none` with conditions is the rule's, not Optional's.
        let rule: TriggerRule? = .none([.always])
        #expect(rule != nil)
    }
}

@Suite struct TriggerRulePropertyTests {
    private static func rule(depth: Int, using generator: inout SeededGenerator) -> TriggerRule {
        let id = ["a", "b", "c", "d"].randomElement(using: &generator) ?? "a"
        let rules = { (generator: inout SeededGenerator) in
            (0..<Int.random(in: 0...3, using: &generator)).map { _ in Self.rule(depth: depth - 1, using: &generator) }
        }
        switch Int.random(in: depth > 0 ? 0...8 : 4...8, using: &generator) {
        case 0: return .all(rules(&generator))
        case 1: return .any(rules(&generator))
        case 2: return .none(rules(&generator))
        case 3: return .not(Self.rule(depth: depth - 1, using: &generator))
        case 4: return .taskSucceeded(id)
        case 5: return .taskFailed(id)
        case 6: return .taskSkipped(id)
        case 7: return .always
        default:
            let comparison = ValueOperator.allCases.randomElement(using: &generator) ?? .equals
            let value = ValueOperatorTests.values.randomElement(using: &generator) ?? nil
            let path: ContextPath = Bool.random(using: &generator) ? ContextPath(key: id) : "a.b[0]"
            return .contextValue(path, comparison, value)
        }
    }

    @Test func logicHoldsForAnyRules() throws {
        var generator = SeededGenerator(seed: 7)
        for _ in 0..<300 {
            let rules = (0..<3).map { _ in Self.rule(depth: 4, using: &generator) }
            var outcomes: [String: RuleOutcome] = [:]
            for id in ["a", "b", "c"] { outcomes[id] = RuleOutcome.allCases.randomElement(using: &generator) }
            let values: [String: JSONValue] = ["a": ["b": [1]], "c": 1.5]
            let any = try TriggerRule.any(rules).holds(outcomes, values)
            #expect(try TriggerRule.none(rules).holds(outcomes, values) == !any)
            #expect(try TriggerRule.not(.all(rules.map { .not($0) })).holds(outcomes, values) == any)
            for rule in rules {
                #expect(try TriggerRule(parsing: rule.jsonText()) == rule)
                #expect(rule.taskIDs.isSubset(of: ["a", "b", "c", "d"]))
                #expect(!rule.description.isEmpty)
            }
        }
    }

    /// Texts with a byte changed, left out or put in are read or refused, and what is read can be written.
    @Test func brokenTextsAreReadOrRefused() throws {
        var generator = SeededGenerator(seed: 11)
        let policy = try RetryPolicy.delays(.seconds(1)).retrying(when: .errorPattern(["a"])).jsonText()
        let rule = try TriggerRule.all((0..<8).map { _ in Self.rule(depth: 3, using: &generator) }).jsonText()
        for round in 0..<4_000 {
            var bytes = Array((round % 2 == 0 ? policy : rule).utf8)
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let position = Int.random(in: bytes.indices, using: &generator)
                let byte = Array(#"{}[]",:0123456789-.eAaTtype\ "#.utf8).randomElement(using: &generator) ?? 0
                switch Int.random(in: 0...2, using: &generator) {
                case 0: bytes[position] = byte
                case 1: bytes.remove(at: position)
                default: bytes.insert(byte, at: position)
                }
            }
            let text = String(decoding: bytes, as: UTF8.self)
            if let read = try? RetryPolicy(parsing: text) { #expect(try RetryPolicy(parsing: read.jsonText()) == read) }
            if let read = try? TriggerRule(parsing: text) { #expect(try TriggerRule(parsing: read.jsonText()) == read) }
        }
    }
}
