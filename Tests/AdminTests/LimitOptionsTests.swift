import ArgumentParser
import CloacinaTenancy
import Testing

@testable import cloacina_admin

/// The limits on a command line (point 7 of issue 11).
@Suite struct LimitOptionsTests {
    @Test(arguments: [
        ("500ms", Duration?.some(.milliseconds(500))), ("30s", .seconds(30)), ("5min", .seconds(300)),
        ("1h", .seconds(3600)),
        ("none", nil),
    ])
    func aTimeHasAUnit(text: String, time: Duration?) throws {
        #expect(try #require(TimeLimit(argument: text)).value == time)
    }

    @Test(arguments: [("64MB", Int?.some(64 << 20)), ("1GB", 1 << 30), ("2TB", 2 << 40), ("8kB", 8192), ("none", nil)])
    func aSizeHasAUnit(text: String, size: Int?) throws {
        #expect(try #require(SizeLimit(argument: text)).value == size)
    }

    @Test(arguments: [
        "", "0s", "-1s", "1", "1 s", "1m", "s", "99999999999999999999s", "9223372036854775807h", "365d", "１s",
    ])
    func whatIsNoTimeIsRefused(text: String) { #expect(TimeLimit(argument: text) == nil) }

    @Test(arguments: ["", "0MB", "1", "1mb", "9223372036854775807TB", "1.5GB"])
    func whatIsNoSizeIsRefused(text: String) { #expect(SizeLimit(argument: text) == nil) }

    @Test(arguments: ["", "0", "-1", "x", "1s"])
    func whatIsNoCountIsRefused(text: String) { #expect(CountLimit(argument: text) == nil) }

    @Test func whatIsNotGivenStaysAsItIs() throws {
        let options = try LimitOptions.parse(["--connections", "5", "--lock-timeout", "none"])
        var expected = TenantLimits()
        expected.connections = 5
        expected.lockTimeout = nil
        #expect(options.applied(to: TenantLimits()) == expected)
        #expect(try LimitOptions.parse([]).isEmpty)
        #expect(!options.isEmpty)
    }

    @Test func limitsAreATableOrAnObject() throws {
        let answer = LimitsAnswer(
            tenant: "acme", connections: 40, statementTimeoutMilliseconds: 300_000, lockTimeoutMilliseconds: 1_500,
            idleInTransactionTimeoutMilliseconds: nil, temporaryFileBytes: 1 << 30, notInForce: ["temp_file_limit"])
        #expect(answer.cells == ["acme", "40", "5min", "1500ms", "none", "1GB", "temp_file_limit"])
        #expect(answer.limitDetails.first?.0 == "connections")
        #expect(
            try Renderer.json(answer, indented: false) == """
                {"connections":40,"lockTimeoutMilliseconds":1500,"notInForce":["temp_file_limit"],\
                "statementTimeoutMilliseconds":300000,"temporaryFileBytes":1073741824,"tenant":"acme"}
                """)
    }
}
