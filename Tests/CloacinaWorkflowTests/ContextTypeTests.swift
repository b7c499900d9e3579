import Testing

@testable import CloacinaWorkflow

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

private enum Size: String, Codable { case small, large }

private struct Order: Codable, Equatable {
    var id = UUID()
    var placed = Date(timeIntervalSince1970: 1_718_000_000.5)
    var due: Date?
    var callback = URL(string: "https://example.test/hooks/1?a=b")
    var total = Decimal(string: "99999999999999999.99")
    var parts: [Decimal] = [1, 2]
    var digests: Set<Data> = [Data([0, 255])]
    var sizes: [Size?] = [.large, nil]
    var days: [String: [Date]] = ["a": [.distantPast, .distantFuture]]
}

/// Swift's types in a context are what `JSONEncoder` and `JSONDecoder` make of them, with dates as ISO 8601.
@Suite struct ContextTypeTests {
    @Test func everythingComesBack() throws {
        let order = Order()
        var context = Context()
        try context.set("order", to: order)
        #expect(try context.get("order", as: Order.self) == order)
        #expect(try Context(parsing: context.jsonText).get("order", as: Order.self) == order)
    }

    @Test func anotherProgramCanReadIt() throws {
        let days = ["a": [Date(timeIntervalSince1970: 0), .distantFuture]]
        let order = Order(due: Date(timeIntervalSince1970: 1_718_000_000), days: days)
        let text = try Context(encoding: order).jsonText
        #expect(text.contains(#""due":"2024-06-10T06:13:20Z""#) && text.contains(#""total":99999999999999999.99"#))
        #expect(
            text.contains(#""callback":"https://example.test/hooks/1?a=b""#) && text.contains(#""digests":["AP8="]"#))
        var whole = order
        whole.placed = Date(timeIntervalSince1970: 1_718_000_000)
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .iso8601
        #expect(try decoder.decode(Order.self, from: Data(Context(encoding: whole).jsonText.utf8)) == whole)
        let encoder = JSONEncoder()
        encoder.dateEncodingStrategy = .iso8601
        let written = String(decoding: try encoder.encode(whole), as: UTF8.self)
        #expect(try Context(parsing: written).decode(as: Order.self) == whole)
    }

    @Test(arguments: [
        ("2024-06-10T06:13:20Z", 1_718_000_000), ("2024-06-10T08:13:20+02:00", 1_718_000_000),
        ("2024-06-10T06:13:20.25Z", 1_718_000_000.25), ("2024-06-09T22:13:20.250-08:00", 1_718_000_000.25),
        ("2024-06-10t06:13:20.000000001z", 1_718_000_000), ("1969-12-31T23:59:59.5Z", -0.5),
        ("2016-12-31T23:59:60Z", 1_483_228_800), ("0000-01-01T00:00:00Z", -62_167_219_200),
    ])
    func readsISODates(text: String, seconds: Double) throws {
        let context = try Context(["at": .string(text)])
        #expect(try context.get("at", as: Date.self).timeIntervalSince1970 == seconds)
        #expect(try context.get("at", as: Date?.self)?.timeIntervalSince1970 == seconds)
    }

    @Test(
        arguments: [
            1_718_000_000, 739_692_800.5, true, "1718000000", "2024-06-10", "2024-06-10T06:13:20", "", [],
        ] as [JSONValue])
    func otherDatesAreRefusedWithWhatIsWanted(value: JSONValue) throws {
        let context = try Context(["at": value])
        let error = try #require(throws: WorkflowError.self) { try context.get("at", as: Date.self) }
        #expect(error.code == .typeMismatch && error.message.contains("ISO 8601"))
        #expect(!error.description.contains("1718000000"))
        #expect(throws: WorkflowError.self) { try context.get("at", as: Date?.self) }
    }

    @Test(arguments: [
        (Date(timeIntervalSince1970: 1_718_000_000), "2024-06-10T06:13:20Z"),
        (Date(timeIntervalSince1970: 1_718_000_000.123), "2024-06-10T06:13:20.123Z"),
        (Date(timeIntervalSince1970: 1_718_000_000.123456), "2024-06-10T06:13:20.123456Z"),
        (Date(timeIntervalSinceReferenceDate: 739_692_800.123), "2024-06-10T06:13:20.1230000Z"),
        (Date(timeIntervalSince1970: -0.5), "1969-12-31T23:59:59.5Z"),
        (Date(timeIntervalSinceReferenceDate: -1e-9), "2000-12-31T23:59:59.999999999Z"),
        (Date(timeIntervalSince1970: 951_782_400), "2000-02-29T00:00:00Z"),
        (.distantFuture, "4001-01-01T00:00:00Z"),
    ])
    func writesISODates(date: Date, text: String) throws {
        #expect(try JSONValue(encoding: date) == .string(text))
        #expect(try JSONValue.string(text).decode(as: Date.self) == date)
    }

    @Test func everyDateComesBackBitForBit() throws {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<5_000 {
            let seconds = Double.random(in: -63_000_000_000..<252_000_000_000, using: &generator)
            let tiny = Double.random(in: -1...1, using: &generator)
            for date in [
                Date(), Date(timeIntervalSinceReferenceDate: seconds), Date(timeIntervalSinceReferenceDate: tiny),
                Date(timeIntervalSinceReferenceDate: tiny * 1e-200),
                Date(timeIntervalSince1970: seconds.rounded() / 1_000),
            ] {
                #expect(try JSONValue(encoding: date).decode(as: Date.self) == date)
            }
        }
    }

    /// Given as seconds, as Foundation can't describe such dates.
    @Test(arguments: [253_402_300_800, -62_167_219_200.5, .nan, .infinity, -1e300])
    func datesBeyondISOAreRefused(seconds: Double) throws {
        let date = Date(timeIntervalSince1970: seconds)
        let error = try #require(throws: WorkflowError.self) { try JSONValue(encoding: ["at": date]) }
        #expect(error.code == .invalidValue && error.message.contains("0000 to 9999"))
        #expect(error.message.hasSuffix("at at"))
    }

    @Test func rulesCompareThem() throws {
        let context = try Context([
            "due": Date(timeIntervalSince1970: 1_718_000_000.5), "site": URL(string: "https://example.test/"),
            "price": Decimal(string: "19.99"), "limit": Decimal(string: "99999999999999999.99"), "tags": Set(["a"]),
        ])
        let limit = try JSONValue(parsing: "99999999999999999.99")
        let rules: [TriggerRule] = [
            .contextValue("due", .greaterThan, "2024-01-01T00:00:00Z"),
            .contextValue("due", .greaterThan, "2024-06-10T08:13:20.499+02:00"),
            .contextValue("due", .lessThan, "2024-06-10T06:13:20.500001Z"),
            .contextValue("due", .lessThanOrEqual, "2024-06-10T07:13:20.50+01:00"),
            .contextValue("site", .startsWith, "https:"), .contextValue("site", .equals, "https://example.test/"),
            .contextValue("price", .equals, 19.99), .contextValue("price", .lessThan, 20),
            .contextValue("limit", .equals, limit), .contextValue("limit", .lessThan, 100_000_000_000_000_000),
            .contextValue("tags", .contains, "a"),
        ]
        for rule in rules { #expect(rule.isSatisfied(outcome: { _ in nil }, context: context), "\(rule)") }
    }

    @Test(arguments: [1, "", [:], nil] as [JSONValue])
    func whatIsNoURLIsRefused(value: JSONValue) throws {
        let error = try #require(throws: WorkflowError.self) { try value.decode(as: URL.self) }
        #expect(error.message.contains("URL"))
        #expect(throws: WorkflowError.self) { try value.decode(as: [Data].self) }
    }
}

@Suite struct ContextMakingTests {
    private struct Job: Codable, Equatable {
        var name: String
        var at: Date
        var retries: Int?
    }

    @Test func isMadeOfOneValue() throws {
        let job = Job(name: "a", at: Date(timeIntervalSince1970: 0))
        let context = try Context(encoding: job)
        #expect(context.values == ["name": "a", "at": "1970-01-01T00:00:00Z"])
        #expect(try context.decode(as: Job.self) == job)
        #expect(try Context(encoding: ["a": 1]).values == ["a": 1])
    }

    @Test func isMadeOfVariables() throws {
        let job = Job(name: "a", at: Date(timeIntervalSince1970: 0))
        let attempts: UInt8 = 3
        let missing: Int? = nil
        let json: JSONValue = [1, 2.5]
        let context = try Context(["job": job, "attempts": attempts, "missing": missing, "json": json, "text": "b"])
        #expect(context["attempts"] == 3 && context["missing"] == .null && context["json"] == [1, 2.5])
        #expect(try context.get("job", as: Job.self) == job)
        let counts = ["a": 1, "b": 2]
        #expect(try Context(counts).values == ["a": 1, "b": 2])
        // A literal is the JSON that it shows.
        #expect(try Context(["list": [1, 2.5], "map": ["x": nil]]).jsonText == #"{"list":[1,2.5],"map":{"x":null}}"#)
    }

    @Test func whatIsNoObjectIsRefused() throws {
        for make in [
            { try Context(encoding: [1]) }, { try Context(encoding: "a") }, { try Context(encoding: Int?.none) },
        ] {
            let error = try #require(throws: WorkflowError.self) { try make() }
            #expect(error.code == .invalidValue && error.message.contains("object"))
            #expect(error.fileID.hasSuffix("ContextTypeTests.swift"))
        }
    }

    @Test func anErrorNamesTheKey() throws {
        let ratio = Double.nan
        let error = try #require(throws: WorkflowError.self) { try Context(["fine": 1, "ratio": ratio]) }
        #expect(error.code == .invalidValue && error.message.contains("\"ratio\""))
        #expect(throws: WorkflowError.self) { try Context(["text": String(repeating: "a", count: 9)], byteLimit: 12) }
        #expect(throws: WorkflowError.self) { try Context(encoding: ["text": "012345678"], byteLimit: 12) }
    }
}
