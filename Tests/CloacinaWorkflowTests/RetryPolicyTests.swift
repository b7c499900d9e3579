import TestSupport
import Testing

@testable import CloacinaWorkflow

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Says one number for ever.
private struct ConstantGenerator: RandomNumberGenerator {
    let number: UInt64
    mutating func next() -> UInt64 { self.number }

    /// Makes `Double.random(in:)` give the lower end of a closed range.
    static var lowest: Self { Self(number: 2_047) }
    /// Makes it give the upper end.
    static var highest: Self { Self(number: .max) }
}

private struct UnusedGenerator: RandomNumberGenerator {
    mutating func next() -> UInt64 {
        Issue.record("no randomness was asked for")
        return 0
    }
}

extension RetryPolicy {
    fileprivate func delays(_ attempts: ClosedRange<Int>) -> [Duration] {
        var generator = UnusedGenerator()
        return attempts.map { self.jittered(false).delay(beforeAttempt: $0, using: &generator) }
    }
}

@Suite struct RetryDelayTests {
    static let table: [(RetryPolicy, [Duration])] = [
        (.fixed(9), [.seconds(1), .seconds(1), .seconds(1), .seconds(1)]),
        (.fixed(9, delay: .seconds(2)), [.seconds(2), .seconds(2), .seconds(2), .seconds(2)]),
        (.linear(9), [.seconds(1), .seconds(2), .seconds(3), .seconds(4)]),
        (
            .linear(9, initialDelay: .milliseconds(100), multiplier: 1.5),
            [.milliseconds(150), .milliseconds(300), .milliseconds(450), .milliseconds(600)]
        ),
        (.exponential(9), [.seconds(1), .seconds(2), .seconds(4), .seconds(8)]),
        (
            .exponential(9, initialDelay: .milliseconds(100), base: 10, multiplier: 3),
            [.milliseconds(300), .seconds(3), .seconds(30), .seconds(60)]
        ),
        (.exponential(9, initialDelay: .seconds(10)).capped(at: .seconds(15)), [10, 15, 15, 15].map { .seconds($0) }),
        (.delays(.seconds(1), .seconds(5), .seconds(30)), [1, 5, 30, 30].map { .seconds($0) }),
        (.delays(.seconds(90)), [90, 90, 90, 90].map { .seconds($0) }),
        (.none, [.zero, .zero, .zero, .zero]),
    ]

    @Test(arguments: table)
    func followsTheStrategy(policy: RetryPolicy, delays: [Duration]) throws {
        #expect(policy.delays(2...5) == delays)
        try policy.validate()
    }

    @Test func theFirstAttemptDoesNotWait() {
        #expect(RetryPolicy.default.delays(-2...1) == [.zero, .zero, .zero, .zero])
    }

    @Test func jitterIsAQuarterEitherWay() {
        var lowest = ConstantGenerator.lowest
        var highest = ConstantGenerator.highest
        let policy = RetryPolicy.exponential(9, initialDelay: .seconds(8))
        #expect(policy.delay(beforeAttempt: 2, using: &lowest) == .seconds(6))
        #expect(policy.delay(beforeAttempt: 2, using: &highest) == .seconds(10))
        var generator = SeededGenerator(seed: 42)
        let delays = Set((0..<100).map { _ in policy.delay(beforeAttempt: 2, using: &generator) })
        #expect(delays.count > 90)
        #expect(delays.allSatisfy { $0 >= .seconds(6) && $0 <= .seconds(10) })
    }

    @Test("The seed caps before it adds jitter and passes the cap by a quarter")
    func theCapHoldsAfterJitter() {
        var highest = ConstantGenerator.highest
        var lowest = ConstantGenerator.lowest
        let policy = RetryPolicy.exponential(9, initialDelay: .seconds(9)).capped(at: .seconds(10))
        #expect(policy.delay(beforeAttempt: 2, using: &highest) == .seconds(10))
        #expect(policy.delay(beforeAttempt: 2, using: &lowest) == .seconds(6.75))
    }

    @Test func longDelaysKeepTheirNanoseconds() {
        let odd = Duration.seconds(7_654_321) + .nanoseconds(123_456_789)
        #expect(RetryPolicy.fixed(3, delay: odd).delays(2...2) == [odd])
    }

    static let numbers = [
        0, -0.0, 1, 2, 1e-300, 1e300, -1, -1e300, .nan, .infinity, -.infinity, .leastNonzeroMagnitude,
        .greatestFiniteMagnitude,
    ]
    static let durations: [Duration] = [
        .zero, .nanoseconds(1), .seconds(1), .seconds(-1), .seconds(Int64.max), .seconds(Int64.min),
        Duration(attoseconds: .max), Duration(attoseconds: .min), Duration(attoseconds: 1),
    ]

    /// Whatever is asked, the answer is between zero and the cap.
    @Test(arguments: numbers, durations)
    func noInputTraps(number: Double, duration: Duration) {
        let strategies: [BackoffStrategy] = [
            .fixed, .linear(multiplier: number), .custom([]), .custom([duration]),
            .exponential(base: number, multiplier: number), .exponential(base: 2, multiplier: number),
            .exponential(base: number, multiplier: 1),
        ]
        let attempts = [Int.min, -1, 0, 1, 2, 3, 64, 1_025, Int(Int32.max), Int.max - 1, Int.max]
        for strategy in strategies {
            for cap in Self.durations {
                for jitter in [false, true] {
                    let policy = RetryPolicy(
                        backoff: strategy, initialDelay: duration, maxDelay: cap, jitter: jitter)
                    let failure = TaskFailure(text: "", typeName: "", isTransient: true, retryAfter: duration)
                    let areWithinBounds = attempts.allSatisfy { attempt in
                        var generator = SeededGenerator(seed: 42)
                        let delay = policy.delay(beforeAttempt: attempt, using: &generator)
                        let dictated = policy.delay(beforeAttempt: attempt, after: failure, using: &generator)
                        return delay >= .zero && delay <= max(cap, .zero) && dictated >= .zero
                            && dictated <= RetryPolicy.maximumRetryAfter
                    }
                    #expect(areWithinBounds, "\(policy)")
                }
            }
        }
    }

    @Test func whatGrowsBeyondMeasureIsTheCap() {
        for attempt in [64, 1_100, .max] {
            #expect(RetryPolicy.exponential(.max).delays(attempt...attempt) == [.seconds(60)])
        }
        #expect(RetryPolicy.linear(.max).delays(.max ... .max) == [.seconds(60)])
        #expect(RetryPolicy.linear(.max, multiplier: .infinity).delays(2...2) == [.seconds(60)])
        #expect(RetryPolicy.linear(.max, multiplier: .nan).delays(2...2) == [.zero])
        #expect(RetryPolicy.linear(.max, multiplier: -1).delays(2...2) == [.zero])
    }

    @Test func anErrorDictatesItsPause() {
        var none = UnusedGenerator()
        var lowest = ConstantGenerator.lowest
        var highest = ConstantGenerator.highest
        let exact = RetryPolicy.fixed(3, delay: .seconds(1))
        func failure(_ retryAfter: Duration?) -> TaskFailure {
            TaskFailure(text: "", typeName: "", isTransient: true, retryAfter: retryAfter)
        }
        #expect(exact.delay(beforeAttempt: 2, after: failure(nil), using: &none) == .seconds(1))
        #expect(exact.delay(beforeAttempt: 1, after: failure(.seconds(9)), using: &none) == .zero)
        #expect(exact.delay(beforeAttempt: 2, after: failure(.seconds(300)), using: &none) == .seconds(300))
        #expect(exact.delay(beforeAttempt: 2, after: failure(.seconds(-5)), using: &none) == .zero)
        #expect(exact.delay(beforeAttempt: 2, after: failure(.seconds(1e9)), using: &none) == .seconds(86_400))
        let spread = exact.jittered()
        #expect(spread.delay(beforeAttempt: 2, after: failure(.seconds(300)), using: &lowest) == .seconds(300))
        #expect(spread.delay(beforeAttempt: 2, after: failure(.seconds(300)), using: &highest) == .seconds(375))
    }
}

@Suite struct RetryDecisionTests {
    private static func failure(_ text: String = "", isTransient: Bool = false) -> TaskFailure {
        TaskFailure(text: text, typeName: "Failure", isTransient: isTransient)
    }

    @Test("The seed documents max_attempts as retries; it counts attempts")
    func maxAttemptsCountsTheFirstOneToo() {
        let policy = RetryPolicy.default
        #expect((1...4).map { policy.shouldRetry(Self.failure(), attempt: $0) } == [true, true, false, false])
        #expect(!policy.attempts(1).shouldRetry(Self.failure(), attempt: 1))
        #expect(!policy.attempts(0).shouldRetry(Self.failure(), attempt: 1))
        #expect(!policy.attempts(.min).shouldRetry(Self.failure(), attempt: 1))
        #expect(policy.attempts(.max).shouldRetry(Self.failure(), attempt: .max - 1))
        #expect(!RetryPolicy.none.shouldRetry(Self.failure(isTransient: true), attempt: 1))
    }

    static let conditions: [([RetryCondition], TaskFailure, Bool)] = [
        ([.allErrors], failure(), true),
        ([.never], failure(isTransient: true), false),
        ([], failure(isTransient: true), false),
        ([.transientOnly], failure(), false),
        ([.transientOnly], failure(isTransient: true), true),
        ([.errorPattern(["gone"])], failure("It is GONE."), true),
        ([.errorPattern(["GONE"])], failure("it is gone"), true),
        ([.errorPattern(["lost", "gone"])], failure("it is gone"), true),
        ([.errorPattern(["lost"])], failure("it is gone"), false),
        ([.errorPattern([])], failure("it is gone"), false),
        ([.errorPattern(["ÉTÉ"])], failure("un été"), true),
        ([.errorPattern(["a.c"])], failure("abc"), false),
    ]

    @Test(arguments: conditions)
    func conditionsDecide(conditions: [RetryCondition], failure: TaskFailure, expected: Bool) {
        #expect(RetryPolicy(conditions: conditions).shouldRetry(failure, attempt: 1) == expected)
    }

    @Test("H3: the seed's policy takes its conditions as alternatives, its executor all at once")
    func conditionsAreAlternatives() {
        let policy = RetryPolicy.default.retrying(when: .transientOnly, .errorPattern(["gone"]))
        #expect(policy.shouldRetry(Self.failure("timeout", isTransient: true), attempt: 1))
        #expect(policy.shouldRetry(Self.failure("gone"), attempt: 1))
        #expect(!policy.shouldRetry(Self.failure("wrong"), attempt: 1))
    }

    @Test func longPatternsInLongTextsTakeNoTime() {
        let text = String(repeating: "a", count: 4_000)
        let pattern = String(repeating: "a", count: 100_000) + "b"
        #expect(!RetryCondition.errorPattern([pattern]).holds(for: Self.failure(text)))
        #expect((text + text).containsRun(of: Array(text)))
    }

    @Test func aRunIsFoundWhereverItIs() {
        #expect("aabaaabaaaa".containsRun(of: Array("aabaaaa")))
        var generator = SeededGenerator(seed: 3)
        for _ in 0..<3_000 {
            let letters = (0..<Int.random(in: 0...20, using: &generator)).map { _ in Bool.random(using: &generator) }
            let needle = (0..<Int.random(in: 0...7, using: &generator)).map { _ in Bool.random(using: &generator) }
            let isThere =
                letters.count >= needle.count
                && (0...letters.count - needle.count).contains { letters.dropFirst($0).starts(with: needle) }
            #expect(letters.containsRun(of: needle) == isThere)
        }
    }
}

@Suite struct RetryValidationTests {
    static let invalid: [(RetryPolicy, String)] = [
        (RetryPolicy(maxAttempts: 0), "maxAttempts is 0"),
        (RetryPolicy(maxAttempts: .min), "maxAttempts is"),
        (RetryPolicy(maxAttempts: .max), "maxAttempts is"),
        (RetryPolicy(initialDelay: .seconds(-1)), "initialDelay is negative"),
        (RetryPolicy(initialDelay: .seconds(61)), "longer than maxDelay"),
        (RetryPolicy(initialDelay: .zero, maxDelay: .seconds(-1)), "maxDelay is"),
        (RetryPolicy(maxDelay: .seconds(Int64.max)), "maxDelay is"),
        (RetryPolicy(maxDelay: Duration(attoseconds: .max)), "maxDelay is"),
        (.linear(3, multiplier: 0), "multiplier is 0.0"),
        (.linear(3, multiplier: .nan), "multiplier is nan"),
        (.exponential(3, base: .infinity), "base is inf"),
        (.exponential(3, base: -2), "base is -2.0"),
        (.exponential(3, multiplier: -1), "multiplier is -1.0"),
        (.delays(), "the table of delays is empty"),
        (RetryPolicy(backoff: .custom([.seconds(1), .seconds(-1)])), "delay 2 is negative"),
        (RetryPolicy(backoff: .custom([.seconds(61)])), "delay 1 is 61.0 seconds, longer"),
        (RetryPolicy(conditions: []), "no conditions"),
        (RetryPolicy(conditions: [.never, .allErrors]), ".never contradicts"),
        (RetryPolicy(conditions: [.errorPattern([])]), "without patterns"),
        (RetryPolicy(conditions: [.transientOnly, .errorPattern(["a", ""])]), "an empty pattern"),
    ]

    @Test(arguments: invalid)
    func refusesWhatMakesNoSense(policy: RetryPolicy, reason: String) throws {
        let line = #line + 1
        let error = try #require(throws: WorkflowError.self) { try policy.validate() }
        #expect(error.code == .invalidRetryPolicy)
        #expect(error.message.contains(reason), "\(error.message)")
        #expect(error.line == line && error.fileID == #fileID)
        #expect(throws: WorkflowError.self) { try policy.jsonText() }
        #expect(throws: (any Error).self) { try JSONEncoder().encode(policy) }
    }

    @Test func readyMadePoliciesAreValid() throws {
        let policies: [RetryPolicy] = [
            .default, .none, RetryPolicy(), .fixed(3, delay: .seconds(600)), .linear(2), .exponential(5),
            .delays(.milliseconds(1), .seconds(90)), .default.jittered(false).attempts(7).retrying(when: .never),
        ]
        for policy in policies { try policy.validate() }
        #expect(RetryPolicy.default == RetryPolicy())
        #expect(RetryPolicy.delays(.seconds(1), .seconds(2)).maxAttempts == 3)
    }
}

@Suite struct RetryJSONTests {
    static let texts: [(RetryPolicy, String)] = [
        (
            .default,
            """
            {"backoff_strategy":{"base":2.0,"multiplier":1.0,"type":"Exponential"},"initial_delay":{"nanos":0,"secs":1},\
            "jitter":true,"max_attempts":3,"max_delay":{"nanos":0,"secs":60},"retry_conditions":[{"type":"AllErrors"}]}
            """
        ),
        (
            .linear(7, initialDelay: .milliseconds(1_500), multiplier: 1.5).jittered(false)
                .retrying(when: .transientOnly, .errorPattern(["a", "b\""])),
            """
            {"backoff_strategy":{"multiplier":1.5,"type":"Linear"},"initial_delay":{"nanos":500000000,"secs":1},\
            "jitter":false,"max_attempts":7,"max_delay":{"nanos":0,"secs":60},"retry_conditions":[\
            {"type":"TransientOnly"},{"patterns":["a","b\\""],"type":"ErrorPattern"}]}
            """
        ),
        (
            .none,
            """
            {"backoff_strategy":{"type":"Fixed"},"initial_delay":{"nanos":0,"secs":0},"jitter":false,"max_attempts":1,\
            "max_delay":{"nanos":0,"secs":0},"retry_conditions":[{"type":"Never"}]}
            """
        ),
        (
            .delays(.nanoseconds(1), .seconds(2)),
            """
            {"backoff_strategy":{"delays":[{"nanos":1,"secs":0},{"nanos":0,"secs":2}],"type":"Custom"},\
            "initial_delay":{"nanos":1,"secs":0},"jitter":false,"max_attempts":3,"max_delay":{"nanos":0,"secs":60},\
            "retry_conditions":[{"type":"AllErrors"}]}
            """
        ),
    ]

    @Test(arguments: texts)
    func isWrittenAsTheSeedWritesIt(policy: RetryPolicy, text: String) throws {
        #expect(try policy.jsonText() == text)
        #expect(try RetryPolicy(parsing: text) == policy)
        let data = try JSONEncoder().encode(policy)
        #expect(try JSONDecoder().decode(RetryPolicy.self, from: data) == policy)
        #expect(try JSONValue(encoding: policy).jsonText() == text)
        #expect(try JSONValue(parsing: text).decode(as: RetryPolicy.self) == policy)
    }

    /// Each is put in place of the default's JSON text.
    static let hostile: [(String, String, String)] = [
        (#""jitter":true"#, #""jiter":true"#, #"has no "jiter"; did you mean "jitter"?"#),
        (#""jitter":true,"#, "", #"needs "jitter""#),
        (#""jitter":true"#, #""jitter":1"#, #""jitter" of a retry policy is true or false"#),
        (#""Exponential""#, #""exponential""#, #"no type "exponential"; did you mean "Exponential"?"#),
        (#""Exponential""#, #""Fibonacci""#, #"a backoff strategy has no type "Fibonacci""#),
        (#""Exponential""#, #""Fixed""#, #"a backoff strategy has no "base""#),
        (#""base":2.0"#, #""base":"2""#, #""base" of a backoff strategy is a number"#),
        (#""base":2.0"#, #""base":-2"#, "base is -2.0"),
        (#""AllErrors""#, #""AlErrors""#, #"did you mean "AllErrors"?"#),
        (#""AllErrors""#, #""ErrorPattern""#, #"a retry condition needs "patterns""#),
        (#"{"type":"AllErrors"}"#, #"{"type":"ErrorPattern","patterns":[1]}"#, "an error pattern is a text"),
        (#"[{"type":"AllErrors"}]"#, "[]", "no conditions"),
        (#""secs":60"#, #""secs":-60"#, "a delay has no -60 secs"),
        (#""nanos":0,"secs":60"#, #""nanos":1000000000,"secs":60"#, "a delay has no 60 secs and 1000000000 nanos"),
        (#""secs":60"#, #""secs":9223372036854775807"#, "maxDelay is"),
        (#""secs":60"#, #""secs":1.5"#, #""secs" of a delay is a whole number"#),
        (#"{"nanos":0,"secs":60}"#, "60", "a delay is an object"),
        (#""max_attempts":3"#, #""max_attempts":0"#, "maxAttempts is 0"),
        (#""max_attempts":3"#, #""max_attempts":9223372036854775807"#, "maxAttempts is"),
        (
            #"{"base":2.0,"multiplier":1.0,"type":"Exponential"}"#, #"{"type":"Custom","function_name":"f"}"#,
            "can't name a function"
        ),
        (#"{"base":2.0,"multiplier":1.0,"type":"Exponential"}"#, #"{"type":"Custom","delays":[]}"#, "is empty"),
    ]

    @Test(arguments: hostile)
    func refusesWhatItDoesNotUnderstand(part: String, replacement: String, reason: String) throws {
        let text = try RetryPolicy.default.jsonText()
        try #require(text.contains(part))
        let wrong = text.replacing(part, with: replacement, maxReplacements: 1)
        let error = try #require(throws: WorkflowError.self) { try RetryPolicy(parsing: wrong) }
        #expect(error.code == .invalidRetryPolicy)
        #expect("\(error)".contains(reason), "\(error)")
        #expect(throws: (any Error).self) { try JSONDecoder().decode(RetryPolicy.self, from: Data(wrong.utf8)) }
    }

    @Test(arguments: ["", "{", "{\"a\":1,\"a\":2}", String(repeating: "[", count: 100_000)])
    func refusesWhatIsNoJSON(text: String) throws {
        let error = try #require(throws: WorkflowError.self) { try RetryPolicy(parsing: text) }
        #expect(error.code == .invalidJSON)
    }

    @Test func readsWholeNumbersForFactors() throws {
        let text = try RetryPolicy.default.jsonText().replacing("2.0", with: "2").replacing("\":3,", with: "\":3.0,")
        #expect(try RetryPolicy(parsing: text) == .default)
    }

    @Test func cutsDelaysToNanoseconds() throws {
        let policy = RetryPolicy.fixed(2, delay: Duration(attoseconds: 1_999_999_999))
        #expect(try RetryPolicy(parsing: policy.jsonText()).initialDelay == .nanoseconds(1))
    }
}
