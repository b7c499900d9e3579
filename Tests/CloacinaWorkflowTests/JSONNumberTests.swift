import Testing

@testable import CloacinaWorkflow

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Numbers that are exact in neither `Int64` nor `Double` keep their digits.
@Suite struct JSONNumberTests {
    @Test(arguments: [
        ("99999999999999999.99", "99999999999999999.99"), ("9223372036854775808", "9223372036854775808"),
        ("-9223372036854775809", "-9223372036854775809"), ("12345678901234567890.50", "12345678901234567890.5"),
        ("123456789012345678901234567890e-10", "12345678901234567890.123456789"),
        ("9007199254740993.0", "9007199254740993"), ("0.10000000000000000555", "0.10000000000000000555"),
        ("1\(String(repeating: "0", count: 300))", "1\(String(repeating: "0", count: 300))"),
        (String(repeating: "7", count: 308), String(repeating: "7", count: 308)),
        // A Double brings these back.
        ("12.10", "12.1"), ("1e2", "100.0"), ("0.30000000000000004", "0.30000000000000004"), ("1e23", "1e+23"),
        ("0e99999999999999999999", "0.0"), ("1.\(String(repeating: "0", count: 5_000))", "1.0"),
    ])
    func keepsAllDigits(text: String, written: String) throws {
        let value = try JSONValue(parsing: text)
        #expect(try value.jsonText() == written)
        #expect(try JSONValue(parsing: written) == value)
        #expect(try Context(parsing: "{\"n\":\(text)}").jsonText == "{\"n\":\(written)}")
    }

    @Test(arguments: [String(repeating: "1", count: 400), "0.\(String(repeating: "3", count: 1_001))"])
    func hasABoundOnDigits(text: String) {
        #expect(throws: WorkflowError.self) { try JSONValue(parsing: text) }
    }

    @Test(arguments: [
        "0", "-5", "0.1", "19.99", "12.10", "99999999999999999.99", "100000000000000000000", "9223372036854775808",
        "123456789012345678901234567890.12345678", "-0.00000000000000000000000000000000000001",
    ])
    func decimalsComeBackDigitByDigit(text: String) throws {
        let decimal = try #require(Decimal(string: text))
        let json = try JSONValue(encoding: decimal)
        #expect(try json.decode(as: Decimal.self) == decimal)
        #expect(try JSONValue(parsing: json.jsonText()) == json)
        #expect(try JSONValue(parsing: text).decode(as: Decimal.self) == decimal)
        let foundation = try JSONDecoder().decode([Decimal].self, from: Data("[\(json.jsonText())]".utf8))
        #expect(foundation == [decimal])
    }

    @Test func theLargestAndSmallestDecimalsComeBack() throws {
        for decimal in [Decimal.greatestFiniteMagnitude, .leastFiniteMagnitude, .leastNonzeroMagnitude] {
            #expect(try JSONValue(encoding: decimal).decode(as: Decimal.self) == decimal)
        }
        #expect(throws: WorkflowError.self) { try JSONValue(encoding: Decimal.nan) }
    }

    /// Never rounded without a word, as `JSONDecoder` does.
    @Test(arguments: ["1234567890123456789012345678901234567890.5", "1e200", "\"1.5\"", "true"])
    func whatADecimalCantHoldIsRefused(text: String) throws {
        let error = try #require(throws: WorkflowError.self) { try JSONValue(parsing: text).decode(as: Decimal.self) }
        #expect(error.code == .typeMismatch && error.message.contains("38 digits"))
    }

    @Test func wholeNumbersOfEverySizeComeBack() throws {
        #expect(try JSONValue(encoding: UInt64.max).jsonText() == "18446744073709551615")
        #expect(try JSONValue(encoding: UInt64.max).decode(as: UInt64.self) == .max)
        #expect(try JSONValue(parsing: "18446744073709551615").decode(as: UInt.self) == .max)
        #expect(try JSONValue(parsing: "18446744073709551615").decode(as: Double.self) == 0x1p64)
        #expect(throws: WorkflowError.self) { try JSONValue(parsing: "18446744073709551616").decode(as: UInt64.self) }
        #expect(throws: WorkflowError.self) { try JSONValue(parsing: "18446744073709551615").decode(as: Int.self) }
        for duration in [Duration.seconds(-5), .nanoseconds(1), .seconds(Int64.max)] {
            #expect(try JSONValue(encoding: duration).decode(as: Duration.self) == duration)
        }
        #expect(try JSONValue(encoding: Int128.min).decode(as: Int128.self) == .min)
        #expect(try JSONValue(encoding: UInt128.max).decode(as: UInt128.self) == .max)
    }

    @Test func aFloatIsWrittenAsItsOwnDigits() throws {
        #expect(try JSONValue(encoding: Float(0.1)).jsonText() == "0.1")
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            let value = Float(bitPattern: generator.next())
            guard value.isFinite else { continue }
            #expect(try JSONValue(encoding: value).decode(as: Float.self) == value)
        }
    }

    @Test func foundationsCodersKeepThemToo() throws {
        let texts = "[99999999999999999.99,18446744073709551615,9007199254740993,0.1,1000000000000000000]"
        let values = try JSONDecoder().decode([JSONValue].self, from: Data(texts.utf8))
        #expect(try JSONValue.array(values).jsonText() == texts)
        #expect(try String(decoding: JSONEncoder().encode(values), as: UTF8.self) == texts)
        let long = Data("[0.\(String(repeating: "3", count: 60))]".utf8)
        #expect(throws: DecodingError.self) { try JSONDecoder().decode([JSONValue].self, from: long) }
    }

    /// Each is less than the next.
    @Test func rulesCompareThemExactly() throws {
        let texts = [
            "-1e300", "-99999999999999999.995", "-99999999999999999.99", "0", "0.1", "0.10000000000000000555",
            "99999999999999999.99", "99999999999999999.991", "100000000000000000", "9223372036854775807",
            "9223372036854775807.5", "9223372036854775808", "9223372036854775809", "1e300",
        ]
        let values = try texts.map { try JSONValue(parsing: $0) }
        for (left, less) in values.enumerated() {
            for (right, greater) in values.enumerated() {
                #expect(ValueOperator.lessThan.holds(for: less, greater) == (left < right), "\(less) < \(greater)")
                #expect(ValueOperator.greaterThanOrEqual.holds(for: less, greater) == (left >= right))
                #expect(ValueOperator.equals.holds(for: less, greater) == (left == right))
            }
        }
        let large = try JSONValue(parsing: "100000000000000000000000")
        #expect(ValueOperator.equals.holds(for: large, 1e23) && ValueOperator.equals.holds(for: 1e23, large))
        #expect(ValueOperator.lessThan.holds(for: large, .double(.infinity)))
        #expect(ValueOperator.greaterThan.holds(for: large, .double(-.infinity)))
        #expect(!ValueOperator.equals.holds(for: large, .double(.nan)))
        #expect(ValueOperator.contains.holds(for: [large], large))
    }

    @Test func aPolicyReadsThem() throws {
        let policy = RetryPolicy.exponential(3, base: 0.1)
        let text = try policy.jsonText().replacing("\"base\":0.1", with: "\"base\":0.10000000000000000555")
        #expect(try RetryPolicy(parsing: text) == policy)
    }
}
