import CloacinaWorkflow
import Testing

@Suite struct JSONValueTests {
    private static let texts: [(String, JSONValue)] = [
        ("null", JSONValue.null), ("true", true), (" [ ] ", []), ("{}", [:]), ("-0", 0), ("0.5e1", 5.0),
        ("9223372036854775807", .integer(.max)), ("-9223372036854775808", .integer(.min)),
        ("1.0", 1.0), ("5e-324", .double(.leastNonzeroMagnitude)),
        ("1.7976931348623157e308", .double(.greatestFiniteMagnitude)),
        (#""\u0000\n\"\\\/\ud83d\ude00é""#, "\u{0}\n\"\\/😀é"), (#"[1,{"a":[null]}]"#, [1, ["a": [nil]]]),
    ]

    @Test(arguments: Self.texts)
    func readsJSON(text: String, value: JSONValue) throws {
        #expect(try JSONValue(parsing: text) == value)
        #expect(try JSONValue(parsing: value.jsonText()) == value)
    }

    @Test(arguments: [
        "", " ", "nul", "nulll", "01", "1.", ".5", "+1", "1e", "--1", "[1,]", "[1 2]", "{\"a\"}", "{\"a\":}", "{a:1}",
        "{\"a\":1,}", "{\"a\":1,\"a\":2}", "\"", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\udc00\\ud800\"",
        "\"\u{1}\"", "1 1", "1e999", "1e-400", "1e-99999999999999999999",
        "1e99999999999999999999", "NaN", "[", "{\"a\":1",
        String(repeating: "[", count: 100_000),
    ])
    func refusesWhatIsNotJSON(text: String) throws {
        let error = try #require(throws: WorkflowError.self) { try JSONValue(parsing: text) }
        #expect(error.code == .invalidJSON)
    }

    @Test func printsTheSameBytesWhateverTheOrder() throws {
        let keys = (0..<500).map { "key\($0)" }
        let ordered = JSONValue.object(Dictionary(uniqueKeysWithValues: keys.map { ($0, 1) }))
        let reversed = JSONValue.object(Dictionary(uniqueKeysWithValues: keys.reversed().map { ($0, 1) }))
        #expect(try ordered.jsonText() == reversed.jsonText())
        let unsorted: JSONValue = ["b": 1, "a": ["z": 1.0, "y": "\u{7}"], "Z": nil]
        #expect(try unsorted.jsonText() == #"{"Z":null,"a":{"y":"\u0007","z":1.0},"b":1}"#)
    }

    @Test func bringsEveryDoubleBackBitForBit() throws {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            let value = Double(bitPattern: generator.next())
            guard value.isFinite else { continue }
            let text = try JSONValue.double(value).jsonText()
            guard case .double(let read) = try JSONValue(parsing: text) else {
                Issue.record("\(text) became a whole number")
                return
            }
            #expect(read.bitPattern == value.bitPattern)
        }
    }

    @Test(arguments: [JSONValue.double(.nan), .double(.infinity), [["a": .double(-.infinity)]]])
    func refusesNumbersThatJSONLacks(value: JSONValue) throws {
        let error = try #require(throws: WorkflowError.self) { try value.jsonText() }
        #expect(error.code == .invalidValue)
    }

    @Test func refusesNestingWithoutEnd() throws {
        var value: JSONValue = 1
        for _ in 0...JSONValue.maximumDepth { value = [value] }
        let deep = value
        #expect(throws: WorkflowError.self) { try deep.jsonText() }
    }

    struct Everything: Codable, Equatable {
        enum Kind: String, Codable { case small, large }
        struct Inner: Codable, Equatable { var list: [Int?], map: [String: Double] }
        enum Choice: Codable, Equatable { case none, some(value: Int) }
        var small: Int8 = -128
        var large: Int64 = .max
        var unsigned: UInt16 = 65_535
        var float: Float = 0.1
        var text = "\u{0}é😀"
        var missing: String?
        var kind = Kind.large
        var inner = Inner(list: [1, nil, 3], map: ["a": 0.1])
        var choice = Choice.some(value: 3)
        var any: JSONValue = ["x": [1, 1.5, nil]]
        var byNumber = [1: "one"]
    }

    @Test func bringsCodableTypesBack() throws {
        let everything = Everything()
        let json = try JSONValue(encoding: everything)
        #expect(try json.decode(as: Everything.self) == everything)
        #expect(try JSONValue(parsing: json.jsonText()).decode(as: Everything.self) == everything)
    }

    @Test func refusesValuesThatDoNotFit() throws {
        #expect(throws: WorkflowError.self) { try JSONValue(encoding: UInt64.max).decode(as: Int64.self) }
        #expect(throws: WorkflowError.self) { try JSONValue(encoding: [Double.nan]) }
        #expect(throws: WorkflowError.self) { try JSONValue.integer(300).decode(as: Int8.self) }
        #expect(throws: WorkflowError.self) { try JSONValue.double(1.5).decode(as: Int.self) }
        #expect(throws: WorkflowError.self) { try JSONValue.bool(true).decode(as: Int.self) }
        #expect(try JSONValue.double(2).decode(as: Int.self) == 2)
    }

    @Test func namesThePathToWhatDidNotFit() throws {
        let json: JSONValue = ["list": [1, "two"], "map": [:]]
        let error = try #require(throws: WorkflowError.self) { try json.decode(as: Everything.Inner.self) }
        #expect(error.code == .typeMismatch)
        #expect(error.message.contains("list.1"))
        let written = try #require(throws: WorkflowError.self) {
            try JSONValue(encoding: ["map": ["list": [0, Double.nan]]])
        }
        #expect(written.code == .invalidValue && written.message.contains("map.list.1"))
    }

    final class Endless: Encodable {
        enum Keys: CodingKey { case next }
        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: Keys.self)
            try container.encode(self, forKey: .next)
        }
    }

    @Test func refusesATypeThatNestsItselfWithoutEnd() throws {
        let error = try #require(throws: WorkflowError.self) { try JSONValue(encoding: Endless()) }
        #expect(error.code == .invalidValue)
    }
}
