import FoundationEssentials
import Testing

@testable import CloacinaPostgres

@Suite struct BindEncoderTests {
    static let uuid = UUID(uuid: (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255))

    /// Values with their type and bytes as PostgreSQL's `…send` functions write them.
    static let binaries: [(PostgresValue, UInt32, [UInt8])] = [
        (.bool(true), 16, [1]), (.bool(false), 16, [0]), (.int16(-2), 21, [0xff, 0xfe]),
        (.int32(258), 23, [0, 0, 1, 2]),
        (.int64(-1), 20, Array(repeating: 0xff, count: 8)), (.oid(.max), 26, [0xff, 0xff, 0xff, 0xff]),
        (.double(1), 701, [0x3f, 0xf0, 0, 0, 0, 0, 0, 0]), (.bytes([1, 0, 2]), 17, [1, 0, 2]), (.bytes([]), 17, []),
        (.uuid(uuid), 2950, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]),
        (.json("{}"), 3802, [1, 0x7b, 0x7d]),
        (.timestamp(Date(timeIntervalSince1970: 946_684_800)), 1184, Array(repeating: 0, count: 8)),
        (
            .timestamp(Date(timeIntervalSince1970: 946_684_799.5)), 1184,
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xf8, 0x5e, 0xe0]
        ),
        (.textArray([]), 1009, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25]),
        (
            .optionalTextArray(["a", nil, ""]), 1009,
            [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 25, 0, 0, 0, 3, 0, 0, 0, 1]
                + [0, 0, 0, 1, 0x61, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]
        ),
        (
            .int32Array([-1]), 1007,
            [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]
        ),
        (.boolArray([true]), 1000, [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1]),
        (
            .jsonArray(["1"]), 3807,
            [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x0e, 0xda, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0x31]
        ),
    ]

    @Test(arguments: binaries) func valuesTravelInPostgresBinaryForm(value: PostgresValue, type: UInt32, bytes: [UInt8])
    {
        var encoder = BindEncoder()
        encoder.append(value)
        let bind = encoder.binds[0]
        #expect(bind.type == type)
        #expect(bind.format == 1)
        #expect(bind.length == bytes.count)
        #expect(Array(encoder.bytes[bind.offset...]) == bytes)
    }

    @Test func textIsACStringOfUnknownTypeAndNullHasNoPlace() {
        var encoder = BindEncoder()
        for value: PostgresValue in [.text("ü"), .null, .text(""), .int16(1)] { encoder.append(value) }
        #expect(encoder.bytes == [0xc3, 0xbc, 0, 0, 0, 1])
        #expect(encoder.binds.map(\.offset) == [0, -1, 3, 4])
        #expect(encoder.binds.map(\.length) == [2, 0, 0, 2])
        #expect(encoder.binds.map(\.type) == [0, 0, 0, 21])
        encoder.removeAll()
        #expect(encoder.bytes.isEmpty && encoder.binds.isEmpty)
    }

    @Test(arguments: [Int64(0), 1, -1, 999_999, -999_999, 816_000_000_000_001, -946_684_800_000_001, .max, .min])
    func microsecondsSurviveADate(microseconds: Int64) {
        #expect(Date(postgresMicroseconds: microseconds).postgresMicroseconds == microseconds)
    }

    @Test(arguments: [
        Double.infinity, -.infinity, .greatestFiniteMagnitude, -1e15, .nan, -9_223_372_036_854_775_808,
    ])
    func datesBeyondAllBoundsDoNotTrap(seconds: Double) {
        let micros = Date(timeIntervalSinceReferenceDate: seconds).postgresMicroseconds
        #expect(micros == .max || micros == .min)
    }

    @Test(arguments: [
        (PostgresValue.text("a\0"), true), (.json("\0"), true), (.textArray(["a", "\0"]), true),
        (.jsonArray(["\0"]), true),
        (.optionalTextArray([nil, "\0"]), true), (.optionalTextArray([nil, ""]), false), (.bytes([0]), false),
        (.text("a"), false),
    ])
    func aNULIsFoundWhereverTextMayHoldIt(value: PostgresValue, holdsNUL: Bool) {
        #expect(value.holdsNUL == holdsNUL)
    }

    @Test func aValueOfMoreThanAGigabyteIsTooLong() {
        let megabyte = String(repeating: "x", count: 1 << 20)
        #expect(PostgresValue.textArray(Array(repeating: megabyte, count: 1025)).isTooLong)
        #expect(PostgresValue.optionalTextArray(Array(repeating: megabyte, count: 1025)).isTooLong)
        #expect(!PostgresValue.textArray(Array(repeating: megabyte, count: 1000)).isTooLong)
        #expect(!PostgresValue.null.isTooLong)
    }
}
